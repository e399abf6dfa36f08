"""To find the line of a NaN the function runs again: never where that could leave a trace, and nothing is disturbed."""

from __future__ import annotations

import functools
import itertools
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nonfinite_ops import Function, backward_of, found_in, leaf, own_op, softmax_forward, told

from autograd import Stream, observe, ops, use_stream
from autograd.debug import NonFinite, debug, trace
from minillm.layers.attention import attention

pytestmark = pytest.mark.usefixtures("own_ops_are_forgotten")


# -------------------------------------------------------------------------------------------- where nothing is said
counts = {"calls": 0}
buffer = np.zeros(2)
log: list[str] = []
n_calls = 0


def counting_forward(x: Any) -> Any:
    global n_calls
    n_calls += 1
    e = np.exp(x)
    return e + 1, ()


def keeping_forward(x: Any) -> Any:
    counts["calls"] += 1
    e = np.exp(x)
    return e + 1, ()


def logging_forward(x: Any) -> Any:
    log.append("called")
    e = np.exp(x)
    return e + 1, ()


def remembering_forward(x: Any, kept: dict[str, int] = counts) -> Any:  # what it is about
    kept["calls"] += 1
    e = np.exp(x)
    return e + 1, ()


def adding_forward(x: Any) -> Any:
    np.add(buffer, 1, out=buffer)
    e = np.exp(x)
    return e + 1, ()


def aliasing_forward(x: Any) -> Any:
    kept = log
    kept.append("called")
    e = np.exp(x)
    return e + 1, ()


def viewing_forward(x: Any) -> Any:
    part = buffer[:1]
    part += 1
    e = np.exp(x)
    return e + 1, ()


def appending_forward(x: Any) -> Any:
    list(map(log.append, x[:1]))
    e = np.exp(x)
    return e + 1, ()


def own_list_forward(x: Any) -> Any:
    kept = own_list_forward.log
    kept.append("called")
    e = np.exp(x)
    return e + 1, ()


own_list_forward.log = log


class Kept:
    log = log


def of_a_class_forward(x: Any) -> Any:
    kept = Kept
    kept.log.append("called")
    e = np.exp(x)
    return e + 1, ()


own_module = sys.modules[__name__]


def of_a_module_forward(x: Any) -> Any:
    own_module.log.append("called")
    e = np.exp(x)
    return e + 1, ()


def note_call(_: Any = None) -> None:
    counts["calls"] += 1


note = functools.partial(note_call)


@contextmanager
def noted() -> Iterator[None]:
    note_call()
    yield


class Noted:
    def __enter__(self) -> None:
        note_call()

    def __exit__(self, *_: object) -> None:
        pass


entered = Noted()


def partial_forward(x: Any) -> Any:
    note()
    e = np.exp(x)
    return e + 1, ()


def entering_forward(x: Any) -> Any:
    with entered:
        e = np.exp(x)
    return e + 1, ()


def managing_forward(x: Any) -> Any:
    with noted():
        e = np.exp(x)
    return e + 1, ()


def noted_number(number: float) -> float:
    note_call()
    return number


every = np.vectorize(noted_number, otypes=[float])


def vectorized_forward(x: Any) -> Any:
    e = np.exp(every(x[:1]))
    return e + 1, ()


def noting_forward(x: Any) -> Any:
    note_call()
    e = np.exp(x)
    return e + 1, ()


def mapping_forward(x: Any) -> Any:
    list(map(note_call, x[:1]))
    e = np.exp(x)
    return e + 1, ()


@pytest.mark.parametrize(
    "forward",
    [
        counting_forward,
        keeping_forward,
        logging_forward,
        adding_forward,
        noting_forward,
        mapping_forward,
        remembering_forward,
        aliasing_forward,
        viewing_forward,
        appending_forward,
        own_list_forward,
        of_a_class_forward,
        of_a_module_forward,
        partial_forward,
        entering_forward,
        managing_forward,
        vectorized_forward,
    ],
)
def test_a_function_that_leaves_traces_runs_once_and_nothing_is_said(forward: Function) -> None:
    before = n_calls + counts["calls"] + len(log) + buffer[0]
    assert found_in(lambda: own_op(forward)(leaf([1000, 1]))).inside is None
    assert n_calls + counts["calls"] + len(log) + buffer[0] == before + 1


