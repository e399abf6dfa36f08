"""The stepper in the terminal, driven by keys on a screen of Textual's own test pilot."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("textual")

from limits import HANGS
from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Static

from autograd.backends import Array
from autograd.debug import DebugError, break_on
from autograd.debug.node_check import NodeCheck
from autograd.debug.picture import picture
from autograd.debug.source import op_source
from autograd.tape import Node
from minillm.debug import Session
from minillm.debug.session import small_config
from minillm.debug.terminal import Stepper, heat, turns
from minillm.debug.terminal.heat import HeatMap, scale
from minillm.debug.terminal.lines import computing_line
from minillm.debug.terminal.values import values_of
from minillm.debug.terminal.walk import Walk

Script = Callable[[Stepper, Pilot[None]], Awaitable[None]]


@pytest.fixture(autouse=True)
def in_colour(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    heat.style.cache_clear()
    yield
    heat.style.cache_clear()


@pytest.fixture
def new_session(tmp_path: Path) -> Callable[[int], Session]:
    """Makes equal sessions of a GPT with so many layers."""
    (tmp_path / "text").write_text("the cat sat on the mat\n" * 4)
    data = [str(tmp_path / "text")]
    return lambda n: Session.from_text(config=small_config(n_layer=n, d_model=16, context_length=8), data=data)


@pytest.fixture
def session(new_session: Callable[[int], Session]) -> Session:
    return new_session(1)


def drive(session: Session, script: Script, *, size: tuple[int, int] = (80, 24), stops: tuple[str, ...] = ()) -> None:
    app = Stepper(session, stops)

    async def main() -> None:
        async with app.run_test(size=size) as pilot:
            await still(pilot)
            await script(app, pilot)

    asyncio.run(main())


async def still(pilot: Pilot[Any]) -> None:
    """No move and no check is under way, and all is shown."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Each once the one before has had its effect."""
    for key in keys:
        await pilot.press(key)
        await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or the screen does by itself."""
    async with asyncio.timeout(HANGS):
        while not condition():
            await asyncio.sleep(0.01)


async def look_at(app: Stepper, pilot: Pilot[Any], node: Node) -> None:
    """Select a node with few keys."""
    app.tape.highlighted = app.walk.nodes.index(node)
    await pilot.pause()


class Counted:
    """A function, and how often it was called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.n_calls = 0
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        self.n_calls += 1
        return self.__wrapped__(*arguments)


