"""AdamW against PyTorch's and against its formula in Python numbers; clipping and the schedule against theirs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import GPT, GPTConfig, UserError
from minillm.module import Parameter
from minillm.optim import AdamW, clip_scale, global_norm, warmup_cosine
from minillm.optim import adamw as adamw_module
from minillm.optim import chunks as chunks_module
from minillm.optim.adamw import adamw_update


def tiny(**changes: object) -> GPT:
    shape = {"vocab_size": 11, "context_length": 6, "n_layer": 2, "n_head": 2, "d_model": 8, "dtype": "float64"}
    return GPT(GPTConfig(**{**shape, **changes}), seed=1)


def scalar_adamw(p: float, gs: list[float], lr: float, b1: float, b2: float, eps: float, wd: float) -> float:
    """Algorithm 2 of the paper, in Python numbers, with the decay times lr."""
    m = v = 0.0
    for t, g in enumerate(gs, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        mhat, vhat = m / (1 - b1**t), v / (1 - b2**t)
        p = p - lr * (mhat / (math.sqrt(vhat) + eps) + wd * p)
    return p


@given(
    p=st.floats(-10, 10),
    gs=st.lists(st.floats(-5, 5), min_size=1, max_size=8),
    lr=st.floats(1e-4, 1e-1),
    b1=st.floats(0, 0.99),
    b2=st.floats(0, 0.9999),
    wd=st.floats(0, 0.5),
)
def test_the_update_is_the_formula(p: float, gs: list[float], lr: float, b1: float, b2: float, wd: float) -> None:
    array, m, v = np.array([p]), np.zeros(1), np.zeros(1)
    for t, g in enumerate(gs, 1):
        adamw_update(
            array, np.array([g]), m, v, lr=lr, beta1=b1, beta2=b2, eps=1e-8, weight_decay=wd, step=t, grad_scale=1.0
        )
    assert array[0] == pytest.approx(scalar_adamw(p, gs, lr, b1, b2, 1e-8, wd), rel=1e-6, abs=1e-9)


@given(n=st.integers(0, 40), chunk=st.integers(1, 45))
def test_chunks_change_nothing(n: int, chunk: int) -> None:
    rng = np.random.default_rng(n)
    results = []
    for size in (chunk, 10**6):
        p, g, m = (np.random.default_rng(i).standard_normal(n).astype(np.float32) for i in range(3))
        v = rng.random(0).astype(np.float32) if n == 0 else np.linspace(0, 1, n, dtype=np.float32)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks_module, "CHUNK", size)
            adamw_update(p, g, m, v, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, step=3, grad_scale=0.5)
        results.append((p, m, v))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32


@pytest.mark.parametrize("decay", ["linear", "matrices"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twenty_steps_follow_pytorch(decay: str, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    model = tiny(dtype=dtype)
    roles = ("weight",) if decay == "linear" else ("weight", "embedding")
    theirs = {name: torch.tensor(p.data.copy(), requires_grad=True) for name, p in model.named_parameters()}
    by_decay: tuple[list[object], list[object]] = ([], [])
    for name, p in model.named_parameters():
        by_decay[p.role in roles].append(theirs[name])
    reference = torch.optim.AdamW(
        [{"params": by_decay[0], "weight_decay": 0.0}, {"params": by_decay[1], "weight_decay": 0.1}],
        lr=1e-2,
        betas=(0.9, 0.99),
    )
    ours = AdamW(model, lr=1e-2, betas=(0.9, 0.99), decay=decay)
    rng = np.random.default_rng(0)
    for step in range(20):
        for name, p in model.named_parameters():
            p.grad = rng.standard_normal(p.shape) * 10.0 ** rng.integers(-4, 3)
            theirs[name].grad = torch.tensor(p.grad.copy())
        ours.lr = reference.param_groups[0]["lr"] = reference.param_groups[1]["lr"] = 1e-2 / (step + 1)
        norm = float(global_norm(ours.grads()))
        assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)), rel=1e-5)
        ours.step(clip_scale(norm, 1.0))
        reference.step()
    for name, p in model.named_parameters():
        expected = theirs[name].detach().numpy()
        error = np.abs(p.data - expected).max() / np.abs(expected).max()
        assert error < (1e-10 if dtype == "float64" else 1e-6), name


def test_decay_reaches_linear_weights_only_unless_told() -> None:
    for decay, roles in (("linear", {"weight"}), ("matrices", {"weight", "embedding"})):
        model = tiny()
        before = {name: p.data.copy() for name, p in model.named_parameters()}
        AdamW(model, lr=0.5, weight_decay=0.1, decay=decay).step()  # gradients are zero: nothing but decay moves
        for name, p in model.named_parameters():
            np.testing.assert_allclose(p.data, before[name] * (0.95 if p.role in roles else 1), rtol=1e-12)


def test_neighbours_are_updated_as_one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(adamw_module.update, "reference", lambda p, *_, **__: sizes.append(len(p)))
    model = tiny()
    AdamW(model).step()
    assert len(sizes) == 2
    assert sum(sizes) == model.config.n_params()
    sizes.clear()
    AdamW(p for p in model.parameters() if p.role != "embedding").step()  # a gap between the two
    assert len(sizes) == 2
    assert sum(sizes) == sum(p.size for p in model.parameters() if p.role != "embedding")


def test_parameters_outside_a_buffer() -> None:
    a, b = Parameter(np.ones((2, 3)), "weight"), Parameter(np.ones(4), "vector")
    optimizer = AdamW([("a", a), ("b", b)], lr=0.1, weight_decay=0.0)
    a.grad = np.full((2, 3), 2.0)
    optimizer.step()  # b has no gradient and stays
    np.testing.assert_allclose(a.data, 0.9, rtol=1e-6)
    np.testing.assert_array_equal(b.data, 1)
    optimizer.zero_grad()
    np.testing.assert_array_equal(a.grad, 0)
    assert set(optimizer.state()) == {"m.a", "v.a", "m.b", "v.b", "n_steps"}


def test_state_goes_on_where_it_stopped() -> None:
    def run(optimizer: AdamW, model: GPT, steps: range) -> None:
        for step in steps:
            model.flat.grad[...] = np.random.default_rng(step).standard_normal(model.flat.grad.shape)
            optimizer.step()

    straight, model = tiny(), tiny()
    run(AdamW(straight), straight, range(6))
    first = AdamW(model)
    run(first, model, range(3))
    second = AdamW(model)
    second.load_state(first.state())
    run(second, model, range(3, 6))
    np.testing.assert_array_equal(model.flat.data, straight.flat.data)


def test_state_of_another_model_is_refused() -> None:
    state = AdamW(tiny()).state()
    with pytest.raises(UserError, match=r"m\.blocks\.2"):
        AdamW(tiny(n_layer=3)).load_state(state)
    with pytest.raises(UserError, match="resume with the configuration"):
        AdamW(tiny(d_model=16)).load_state(state)


@pytest.mark.parametrize("wrong", [{"decay": "all"}, {"betas": (0.9, 1.0)}, {"lr": -1.0}, {"weight_decay": -0.1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        AdamW(tiny(), **wrong)
    with pytest.raises(UserError, match="no parameters"):
        AdamW([])


def test_the_norm_survives_what_float32_does_not() -> None:
    assert float(global_norm([np.full(100, 1e30, np.float32)])) == pytest.approx(1e31, rel=1e-6)
    n = 5_000_000
    assert float(global_norm([np.full(n, 0.1, np.float32)])) == pytest.approx(np.float32(0.1) * math.sqrt(n), rel=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_a_clipped_gradient_has_at_most_the_norm(gs: list[float], max_norm: float) -> None:
    norm = float(global_norm([np.array(gs)]))
    assert norm == pytest.approx(math.hypot(*gs), rel=1e-12)
    scale = clip_scale(norm, max_norm)
    assert 0 < scale <= 1
    assert norm * scale <= max_norm
    assert scale == 1 or norm * scale == pytest.approx(max_norm, rel=1e-4)


def test_a_norm_that_is_not_finite_has_no_scale() -> None:
    assert math.isnan(clip_scale(float(global_norm([np.array([1.0, np.inf])])), 1.0))
    assert math.isnan(clip_scale(float(global_norm([np.array([1.0, np.nan])])), 1.0))


def test_the_schedule_is_nanogpts() -> None:
    def get_lr(it: int, learning_rate: float, warmup_iters: int, lr_decay_iters: int, min_lr: float) -> float:
        """nanoGPT train.py, as published (MIT, Andrej Karpathy)."""
        if it < warmup_iters:
            return learning_rate * (it + 1) / (warmup_iters + 1)
        if it > lr_decay_iters:
            return min_lr
        decay_ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
        coeff = 0.5 * (1.0 + math.cos(math.pi * decay_ratio))
        return min_lr + coeff * (learning_rate - min_lr)

    for step in range(2100):
        expected = get_lr(step, 1e-3, 100, 2000, 1e-4)
        assert warmup_cosine(step, lr=1e-3, min_lr=1e-4, warmup=100, steps=2000) == expected
    assert warmup_cosine(5, lr=1e-3, min_lr=1e-4, warmup=5, steps=5) == 1e-4  # no step left for the cosine