def test_what_an_op_is_handed_to_keep_something_in_is_written_once() -> None:
    def forward(x: Any, *, kept: Any) -> Any:
        kept["calls"] += 1
        e = np.exp(x)
        return e + 1, ()

    def of_an_object(x: Any, *, kept: Any) -> Any:
        kept.calls.append(1)
        e = np.exp(x)
        return e + 1, ()

    numbers, thing = {"calls": 0}, SimpleNamespace(calls=[])
    assert found_in(lambda: own_op(forward)(leaf([1000, 1]), kept=numbers)).inside is None
    assert found_in(lambda: own_op(of_an_object)(leaf([1000, 1]), kept=thing)).inside is None
    assert (numbers, thing.calls) == ({"calls": 1}, [1])


def test_what_counts_or_writes_a_file_does_so_once(tmp_path: Path) -> None:
    numbers, name = itertools.count(), str(tmp_path / "x.bin")
    np.zeros(2).tofile(name)

    def forward(x: Any) -> Any:
        next(numbers)
        e = np.exp(x)
        return e + 1, ()

    def mapped(x: Any) -> Any:
        kept = np.memmap(name, "float64", "r+", shape=x.shape)
        kept += 1
        e = np.exp(x)
        return e + 1, ()

    assert found_in(lambda: own_op(forward)(leaf([1000, 1]))).inside is None
    assert next(numbers) == 1
    assert found_in(lambda: own_op(mapped)(leaf([1000, 1]))).inside is None
    assert np.fromfile(name).tolist() == [1, 1]


def seeded(module: Any) -> Any:
    module.seed(0)
    return module


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (lambda: np.random.default_rng(0), "standard_normal"),
        (lambda: random.Random(0), "random"),
        (lambda: Stream(0), "next_key"),
        (lambda: seeded(random), "random"),
        (lambda: seeded(np.random), "random"),
    ],
)
def test_random_numbers_are_drawn_once_and_nothing_is_said(make: Function, method: str) -> None:
    source = make()
    _, second = getattr(source, method)(), getattr(source, method)()
    source = make()

    def forward(x: Any) -> Any:
        draw = getattr(source, method)
        draw()
        e = np.exp(x)
        return e + 1, ()

    assert found_in(lambda: own_op(forward)(leaf([1000, 1]))).inside is None
    assert getattr(source, method)() == second


def test_with_dropout_no_key_is_drawn() -> None:
    qkv, stream = leaf(np.random.default_rng(0).uniform(1e20, 2e20, (1, 4, 12)), "float32"), Stream(3)
    with use_stream(stream):
        key = stream.next_key()
        found = found_in(backward_of(attention, qkv, n_head=2, dropout=0.5, dropout_key=key))
    assert stream.calls == 1
    assert told(found).code.startswith("scores = ")


def test_what_is_printed_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    def forward(x: Any) -> Any:
        print("forward of", x.shape)
        e = np.exp(x)
        return e + 1, ()

    assert told(found_in(lambda: own_op(forward)(leaf([1000, 1])))).code.startswith("e = ")
    assert capsys.readouterr().out == "forward of (2,)\n"


def test_without_source_or_with_another_one_nothing_is_said(tmp_path: Path) -> None:
    source = "import numpy as np\n\ndef typed_forward(x):\n    e = np.exp(x)\n    return e + 1, ()\n"
    file = tmp_path / "own.py"

    def found(name: str) -> NonFinite:
        namespace: dict[str, Any] = {"__name__": "own"}
        file.write_text(source)
        exec(compile(source, name, "exec"), namespace)
        return found_in(lambda: own_op(namespace["typed_forward"])(leaf([1000, 1])))

    assert found("<stdin>").inside is None
    assert told(found(str(file))).line == (str(file), 4)


def test_where_the_file_has_changed_since_nothing_is_said(tmp_path: Path) -> None:
    source = "import numpy as np\n\ndef typed_forward(x):\n    e = np.exp(x * 1)\n    return e + 1, ()\n"
    file, namespace = tmp_path / "own.py", {"__name__": "own"}
    exec(compile(source, str(file), "exec"), namespace)
    for changed in (source.replace("* 1", "* 2"), source.replace("* 1", "+ 1"), source[:20], ""):
        file.write_text(changed)
        exec(compile(source, str(file), "exec"), namespace)  # another function: what was read of one is kept
        forward: Any = namespace["typed_forward"]
        assert found_in(lambda f=forward: own_op(f)(leaf([1000, 1]))).inside is None