class Gate(Counted):
    """In front of a function: whoever calls it has to wait until it is opened."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._open = threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.n_calls += 1
        assert self._open.wait(HANGS)
        return self.__wrapped__(*arguments)

    def open(self) -> None:
        self._open.set()


def message(app: Stepper) -> str:
    return str(app.query_one("#message", Static).content)


def gradients(session: Session) -> dict[str, Array | None]:
    named = session.model.named_parameters()
    return {name: None if (grad := p.gradient_set()) is None else grad.copy() for name, p in named}


def same(a: dict[str, Array | None], b: dict[str, Array | None]) -> bool:
    """To the last bit."""
    return all(
        (x is None) == (y is None) and (x is None or y is None or x.tobytes() == y.tobytes())
        for x, y in zip(a.values(), b.values(), strict=True)
    )


def nodes_of(session: Session, op: str) -> list[Node]:
    return [node for node in session.nodes if str(node.op) == op]


def test_stepping_to_the_end_gives_the_gradients_of_backward(new_session: Callable[[int], Session]) -> None:
    session, plain = new_session(1), new_session(1)
    plain.loss.backward()

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        for i, node in enumerate(session.nodes):
            assert app.walk.step is not None
            assert app.walk.step.node is app.selected is node
            assert app.tape.highlighted == i
            await press(pilot, "n" if i % 2 else "right")
        assert app.walk.ended
        assert "the pass has ended" in message(app)

    drive(session, script)
    assert same(gradients(session), gradients(plain))


def test_a_step_back_restores_every_gradient(session: Session) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        seen = []
        for _ in range(4):
            seen.append(gradients(session))
            await press(pilot, "n")
        assert not same(seen[0], gradients(session))
        for before in reversed(seen):
            await press(pilot, "b")
            assert same(gradients(session), before)
        await press(pilot, "left")
        assert "there is no step before this one" in message(app)
        assert app.walk.place == 0
        await press(pilot, "G")
        before = gradients(session)
        await press(pilot, "n")
        assert not same(gradients(session), before)
        await press(pilot, "b")
        assert same(gradients(session), before)

    drive(session, script)


def test_continue_stops_at_a_breakpoint_set_with_a_key_before_its_gradients_accumulate(session: Session) -> None:
    node = nodes_of(session, "attention")[0]
    place = session.nodes.index(node)

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await look_at(app, pilot, node)
        await press(pilot, "space")
        assert str(app.tape.get_option_at_index(place).prompt).startswith("●")
        assert message(app) == f"breakpoints: node #{node.seq}"
        await press(pilot, "c")
        assert app.walk.step is not None
        assert app.walk.step.node is node
        assert session.model.blocks[0].ln1.weight.gradient_set() is None
        await press(pilot, "enter")
        assert message(app) == "no breakpoints"
        await press(pilot, "g", "c")
        assert app.walk.ended

    drive(session, script)


@pytest.mark.parametrize(("key", "op", "n"), [("o", "layernorm", 3), ("l", "gelu_tanh", 3)])
def test_continue_stops_at_every_node_of_an_op_or_layer(session: Session, key: str, op: str, n: int) -> None:
    """blocks.0.mlp has an activation, and two linear layers below it."""

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await look_at(app, pilot, nodes_of(session, op)[0])
        await press(pilot, key)
        assert sum(app.walk.stops_at(node) for node in session.nodes) == n
        for _ in range(n):
            await press(pilot, "c")
            assert app.walk.step is not None
            assert app.walk.stops_at(app.walk.step.node)
        await press(pilot, "c")
        assert app.walk.ended

    drive(session, script)


def test_a_breakpoint_given_at_the_start_is_where_it_opens(session: Session) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        for node in nodes_of(session, "attention"):
            assert app.walk.step is not None
            assert app.walk.step.node is node
            await press(pilot, "c")

    drive(session, script, stops=("attention",))


def test_one_name_alone_is_a_breakpoint_too(session: Session) -> None:
    assert Stepper(session, "attention").walk.breakpoints == ["op attention"]


def test_a_breakpoint_on_what_the_tape_has_not_names_the_nearest(session: Session) -> None:
    with pytest.raises(DebugError, match=r"no op or layer 'blocks.7.mlp' on this tape: did you mean 'blocks.0.mlp'"):
        Stepper(session, ["blocks.7.mlp"])
    with pytest.raises(DebugError, match="no op or layer 'relu' on this tape"):
        Stepper(session, ["relu"])


def test_a_break_on_of_the_program_stops_it_too(session: Session) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await press(pilot, "c")
        assert app.walk.step is not None
        assert app.walk.step.node is session.nodes[-1]

    with break_on(param="token_embedding.weight", when=lambda step: step.index > 1):
        drive(session, script)


def test_keys_go_to_the_first_the_last_and_the_selected_step(session: Session) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        last = len(session.nodes) - 1
        for keys, place in [
            ("G", last),
            ("g", 0),
            ("down down down t", 3),
            ("up up t", 1),
            ("G n", last + 1),
            ("G", last),
        ]:
            await press(pilot, *keys.split())
            assert app.walk.place == place

    drive(session, script)


def test_a_long_move_tells_how_far_it_is_and_stops_between_two_steps(new_session: Callable[[int], Session]) -> None:
    """Stopped and gone on from there, it computes what `backward` does."""
    session, stepped, plain = (new_session(2) for _ in range(3))
    node = session.nodes[5]
    node.backward = gate = Gate(node.backward)
    stepped.stop(5)
    plain.loss.backward()

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await look_at(app, pilot, session.nodes[-1])
        await pilot.press("c")
        await until(lambda: message(app) == f"step 6 of {len(session.nodes)} ... esc stops it")
        await pilot.press("up")
        await pilot.resize_terminal(130, 40)
        await until(lambda: app.selected is session.nodes[-2] and app.tape.size.height > 24)
        await pilot.press("n", "space", "k", "g")
        await until(lambda: "still moving, so that key did nothing" in message(app))
        await pilot.press("escape")
        await until(app.walk.stopping.is_set)
        gate.open()
        await still(pilot)
        assert app.walk.step is not None
        assert app.walk.step.node is app.selected is node
        assert message(app) == f"stopped at step 6 of {len(session.nodes)}"
        assert gate.n_calls == 1
        assert app.walk.breakpoints == []
        assert app.tape.checks == {}
        assert same(gradients(session), gradients(stepped))
        await press(pilot, "c")
        assert app.walk.ended

    drive(session, script)
    assert same(gradients(session), gradients(plain))


@pytest.mark.parametrize("move", [Walk.run_on, Walk.last, lambda walk: walk.go_to(walk.nodes[8])])
def test_every_move_ahead_can_be_stopped_by_another_thread(
    new_session: Callable[[int], Session], move: Callable[[Walk], None]
) -> None:
    session, stepped = new_session(1), new_session(1)
    stepped.stop(5)
    walk = Walk(session)
    right = session.nodes[5].backward

    def stop(dy: Array, *saved: Array) -> Any:
        other = threading.Thread(target=walk.stopping.set)
        other.start()
        other.join()
        return right(dy, *saved)

    session.nodes[5].backward = stop
    move(walk)
    assert walk.step is not None
    assert walk.step.node is session.nodes[5]
    assert same(gradients(session), gradients(stepped))


def test_a_way_back_can_be_stopped_too(session: Session) -> None:
    stepped = session.stop(3), gradients(session)

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await press(pilot, "G")
        app.walk.back = gate = Gate(app.walk.back)
        await pilot.press("g")
        await until(lambda: gate.n_calls == 1)
        for node in (session.nodes[0], session.nodes[-1]):
            await look_at(app, pilot, node)
            assert app.arrays.border_title == "forward pass; t goes here"  # a step that may end is not looked at
        await pilot.press("escape")
        await until(app.walk.stopping.is_set)
        gate.open()
        await still(pilot)
        assert app.walk.place == len(session.nodes) - 2
        assert app.selected is session.nodes[-2]
        await look_at(app, pilot, stepped[0].node)
        await press(pilot, "t")
        assert same(gradients(session), stepped[1])

    drive(session, script)


@pytest.mark.parametrize(("late", "n_steps"), [(0.0, 2), (60.0, 6)])
def test_keys_pressed_fast_all_count_and_those_of_a_key_held_down_do_not_pile_up(
    session: Session, monkeypatch: pytest.MonkeyPatch, late: float, n_steps: int
) -> None:
    """The last of those that are late counts; of nodes that the marked row went past, none is drawn."""
    monkeypatch.setattr(turns, "LONG", 60.0)
    monkeypatch.setattr(turns, "LATE", late)

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        app.walk.forward = gate = Gate(app.walk.forward)
        app.action_step = pressed = Counted(app.action_step)
        await pilot.press(*"nnnnnn")
        await until(lambda: pressed.n_calls == 6)
        gate.open()
        await still(pilot)
        assert app.walk.place == gate.n_calls == n_steps
        app._select = drawn = Counted(app._select)
        app.tape.highlighted = 8
        app.tape.highlighted = 9
        await until(lambda: app.selected is session.nodes[9])
        assert drawn.n_calls == 1

    drive(session, script)


def test_other_keys_wait_for_a_short_move_unless_escape_is_pressed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LONG", 60.0)

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        app.walk.forward = gate = Gate(app.walk.forward)
        app.action_step_back = pressed = Counted(app.action_step_back)
        await pilot.press(*"nonb")
        await until(lambda: pressed.n_calls == 1)
        gate.open()
        await still(pilot)
        assert app.walk.place == 1
        assert app.walk.breakpoints == [f"op {session.nodes[1].op}"]
        app.walk.forward = gate = Gate(app.walk.forward)
        await pilot.press("n", "c", "escape")
        await until(app.walk.stopping.is_set)
        gate.open()
        await still(pilot)
        assert app.walk.place == 2

    drive(session, script)


def test_what_waits_for_a_move_that_gets_long_is_forgotten_and_that_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LONG", 0.0)
    walk, said, called = Walk(session), [], []
    queue, gate = turns.Turns(walk, said.append), Gate(walk.forward)

    async def other() -> None:
        called.append("other")

    async def main() -> None:
        assert queue.add(queue.move, gate)
        assert not queue.add(other)
        taken = asyncio.create_task(queue.take())
        await until(lambda: said != [])
        gate.open()
        await taken
        assert queue.add(other)
        await queue.take()

    asyncio.run(main())
    assert said[0] == f"step 1 of {len(session.nodes)} ... still moving, so that key did nothing: esc stops it"
    assert called == ["other"]


def test_the_numeric_check_runs_beside_and_is_shown(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(session.check)
    monkeypatch.setattr(session, "check", gate)
    monkeypatch.setattr(turns, "LONG", 60.0)  # keys wait for each step

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await pilot.press("n", "n", "k")
        await until(lambda: gate.n_calls == 1)
        node = app.selected
        await pilot.press("n", "b", "b", "k")  # one check at a time
        await until(lambda: app.walk.place == 1 and message(app) == f"checking layernorm #{node.seq} ...")
        await pilot.press("n")
        gate.open()
        await still(pilot)
        assert gate.n_calls == 1
        assert f"numeric check of layernorm #{node.seq} passed" in message(app)
        assert re.search(r"numeric check passed, relative difference dx \d\.\de-1\d", app.source.formula.plain)
        assert str(app.tape.get_option_at_index(2).prompt).startswith(" ▶≈ layernorm")

    drive(session, script, size=(180, 60))


def test_a_check_that_fails_or_raises_is_said(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        for check, said in [
            (lambda node: NodeCheck({"x": 1.0}, False, "dx is\n  transposed", 0.1), "FAILED"),
            (lambda node: 1 / 0, "ZeroDivisionError: division by zero, at test_terminal.py:"),
        ]:
            monkeypatch.setattr(session, "check", check)
            await press(pilot, "k")
            assert said in message(app)
            assert app.query_one("#message").has_class("error")
        assert "numeric check FAILED: dx is\n  transposed" in app.source.formula.plain

    drive(session, script)


def test_an_exception_in_a_step_is_a_message_and_the_pass_can_go_on(session: Session) -> None:
    node = session.nodes[2]
    right = node.backward

    def broken_backward(dy: Array, *saved: Array) -> None:
        raise ZeroDivisionError("my own op")

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        node.backward = broken_backward
        await press(pilot, "c")
        assert message(app).startswith("ZeroDivisionError: my own op, at test_terminal.py:")
        assert message(app).endswith("in broken_backward")
        assert app.selected is node
        await press(pilot, "b")
        assert (app.walk.place, message(app)) == (1, "")
        node.backward = right
        await press(pilot, "n")
        assert app.walk.step is not None
        assert app.walk.step.node is node

    drive(session, script)


@pytest.mark.parametrize("dxs", [(np.zeros(3),), (np.zeros(3),) * 3, ("text", None, None)])
def test_gradients_that_do_not_fit_are_a_message(session: Session, dxs: tuple[object, ...]) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        session.nodes[2].backward = lambda dy, *saved: dxs
        await press(pilot, "c")
        assert message(app)
        assert app.query_one("#message").has_class("error")
        assert app.walk.place == 2
        await press(pilot, "b")
        assert app.walk.place == 1

    drive(session, script)


def test_a_terminal_too_small_says_so_until_it_is_enlarged(session: Session) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        said = app.query_one("#too-small", Static)
        assert said.display
        assert not app.query_one("#all").display
        assert "50 columns and 10 rows: enlarge it to at least 60 by 16" in str(said.content)
        await pilot.resize_terminal(60, 16)
        assert not said.display
        assert app.query_one("#all").display
        assert app.tape.region.height > 0
        await press(pilot, "down")
        assert app.tape.highlighted == 1
        await pilot.resize_terminal(59, 40)
        assert said.display
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        await press(pilot, "down")  # the tape has the keys again
        assert app.tape.highlighted == 2

    drive(session, script, size=(50, 10))


def test_panes_share_the_terminal_at_any_size(session: Session) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        for size in [(140, 45), (60, 16), (100, 30), (220, 60), (119, 17), (120, 16)]:
            await pilot.resize_terminal(*size)
            await press(pilot, "n")
            panes = [pane.region for pane in (app.tape, app.source, app.arrays)]
            assert all(
                pane.width >= 25 and pane.height >= 5 and app.size.region.contains_region(pane) for pane in panes
            )
            assert not any(a.overlaps(b) for i, a in enumerate(panes) for b in panes[:i])
            width = app.query_one("#code").scrollable_content_region.width
            assert max(map(len, app.source.code.plain.split("\n"))) <= width
            marked = [row for row in visible_rows(app) if row.startswith("❱")]
            assert len(marked) == 1

    drive(session, script)


def visible_rows(app: Stepper) -> list[str]:
    """Of the code, those within the pane."""
    code = app.query_one("#code")
    top = int(code.scroll_y)
    return app.source.code.plain.split("\n")[top : top + code.scrollable_content_region.height]


def test_search_selects_the_next_node_of_that_name(session: Session) -> None:
    norms = nodes_of(session, "layernorm")

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await press(pilot, "slash", *"norm")  # an n in a search is no step
        assert (app.walk.place, app.selected) == (0, norms[0])
        await press(pilot, "enter", "slash", "enter")
        assert app.selected is norms[1]
        await press(pilot, "slash", *"POS", "enter")
        assert app.selected.layer == "position_embedding"
        await press(pilot, "slash", *"_f", "enter")
        assert app.selected is norms[0]
        await press(pilot, "slash", *"zz")
        assert message(app) == "no op or layer on this tape has 'zz' in its name"
        await press(pilot, "escape", "n")
        assert app.walk.place == 1

    drive(session, script)


def test_the_source_is_that_of_the_op_and_its_marked_line_computes_the_selected_gradient(session: Session) -> None:
    node = nodes_of(session, "layernorm")[0]

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await press(pilot, "n", "n", "tab", "tab")
        assert app.focused is app.arrays
        code = app.source.code.plain
        source, first = inspect.getsourcelines(node.op.backward.reference)
        for number, line in enumerate(source, start=first):
            assert f"{number} {line.rstrip()}"[:30] in code
        for name in ("dx =", "dweight =", "dbias ="):
            (marked,) = [row for row in app.source.code.plain.split("\n") if row.startswith("❱")]
            assert name in marked
            await press(pilot, "down")
        assert node.layer in app.source.border_title

    drive(session, script, size=(180, 60))


def test_every_gradient_of_the_model_has_a_line_that_computes_it(session: Session) -> None:
    steps = 0
    while (step := next(session.steps, None)) is not None:
        listing = op_source(step.node).backward
        for place, flow in enumerate(step.flows):
            number = computing_line(listing, place)
            assert number is not None
            line = listing.lines[number - listing.first]
            assert f"d{flow.input} " in line or "return" in line
        steps += 1
    assert steps == len(session.nodes)


def test_what_a_step_takes_and_gives_is_there_by_name(session: Session) -> None:
    step = session.stop(2)
    values = values_of(session, step.node, step, session.source(step.node))
    names = [value.name for value in values]
    assert names == ["dy", "dx", "dweight", "dbias", "x", "mean", "rstd", "weight", "bias", "y"]
    assert values[0].value is step.dy
    np.testing.assert_array_equal(values[-1].value, session.value(step.node))
    console = Console(width=60)
    with console.capture() as shown_on:
        console.print(values[2].render(60, 16))
    shown = shown_on.get()
    assert "→ ln_f.weight\n  norm there: nothing → " in shown
    assert f"(16,) float32, norm {np.linalg.norm(step.dxs[1]):.4g}" in shown
    next(session.steps)  # what the leaf has now is another
    with console.capture() as shown_later:
        console.print(values[2].render(60, 16))
    assert shown_later.get() == shown
    before_it_ran = values_of(session, step.node, None, session.source(step.node))
    assert [value.name for value in before_it_ran] == ["x", "mean", "rstd", "weight", "bias", "y"]


def test_a_heat_map_has_two_numbers_to_a_block_and_a_colour_for_nan() -> None:
    array = np.array([[-2.0, 0.0, 2.0], [np.nan, 1.0, np.inf], [0.0, -1.0, 0.0]])
    console = Console(width=20)
    rows = console.render_lines(HeatMap(picture(array)), pad=False)
    assert ["".join(segment.text for segment in row) for row in rows] == ["▀▀▀", "▀▀▀"]
    styles = [segment.style for row in rows for segment in row for _ in segment.text if segment.style]
    upper = [style.color.triplet for style in styles if style.color]  # of array rows 0 and 2
    lower = [style.bgcolor.triplet for style in styles if style.bgcolor]  # of array row 1: none is below row 2
    assert len(upper) == 6
    assert len(lower) == 3
    assert upper[0].blue > upper[0].red  # below zero
    assert upper[2].red > upper[2].blue
    assert lower[0] == lower[2] not in upper
    assert upper[1] == upper[3] == upper[5]
    assert sum(upper[1]) < sum(lower[1]) < sum(upper[2])  # brighter the larger
    assert sum(upper[1]) < sum(upper[4]) < sum(upper[0])
    assert "1 nan, 1 inf" in scale(picture(array)).plain


def test_without_colour_a_heat_map_tells_below_zero_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    (row,) = Console(width=20).render_lines(HeatMap(picture(np.array([[-2.0, -1.0, 0.0, 2.0, np.nan]]))), pad=False)
    shades = [segment.style.color.triplet.red for segment in row if segment.style and segment.style.color]
    assert shades == sorted(set(shades))
    assert len(shades) == 5


def test_help_opens_and_closes_and_survives_a_resize(session: Session) -> None:
    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await press(pilot, "k", "question_mark")
        assert len(app.screen_stack) == 2
        await pilot.resize_terminal(50, 12)
        await pilot.resize_terminal(90, 30)
        for key in ("question_mark", "q", "escape"):
            await press(pilot, key)
            assert len(app.screen_stack) == 1
            assert app.query_one("#all").display
            assert app.screen.has_class("narrow")
            assert "passed" in message(app)
            await press(pilot, "question_mark")
        await press(pilot, "q", "n")
        assert app.walk.place == 1

    drive(session, script)


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_it_can_be_left(session: Session, key: str) -> None:
    async def leave(pilot: Pilot[object]) -> None:
        await press(pilot, "n")
        await pilot.press(key)
        await pilot.press("n")  # nobody is there any more

    app = Stepper(session)
    asyncio.run(asyncio.wait_for(app.run_async(headless=True, size=(120, 40), auto_pilot=leave), HANGS))
    assert app.walk.place == 1
    assert app.return_code == 0


def test_it_can_be_left_while_it_moves(session: Session) -> None:
    """It does not wait for the end of the pass."""
    session.nodes[2].backward = gate = Gate(session.nodes[2].backward)
    app = Stepper(session)

    async def leave(pilot: Pilot[object]) -> None:
        await pilot.press("c")
        await until(lambda: gate.n_calls == 1)
        await pilot.press("q")

    async def main() -> None:
        await asyncio.wait_for(app.run_async(headless=True, size=(120, 40), auto_pilot=leave), HANGS)
        gate.open()

    asyncio.run(main())  # waits for threads
    assert app.walk.place == 2
    assert app.return_code == 0


def test_without_colour_it_still_tells_where_it_is(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def script(app: Stepper, pilot: Pilot[None]) -> None:
        await press(pilot, "n")
        assert app.no_color
        assert str(app.tape.get_option_at_index(1).prompt).startswith(" ▶  linear")
        assert "❱" in app.source.code.plain

    drive(session, script)
