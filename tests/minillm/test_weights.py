"""Model files: what is saved comes back, and a damaged or foreign file is refused by name."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from memory import peak_bytes
from safetensors.numpy import load_file, save_file

from minillm import GPT, GPTConfig, UserError
from minillm.tensor_file import checksum, read_tensors, write_tensors
from minillm.tokenizer import CharTokenizer
from minillm.weights import load_model, save_model

TOKENIZER = CharTokenizer("\nabcé")


def tiny(**changes: object) -> GPT:
    shape = {"vocab_size": 5, "context_length": 4, "n_layer": 2, "n_head": 2, "d_model": 8}
    return GPT(GPTConfig(**{**shape, **changes}), seed=3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", tiny(), TOKENIZER)
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False}, {"bias": False}, {"dtype": "float64"}])
def test_what_is_saved_comes_back(tmp_path: Path, changes: dict[str, object]) -> None:
    model = tiny(**changes)
    save_model(tmp_path / "model.safetensors", model, TOKENIZER)
    loaded, tokenizer = load_model(tmp_path)  # the folder stands for its model.safetensors
    assert loaded.config == model.config
    assert tokenizer.to_dict() == TOKENIZER.to_dict()
    for (name, p), (other, q) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert name == other
        assert p.dtype == q.dtype
        np.testing.assert_array_equal(p.data, q.data)
    ids = np.array([[0, 1, 2, 3]])
    np.testing.assert_array_equal(model(ids)[0].data, loaded(ids)[0].data)


def test_the_file_is_plain_safetensors_named_by_path(saved: Path) -> None:
    arrays = load_file(saved)
    assert arrays["blocks.1.mlp.fc.weight"].shape == (32, 8)
    assert saved.stat().st_size < 4 * tiny().config.n_params() + 4096


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"model\.safetensors' is truncated"):
        load_model(saved)


@pytest.mark.parametrize("where", ["weights", "tokenizer"])
def test_one_altered_byte_is_noticed(saved: Path, where: str) -> None:
    data = bytearray(saved.read_bytes())
    place = len(data) - 100 if where == "weights" else data.index(b"abc")
    data[place] ^= 1
    saved.write_bytes(data)
    with pytest.raises(UserError, match="altered since it was saved"):
        load_model(saved)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    save_file({"w": np.zeros(3)}, tmp_path / "other.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="not written by minillm"):
        load_model(tmp_path / "other.safetensors")
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(UserError, match="truncated or no safetensors file"):
        load_model(tmp_path / "empty.safetensors")


def test_arrays_are_read_when_asked_for_from_the_file_that_was_verified(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    large = np.arange(1 << 18)
    write_tensors(path, {"a": large, "b": large + 1}, {"note": "one"})
    nine = peak_bytes(lambda: [read_tensors(path) for _ in range(9)])
    assert nine < 2.5 * large.nbytes  # one array, and the bytes that it is made from; nothing that stays
    tensors, texts = read_tensors(path)
    write_tensors(path, {"a": large, "b": large - 1}, {})
    assert texts == {"note": "one", "format": "minillm"}
    assert sorted(tensors) == ["a", "b"]
    assert len(tensors) == 2
    assert "c" not in tensors
    np.testing.assert_array_equal(tensors["b"], large + 1)
    with pytest.raises(KeyError, match="c"):
        tensors["c"]


def test_a_file_without_a_model_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "optimizer.safetensors", {"m": np.zeros(3)}, {})
    with pytest.raises(UserError, match="holds no model"):
        load_model(tmp_path / "optimizer.safetensors")


@pytest.mark.parametrize("case", ["name", "shape", "size"])
def test_weights_of_another_shape_are_refused(saved: Path, case: str) -> None:
    stored, texts = read_tensors(saved)
    arrays = dict(stored)
    if case == "name":
        arrays["ln_f.scale"] = arrays.pop("ln_f.weight")
    elif case == "shape":
        arrays["blocks.0.mlp.fc.weight"] = arrays["blocks.0.mlp.fc.weight"].T
    else:
        texts["config"] = json.dumps({**json.loads(texts["config"]), "n_layer": 3})
    write_tensors(saved, arrays, texts)
    with pytest.raises(UserError, match=r"ln_f\.|fc\.weight|weights of its configuration"):
        load_model(saved)


def test_a_path_with_no_model_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model at"):
        load_model(tmp_path / "nothing")
    checkpoint = tmp_path / "checkpoints" / "step-0000005"
    checkpoint.mkdir(parents=True)
    save_model(checkpoint / "model.safetensors", tiny(), TOKENIZER)
    with pytest.raises(UserError, match="step-0000005"):
        load_model(tmp_path)
    load_model(checkpoint)


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files, as POSIX has it")
def test_a_full_disk_leaves_the_earlier_file(saved: Path) -> None:
    import resource

    before, limits = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # writing beyond it fails, as on a full disk
    try:
        with pytest.raises(
            UserError, match=r"cannot write .*model\.safetensors.*earlier file of that name is unchanged"
        ):
            save_model(saved, tiny(n_layer=1), TOKENIZER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_the_checksum_depends_on_names_shapes_and_values() -> None:
    a = np.arange(6.0)
    sums = [
        checksum({"a": a}, {}),
        checksum({"b": a}, {}),
        checksum({"a": a.reshape(2, 3)}, {}),
        checksum({"a": a + 1}, {}),
        checksum({"a": a}, {"config": "{}"}),
    ]
    assert len(set(sums)) == len(sums)