def test_a_function_that_runs_for_long_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(x: Any) -> Any:
        y = x
        for _ in range(50):
            y = y * 1.0
        return y * 1e300 * 1e300, ()

    assert told(found_in(lambda: own_op(forward)(leaf([1, 2])))).expression == "y * 1e300 * 1e300"
    monkeypatch.setattr("autograd.debug.nonfinite_line._SECONDS", 0.0)
    assert found_in(lambda: own_op(forward)(leaf([1, 2]))).inside is None


def test_where_time_is_short_the_line_is_told_without_the_search_for_one_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forward(x: Any) -> Any:
        e = np.exp(x)
        return np.cumsum(e[::-1])[:2] + 1, ()  # of the last

    run = backward_of(own_op(forward), leaf([1000] * 8 + [1, 1000]))
    assert told(found_in(run)).index == (9,)
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=itertools.chain([now], itertools.repeat(now + 20)).__next__)
    monkeypatch.setattr("autograd.debug.nonfinite_line.time", clock)
    inside = told(found_in(run))
    assert (inside.code, inside.index, inside.count) == ("e = np.exp(x)", (0,), 9)


# ---------------------------------------------------------------------------------------------- nothing is disturbed
def test_while_no_number_that_is_not_finite_gets_out_nothing_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    for module in ("nonfinite", "nonfinite_forward"):
        monkeypatch.setattr(f"autograd.debug.{module}.inside", refuse)
    x = leaf(np.ones((2, 3)))
    with debug():
        ops.softmax(ops.where(np.array([True, False, True]), x, -np.inf)).sum().backward()
        attention(leaf(np.ones((1, 4, 12))), n_head=2).sum().backward()
        (1 / (1 + ops.exp(x * 1000))).sum()
    with pytest.raises(AssertionError), debug():
        ops.exp(x * 1000)


def test_inputs_saved_arrays_and_the_upstream_gradient_are_not_written() -> None:
    def forward(x: Any) -> Any:
        return x + 0, (x,)

    def backward(dy: Any, x: Any) -> Any:
        dx = dy / x
        dx -= 1
        return (dx * 2,)

    x = leaf([0, 2])
    upstream = np.array([1.0, 3.0])
    inside = told(found_in(lambda: own_op(forward, backward)(x).backward(upstream)))
    assert inside.code == "dx = dy / x"
    np.testing.assert_array_equal(x.data, [0, 2])
    np.testing.assert_array_equal(upstream, [1, 3])


def test_an_input_that_the_function_changes_is_changed_once() -> None:
    def forward(x: Any, y: Any) -> Any:
        y *= 2
        e = np.exp(x)
        return e + y, ()

    y = np.array([3.0, 4.0])
    found_in(lambda: own_op(forward)(leaf([1, 1000]), y))
    np.testing.assert_array_equal(y, [6, 8])


def test_an_input_that_the_function_makes_writeable_is_changed_once() -> None:
    def forward(x: Any, y: Any) -> Any:
        y.flags.writeable = True
        y += 1
        e = np.exp(x)
        return e + 1, ()

    y = np.array([3.0, 4.0])
    found_in(lambda: own_op(forward)(leaf([1, 1000]), y))
    np.testing.assert_array_equal(y, [4, 5])


def test_observers_are_not_called_again() -> None:
    names = []
    with observe(lambda op, *_: names.append(op.name)):
        assert told(found_in(lambda: own_op(softmax_forward)(leaf([[1, 1000]]))))
    assert names == ["softmax"]


def test_a_debugger_that_is_tracing_goes_on_and_does_not_step_in() -> None:
    entered = []

    def tracer(frame: Any, event: str, _: Any) -> Any:
        entered.append((frame.f_code.co_filename, frame.f_code.co_name))
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        found = found_in(lambda: own_op(softmax_forward)(leaf([[1, 1000]])))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert told(found).code.startswith("e = ")
    assert (softmax_forward.__code__.co_filename, "softmax_forward") in entered
    assert [name for file, name in entered if file.startswith("<a function")] == []


def test_a_trace_around_it_goes_on() -> None:
    qkv = leaf(np.random.default_rng(0).uniform(1e20, 2e20, (1, 4, 12)), "float32")
    with trace() as names:
        found = found_in(lambda: attention(qkv, n_head=2).sum())
        y = attention(leaf(np.ones((1, 4, 12))), n_head=2)
        y.sum().backward()
    assert told(found).code.startswith("scores = ")
    assert "attention" in names
