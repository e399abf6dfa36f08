"""trace: what it offers is true, its names are found, its memory is bounded, and all is as before after it."""

import cProfile
import errno
import gc
import os
import pstats
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from cases import CASES

from autograd import Op, Tensor, backends, checkpoint, compose, modes, no_grad
from autograd.debug import DebugError, trace
from autograd.ops import exp, softmax
from minillm.layers.linear import Linear, linear
from minillm.module import Module

RNG = np.random.default_rng(0)


class Twice(Module):
    """A layer of a layer, ops of its own, and a variable."""

    def __init__(self):
        self.fc = Linear(3, 3, rng=RNG, dtype="float64")

    def __call__(self, x):
        h = exp(self.fc(x))
        return softmax(h) + exp(h) * exp(x)


@pytest.fixture
def model():
    layer = Twice()
    layer.name_parts()
    return layer


@pytest.fixture
def x():
    return Tensor(RNG.normal(size=(2, 3)), requires_grad=True)


def square_forward(x):
    root = x * 1
    half = root * 0.5
    y = half * root * 2
    return y, (x,)


def square_backward(dy, x):
    root, half = x * 1, x * 0.5
    dhalf = dy * root * 2
    droot = dy * half * 2
    droot += dhalf * 0.5
    dx = droot
    return (dx,)


square = Op(square_forward, square_backward)
del Op.registry["square"]  # other tests go through all ops there are


def run(case, composed=False):
    """One pass of a case, in float64."""
    inputs = case.make()
    tensors = [Tensor(a, i in case.wrt(inputs)) if hasattr(a, "dtype") else a for i, a in enumerate(inputs)]
    tensors = [t if isinstance(t, Tensor) and t.requires_grad else a for t, a in zip(tensors, inputs, strict=True)]
    with compose(composed), trace(arrays=True) as t:
        _y = Op.registry[case.op](*tensors, **case.attributes)  # the underscore: it gets no name
        _y.backward(np.random.default_rng(1).normal(size=_y.shape))
    return t


@pytest.mark.parametrize("case", [c for c in CASES if Op.registry[c.op].composed], ids=str)
def test_each_value_and_each_gradient_of_a_local_is_that_of_the_same_name_on_the_composition_s_tape(case):
    ours, theirs = run(case), run(case, composed=True)
    for name in ours.names:
        traced = ours[name]
        if traced.grad_summary and traced.grad_where.startswith("d"):
            assert name in theirs, f"d{name} is offered as a gradient, and the composition has no {name} to check it by"
            expected = theirs[name].grad.reshape(traced.grad.shape)  # (N, ...) where a composition keeps (B, T, ...)
            np.testing.assert_allclose(traced.grad, expected, rtol=1e-9, atol=1e-12, err_msg=name)
        if traced.summary and name in theirs:
            expected = theirs[name].value.reshape(traced.value.shape)
            np.testing.assert_allclose(traced.value, expected, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", [c for c in CASES if Op.registry[c.op].composed is None], ids=str)
def test_an_op_without_composition_offers_no_gradient_of_a_local_that_nothing_checks(case):
    t = run(case)
    assert not [name for name in t.names if t[name].grad_summary and t[name].grad_where.startswith("d")]


def test_attention_offers_the_gradients_of_q_k_v_and_scores_and_says_why_not_of_probs():
    t = run(next(c for c in CASES if c.op == "attention"))
    assert {name for name in t.names if t[name].grad_where.startswith("d") and t[name].grad_summary} == {
        "q",
        "k",
        "v",
        "scores",
    }
    assert t["probs"].value is not None
    assert t["probs"].grad is None
    assert t["probs"].grad_where.startswith("dprobs was changed in place afterwards, reference.py:")
    assert t["scores"].value is None
    assert t["scores"].where == "no local of attention_forward"


def test_a_gradient_that_was_changed_in_place_is_not_offered_and_one_that_was_not_is(x):
    with trace(arrays=True) as t:
        square(x).sum().backward()
    np.testing.assert_allclose(t["half"].grad, x.data * 2)
    assert t["root"].grad is None
    assert "droot was changed in place afterwards, test_tracing.py:" in t["root"].grad_where


def test_names_are_the_layer_the_variable_or_the_op_with_a_number_from_the_second_on(model, x):
    with trace(model, arrays=True) as t:
        out = model(x)
        total = out.sum()
        total.backward()
    ops, locals_ = {"h", "softmax", "exp", "exp_2", "multiply", "add"}, {"e"}
    assert set(t.names) == {"fc", "fc.weight", "fc.bias", *ops, *locals_, "out", "total"}
    np.testing.assert_array_equal(t["exp"].value, np.exp(t["h"].value))
    np.testing.assert_array_equal(t["exp_2"].value, np.exp(x.data))
    np.testing.assert_array_equal(t["out"].value, out.data)
    np.testing.assert_array_equal(t["out"].grad, np.ones((2, 3)))
    np.testing.assert_array_equal(t["fc"].value, x.data @ model.fc.weight.data.T + model.fc.bias.data)
    np.testing.assert_allclose(t["fc"].grad.sum(0), model.fc.bias.grad)
    assert (t["h"].op, t["fc"].where) == ("exp", t["fc"].where)
    assert t["h"].where.startswith("exp, test_tracing.py:")
    assert t["h"].grad_where == "what came in at exp_backward"


def test_a_layer_of_a_layer_has_its_path_and_an_outer_layer_s_result_both_names(model, x):
    class Outer(Module):
        def __init__(self):
            self.inner = model

        def __call__(self, x):
            doubled = x * 2
            return self.inner(doubled)

    outer = Outer()
    outer.name_parts()
    with trace(outer, arrays=True) as t:
        y = outer(x)
    np.testing.assert_array_equal(t["inner.h"].value, np.exp(t["inner.fc"].value))
    np.testing.assert_array_equal(t["inner"].value, y.data)
    np.testing.assert_array_equal(t["doubled"].value, x.data * 2)
    assert "inner.fc.weight" in t


def test_two_models_have_names_of_their_own(x):
    a, b = Twice(), Twice()
    with trace(a, b, arrays=True) as t:
        a(x)
        b(x)
    np.testing.assert_array_equal(t["h"].value, np.exp(x.data @ a.fc.weight.data.T))
    np.testing.assert_array_equal(t["1.h"].value, np.exp(x.data @ b.fc.weight.data.T))
    np.testing.assert_array_equal(t["1.fc.weight"].value, b.fc.weight.data)


def test_an_unknown_name_raises_with_the_nearest(model, x):
    with trace(model) as t:
        model(x)
    with pytest.raises(DebugError, match=r"there is no value 'fc\.wieght' in this trace: did you mean 'fc\.weight'"):
        t["fc.wieght"]


def test_arrays_that_were_not_kept_are_summaries_and_the_error_says_how_to_keep_them(model, x):
    with trace(model, arrays=["fc", "x*"]) as t:
        model(x).sum().backward()
    assert t["fc"].value.shape == t["fc"].grad.shape == (2, 3)
    assert t["h"].summary.norm == pytest.approx(np.linalg.norm(np.exp(t["fc"].value)))
    for ask in (lambda: t["h"].value, lambda: t["h"].grad):
        with pytest.raises(DebugError, match=r"of 'h' only a summary was kept: trace with arrays=\['h'\]"):
            ask()
    assert t._store.in_memory == t["fc"].value.nbytes + t["fc"].grad.nbytes


def test_before_backward_there_is_no_gradient_and_after_it_in_the_same_block_there_is(model, x):
    with trace(model, arrays=True) as t:
        y = model(x)
        assert t["fc"].grad is None
        assert t["fc"].grad_where == "no backward() has come here yet"
        assert t["fc.weight"].grad is None
        y.sum().backward()
        assert t["fc"].grad.shape == (2, 3)
        assert t["fc.weight"].grad is model.fc.weight.grad
    model.zero_grad()
    model.fc.bias.data += 1
    np.testing.assert_array_equal(t["fc.bias"].grad, t["fc"].grad.sum(0))  # as the block left it
    np.testing.assert_array_equal(t["fc.bias"].value, model.fc.bias.data - 1)


def test_what_has_no_gradient_says_why(model, x):
    with trace(model) as t, no_grad():
        model(x)
    assert t["fc"].grad_where == "it was computed under no_grad(), or of nothing that requires a gradient"


def test_the_last_call_of_a_layer_counts_and_the_ones_before_are_let_go(model):
    xs = [Tensor(RNG.normal(size=(2, 3)), requires_grad=True) for _ in range(4)]
    sizes = []
    with trace(model, arrays=True) as t:
        for x in xs:
            loss = model(x).sum()
            loss.backward()
            sizes.append((len(t), t._store.in_memory))
    np.testing.assert_array_equal(t["exp_2"].value, np.exp(xs[-1].data))
    assert float(t["loss"].value) == float(loss.data)
    assert len({n for n, _ in sizes}) == 1
    own = {part.ctypes.data: part.nbytes for name in t for part in (t[name].value, t[name].grad) if part is not None}
    assert t._store.in_memory == sum(own.values())  # each once, and no more
    assert sizes[-1][1] <= 2 * sizes[0][1]


def test_calls_of_the_model_without_backward_do_not_pile_up_either(model):
    with trace(model, arrays=True) as t, no_grad():
        for scale in range(1, 5):
            model(Tensor(np.full((2, 3), float(scale))))
    np.testing.assert_array_equal(t["exp_2"].value, np.exp(np.full((2, 3), 4.0)))
    assert "exp_3" not in t


def test_the_last_backward_counts(model, x):
    with trace(model, arrays=True) as t:
        y = model(x)
        y.backward(np.ones((2, 3)), retain_graph=True)
        first = t["fc"].grad
        y.backward(np.full((2, 3), 3.0))
    np.testing.assert_allclose(t["fc"].grad, 3 * first)


def test_the_trace_keeps_what_it_kept_when_the_graph_is_gone(model, x):
    with trace(model, arrays=True) as t:
        y = model(x)
        y.sum().backward()
    expected = np.exp(x.data @ model.fc.weight.data.T + model.fc.bias.data)
    del y
    gc.collect()
    np.testing.assert_array_equal(t["h"].value, expected)
    with pytest.raises(ValueError, match="read-only"):
        t["h"].value[0] = 0


def test_values_and_gradients_are_bit_identical_with_and_without(model, x):
    y = model(x)
    y.sum().backward()
    plain = [y.data.copy(), x.grad.copy(), model.fc.weight.grad.copy()]
    x.grad = None
    model.zero_grad()
    with trace(model):
        y = model(x)
        y.sum().backward()
    for a, b in zip(plain, [y.data, x.grad, model.fc.weight.grad], strict=True):
        np.testing.assert_array_equal(a, b)


def test_stepping_through_backward_is_traced_too_with_the_edited_gradient(model, x):
    with trace(model, arrays=True) as t:
        steps = model(x).sum().backward_steps()
        for step in steps:
            if step.node.op.name == "softmax":
                step.dxs[0] = step.dxs[0] + 1
        before = model.fc.bias.grad.copy()
    np.testing.assert_allclose(t["fc"].grad.sum(0), before)


def test_inside_a_checkpoint_the_gradients_come_from_its_second_run(model, x):
    with trace(model, arrays=True) as t:
        checkpoint(model, x).sum().backward()
    np.testing.assert_allclose(t["fc"].grad.sum(0), model.fc.bias.grad)


def test_in_a_composition_the_op_s_result_has_the_op_s_name_and_the_parts_begin_with_it(x):
    w = Tensor(RNG.normal(size=(4, 3)), requires_grad=True)
    with compose(), trace(arrays=True) as t:
        linear(x, w).exp().sum().backward()
    np.testing.assert_allclose(t["linear"].value, x.data @ w.data.T)
    np.testing.assert_array_equal(t["linear.transpose"].value, w.data.T)


def test_locals_of_an_op_inside_a_composition_have_the_names_of_both_before_them(x, monkeypatch):
    monkeypatch.setattr(softmax, "composed", lambda x, **_: square(x))
    with compose(), trace(arrays=True) as t:
        softmax(x).sum().backward()
    assert {"softmax", "softmax.square.root", "softmax.square.half", "reduce_sum"} == set(t.names)
    np.testing.assert_allclose(t["softmax.square.half"].grad, x.data * 2)


def test_who_observed_before_still_does_and_all_modes_are_as_before(model, x):
    seen = []
    with modes.observe(lambda op, inputs, attributes, y: seen.append(op.name)):
        before = modes.observers.get()
        with trace(model):
            model(x)
        assert modes.observers.get() is before
    assert seen == ["linear", "exp", "softmax", "exp", "exp", "multiply", "add"]


def test_a_profile_function_is_called_on_and_restored_also_after_an_error(model, x):
    events = []

    def profile(frame, event, arg):
        events.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        with pytest.raises(ValueError, match="matmul"), trace(model):
            model(x.transpose())
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(before)
    assert "linear_forward" in events


def test_cprofile_may_be_on(model, x):
    with cProfile.Profile() as profile:
        with trace(model, arrays=True) as t:
            model(x)
        model(x)
    assert t["h"].value.shape == (2, 3)
    assert any("linear_forward" in str(key) for key in pstats.Stats(profile).stats)


def test_a_trace_inside_a_trace_leaves_the_outer_one_whole(model, x):
    with trace(model, arrays=True) as outer, trace(model, arrays=True) as inner:
        model(x).sum().backward()
    np.testing.assert_array_equal(outer["softmax"].value, inner["softmax"].value)
    np.testing.assert_array_equal(outer["fc"].grad, inner["fc"].grad)


def test_with_compiled_kernels_the_references_run_in_the_block_and_the_backend_comes_back(model, x):
    with backends.use_backend("numba"):
        with trace(model):
            assert modes.backend_name.get() == "numpy"
        assert modes.backend_name.get() == "numba"


def test_beyond_its_memory_arrays_go_to_disk_and_are_the_same(model, x):
    def values(memory):
        model.zero_grad()
        with trace(model, arrays=True, memory=memory) as t:
            model(x).sum().backward()
        return t

    in_memory, on_disk, mixed = values(1 << 20), values(0), values(100)
    assert on_disk._store.in_memory == in_memory._store.on_disk == 0
    assert 0 < mixed._store.in_memory <= 100
    assert on_disk._store.on_disk == in_memory._store.in_memory
    for name in on_disk:
        for part in ("value", "grad"):
            np.testing.assert_array_equal(getattr(on_disk[name], part), getattr(in_memory[name], part))


@pytest.mark.parametrize("close", [True, False])
def test_the_folder_is_gone_when_the_trace_is_closed_or_dropped(model, x, tmp_path, monkeypatch, close):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with trace(model, arrays=True, memory=0) as t:
        model(x)
    assert len(list(tmp_path.glob("trace-*/*.npy"))) == 10
    if close:
        t.close()
    else:
        del t
        gc.collect()
    assert not list(tmp_path.iterdir())


def test_after_close_an_array_on_disk_is_asked_for_in_vain_with_a_sentence(model, x):
    with trace(model, arrays=True, memory=0) as t:
        model(x)
    t.close()
    with pytest.raises(DebugError, match="kept on disk, and its trace has been closed"):
        _ = t["h"].value


def test_a_full_disk_is_one_sentence_and_leaves_no_file_and_the_profile_off(model, x, tmp_path, monkeypatch):
    def save(file, array, **_):
        Path(file).write_bytes(b"part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(np, "save", save)
    before = sys.getprofile()
    message = r"could not be kept in .* \(No space left on device\): trace fewer arrays"
    with pytest.raises(DebugError, match=message), trace(model, arrays=True, memory=0):
        model(x)
    assert sys.getprofile() is before
    assert not list(tmp_path.rglob("*.npy"))


def test_ctrl_c_leaves_nothing_on_disk(tmp_path):
    program = textwrap.dedent("""
        import os, signal
        import numpy as np
        from autograd import Tensor
        from autograd.debug import trace
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
        with trace(arrays=True, memory=0) as t:
            Tensor(np.ones((100, 100)), requires_grad=True).exp()
            assert t._store.on_disk and os.listdir(os.environ["TMPDIR"])
            signal.raise_signal(signal.SIGINT)
    """)
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode in (-signal.SIGINT, 130)
    assert not list(tmp_path.iterdir())


def test_arrays_of_a_device_are_kept_on_the_host(strict_cupy):
    with backends.use_backend("cupy"):
        to_device = backends.load("cupy").to_device
        x = Tensor(to_device(RNG.normal(size=(2, 3))), requires_grad=True)
        with trace(arrays=True) as t:
            softmax(x).sum().backward()
    assert type(t["softmax"].value) is type(t["softmax"].grad) is np.ndarray
    np.testing.assert_allclose(t["softmax"].value.sum(-1), 1)


def test_str_reports_how_much_it_holds_and_a_pattern_that_nothing_has(model, x):
    with trace(model, arrays=["fc", "atn.*"]) as t:
        model(x).sum().backward()
    assert repr(t) == f"<trace of {len(t)} names>"
    counts = f"trace: {len(t)} names, 11 values and 10 gradients, 2 of them parameters; "
    assert str(t).startswith(counts + "arrays of 96 bytes in memory and 0 on disk; the block took 0.")
    assert "nothing is named like 'atn.*'" in str(t)
    assert repr(t["fc"]).startswith("<fc: (2, 3) float64, norm ")
    assert len(repr(t["fc"])) < 300


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3,), {}, "trace takes models, not int: pass the GPT or layer to be named"),
        ((), {"arrays": [1]}, r"arrays=\[1\]: give True for all, or names with wildcards"),
        ((), {"arrays": 3}, "arrays=3: give True for all, or names with wildcards"),
        ((), {"memory": -1}, "memory=-1: give the bytes"),
        ((), {"memory": "1 GB"}, "memory='1 GB': give the bytes"),
        ((), {"memory": float("nan")}, "memory=nan: give the bytes"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, options, message):
    with pytest.raises(DebugError, match=message):
        trace(*arguments, **options)


def test_a_name_that_is_no_string_is_unknown():
    with trace() as t:
        Tensor(np.ones(1)) * 2
    with pytest.raises(DebugError, match="there is no value 3 in this trace"):
        t[3]


def test_a_trace_is_of_one_block():
    with trace() as t:
        pass
    with pytest.raises(DebugError, match="used before: make a new one"), t:
        pass
