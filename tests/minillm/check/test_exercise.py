"""`minillm check --exercise`: files as handed out, filled in rightly and wrongly, and files that are no exercises."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from minillm.check.exercise import NOT_WRITTEN, RIGHT, WRONG, Grade, find_exercises, grade, load_exercise
from minillm.cli.main import main

EXERCISES = Path(__file__).parents[3] / "examples" / "exercises"
TO_FILL_IN = 'raise NotImplementedError("write me")'

SOLUTIONS = {
    "scale": "return dy * weight, (dy * x).sum((0, 1))",
    "linear": "return dy @ weight, dy.T @ x, dy.sum(0)",
    "embedding": """
        dweight = np.zeros_like(weight)
        np.add.at(dweight, ids, dy)
        return None, dweight
    """,
    "gelu": "return (dy * ((1 + t) / 2 + x / 2 * (1 - t * t) * A * (1 + 3 * B * x * x)),)",
    "cross_entropy": """
        dlogits = probs.copy()
        dlogits[np.arange(len(targets)), targets] -= 1
        return dlogits * (dloss / len(targets)), None
    """,
    "layernorm": """
        dxhat = dy * weight
        through_mean = dxhat.mean(-1, keepdims=True)
        through_rstd = xhat * (dxhat * xhat).mean(-1, keepdims=True)
        return rstd * (dxhat - through_mean - through_rstd), (dy * xhat).sum((0, 1)), dy.sum((0, 1))
    """,
    "feed_forward": """
        dh = dy @ proj * (h > 0)
        dn = dh @ fc
        dx = dy + rrms * (dn - n * (dn * n).mean(-1, keepdims=True))
        return dx, dh.T @ n, dh.sum(0), dy.T @ active
    """,
    "attention": """
        dprobs = dy @ v.swapaxes(-1, -2)
        dscores = probs * (dprobs - (dprobs * probs).sum(-1, keepdims=True)) / q.shape[-1] ** 0.5
        return dscores @ k, dscores.swapaxes(-1, -2) @ q, probs.swapaxes(-1, -2) @ dy
    """,
}


def handed_out(name: str) -> Path:
    (path,) = EXERCISES.glob(f"[1-8]_{name}.py")
    return path


def filled_in(folder: Path, name: str, body: str) -> Path:
    """The exercise with `body` in place of the line to fill in."""
    original = handed_out(name)
    source = original.read_text(encoding="utf-8")
    assert source.count(TO_FILL_IN) == 1
    lines = [line.strip() for line in body.strip().splitlines()]
    path = folder / original.name
    path.write_text(source.replace(TO_FILL_IN, "\n    ".join(lines)), encoding="utf-8")
    return path


def test_as_handed_out_no_exercise_is_written_and_they_come_from_easy_to_hard(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--exercise", str(EXERCISES)]) == 1
    *rows, blank, progress = capsys.readouterr().out.splitlines()
    assert [row.split(maxsplit=1) for row in rows] == [
        [f"{i}_{name}", NOT_WRITTEN] for i, name in enumerate(SOLUTIONS, 1)
    ]
    assert (blank, progress) == ("", "0 of 8 done")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_right_solution_passes(name: str, dtype: str, tmp_path: Path) -> None:
    exercise = load_exercise(filled_in(tmp_path, name, SOLUTIONS[name]))
    graded = grade(exercise, dtype, seeds=range(3))
    assert (graded.state, graded.text) == (RIGHT, "")
    assert re.fullmatch(r"\d gradients?, \d laws?", graded.note)


@pytest.mark.parametrize(
    ("name", "slip", "note", "told"),
    [
        ("scale", "return dy * weight, (dy * x).sum(0)", "dweight", "looks like a missing sum over axis 0"),
        ("linear", "return dy @ weight, dy.T @ x, -dy.sum(0)", "dbias", "sign"),
        ("gelu", "return (dy * (1 + t) / 2,)", "dx", "fits no known bug: its cosine with the numeric gradient is"),
        ("cross_entropy", SOLUTIONS["cross_entropy"].replace("(dloss / len(targets))", "dloss"), "dlogits", "off by a"),
        ("layernorm", SOLUTIONS["layernorm"].replace(" - through_mean", ""), "dx", "misses a term"),
        ("feed_forward", SOLUTIONS["feed_forward"].replace("dx = dy + ", "dx = "), "dx", "misses a term"),
        ("attention", SOLUTIONS["attention"].replace("dscores.swapaxes(-1, -2) @ q", "dscores @ q"), "dk", "wrong in"),
        ("scale", "return dy * weight, None", "cannot be checked", "returned None, no gradient at all, for weight"),
        ("scale", "return dy * weight", "cannot be checked", "returned an array of float64 (2, 3, 4): return a tuple"),
        ("scale", "pass", "cannot be checked", "scale_backward returned None: return a tuple"),
        (
            "scale",
            "x *= dy\nreturn x, weight",
            "cannot be checked",
            "the backward of scale writes into x, which is its caller's",
        ),
    ],
)
def test_a_wrong_solution_is_diagnosed(name: str, slip: str, note: str, told: str, tmp_path: Path) -> None:
    graded = grade(load_exercise(filled_in(tmp_path, name, slip)))
    assert (graded.state, graded.note) == (WRONG, note)
    assert told in graded.text


def test_a_backward_that_breaks_a_law_alone_is_wrong(tmp_path: Path) -> None:
    path = filled_in(tmp_path, "scale", SOLUTIONS["scale"])
    with path.open("a", encoding="utf-8") as file:
        file.write("from autograd.gradcheck.laws import sums_to_zero\nLAWS = [sums_to_zero('x')]\n")
    graded = grade(load_exercise(path))
    assert (graded.state, graded.note) == (WRONG, "law 'dx sums to zero over axis -1'")
    assert "the law 'dx sums to zero over axis -1' is broken: " in graded.text


def test_a_later_seed_can_fail(tmp_path: Path) -> None:
    slip = "return dy * weight, (dy * x).sum((0, 1)) * (1 if x[0, 0, 0] > -0.5 else 2)"
    exercise = load_exercise(filled_in(tmp_path, "scale", slip))
    states = [grade(exercise, seeds=[seed]).state for seed in range(12)]
    assert set(states) == {RIGHT, WRONG}
    assert grade(exercise, seeds=range(12)).state == WRONG


def test_an_exception_in_a_backward_is_told_with_the_user_s_own_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled_in(tmp_path, "linear", "dx = dy @ weight\nreturn dx, dy @ x, dy.sum(0)")
    line = path.read_text(encoding="utf-8").splitlines().index("    return dx, dy @ x, dy.sum(0)") + 1
    assert main(["check", "--exercise", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("2_linear  wrong: raises ValueError\n")
    assert f"2_linear: line {line}, `return dx, dy @ x, dy.sum(0)`, raises ValueError: matmul: " in shown.out
    assert "running the backward of linear at the inputs (x float64 (5, 4), " in shown.out  # shapes help to mend it
    assert "Traceback" not in shown.out + shown.err


def test_who_quits_the_debugger_inside_a_backward_quits(tmp_path: Path) -> None:
    path = filled_in(tmp_path, "linear", "import bdb\nraise bdb.BdbQuit")
    assert main(["check", "--exercise", str(path)]) == 130


def test_a_backward_that_ends_the_program_is_wrong_and_not_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled_in(tmp_path, "linear", "raise SystemExit(0)")
    assert main(["check", "--exercise", str(path)]) == 1
    assert capsys.readouterr().out.startswith("2_linear  wrong: raises SystemExit\n")


def test_the_line_told_is_the_user_s_also_where_numpy_s_own_raises(tmp_path: Path) -> None:
    graded = grade(load_exercise(filled_in(tmp_path, "scale", "return np.stack([])")))
    assert (graded.state, graded.note) == (
        WRONG,
        "raises NameError",
    )  # 1_scale.py needs no NumPy, so does not import it
    graded = grade(load_exercise(filled_in(tmp_path, "layernorm", "return np.stack([])")))
    assert graded.note == "raises ValueError"
    assert re.match(r"line \d+, `return np.stack\(\[\]\)`, raises ValueError: ", graded.text)


def test_gradients_of_another_dtype_are_wrong(tmp_path: Path) -> None:
    exercise = load_exercise(filled_in(tmp_path, "gelu", SOLUTIONS["gelu"].replace("1 - t", "np.float64(1) - t")))
    assert grade(exercise, "float64").state == RIGHT
    assert "a gradient of float64 for x of float32" in grade(exercise, "float32").text


def test_one_run_grades_many_files_and_counts_those_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = filled_in(tmp_path, "linear", SOLUTIONS["linear"])
    wrong = filled_in(tmp_path, "scale", "return dy * weight, (dy * x).sum(0)")
    assert main(["check", "--exercise", str(right), "--exercise", str(wrong), str(handed_out("gelu"))]) == 1
    first, second, third, *text, progress = capsys.readouterr().out.splitlines()
    assert first == "2_linear  right: 3 gradients, 3 laws"
    assert second == "1_scale   wrong: dweight"
    assert third == "4_gelu    not written yet"
    assert text[1].startswith("1_scale: scale_backward returned a gradient of shape (3, 4)")
    assert progress == "1 of 3 done"


def test_when_all_are_right_the_exit_code_is_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, body in SOLUTIONS.items():
        filled_in(tmp_path, name, body)
    assert main(["check", "--exercise", str(tmp_path), "--dtype", "float32", "--seeds", "2"]) == 0
    assert capsys.readouterr().out.endswith("\n8 of 8 done\n")


def test_a_file_named_twice_and_by_a_pattern_is_graded_once() -> None:
    names = [str(handed_out("linear")), str(EXERCISES / "*l[ia][ny]*.py")]
    assert [exercise.path.stem for exercise in find_exercises(names)] == ["2_linear", "6_layernorm"]


def test_a_file_just_edited_is_graded_as_it_is_now(tmp_path: Path) -> None:
    """Python takes bytecode for current if the source has the same second and size."""
    for constant, state in (("+1", RIGHT), ("-1", WRONG)):
        path = filled_in(tmp_path, "linear", f"return {constant} * dy @ weight, dy.T @ x, dy.sum(0)")
        assert grade(load_exercise(path)).state == state


def test_helpers_and_imported_pairs_are_no_second_pair(tmp_path: Path) -> None:
    path = filled_in(tmp_path, "linear", "return reference(dy, x, weight, weight)")
    with path.open("a", encoding="utf-8") as file:
        file.write("from minillm.layers.linear import linear_backward as reference\n")
        file.write("from minillm.layers.layernorm import layernorm_backward, layernorm_forward\n")
        file.write("def half_forward(x):\n    return x / 2\n")
    assert grade(load_exercise(path)) == Grade("2_linear", RIGHT, "3 gradients, 3 laws")


PAIR = "def f_forward(x): return x, ()\ndef f_backward(dy): return (dy,)\n"
MISTAKES = {
    "empty.py": ("", "has no pair of functions x_forward and x_backward: an exercise has one"),
    "half.py": ("def f_forward(x): return x, ()", "has no pair of functions"),
    "two.py": (PAIR + PAIR.replace("f_", "g_"), "has 2 pairs (f_backward, g_backward) of functions"),
    "no_inputs.py": (PAIR, "has no inputs(rng): define it to return arrays and attributes"),
    "prose.py": ("\nThis is no Python.", "is not Python, line 2: "),
    "latin.py": ("name = 'caf\xe9'\n", "is not Python"),
    "raises.py": (
        "import numpy\n\nnumpy.ones(3) @ numpy.ones(2)",
        "cannot be run: line 3, `numpy.ones(3) @ numpy.ones",
    ),
    "imports.py": ("import no_such_module", "raises ModuleNotFoundError: No module named 'no_such_module'"),
    "exits.py": ("import sys\nsys.exit(0)", "cannot be run: line 2, `sys.exit(0)`, raises SystemExit: 0"),
    "notes.md": ("hello", "is no Python file: give files that end in .py, or a folder"),
    "bare.py": (PAIR + "def inputs(rng): return rng.random(3)", "returned ndarray: return arrays and attributes"),
    "laws.py": (PAIR + "def inputs(rng): ...\nLAWS = ['causal']", "is ['causal']: give a list of laws"),
    "failing.py": (PAIR + "def inputs(rng): return rng.randm(3)", "failed: line 3, `def inputs(rng): return rng.randm"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_file_that_is_no_exercise_is_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, message = MISTAKES[name]
    (tmp_path / name).write_bytes(source.encode("latin-1"))
    assert main(["check", "--exercise", str(tmp_path / name)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("minillm: error: ")
    assert name in shown.err
    assert message in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "there is no file 'nowhere.py': give an exercise, or a folder of them"),
        (["nowhere*.py"], "there is no Python file that fits 'nowhere*.py': "),
        (["no_python"], "there is no Python file in the folder 'no_python': "),
        ([str(EXERCISES), "--layer", "linear"], "--exercise grades files: leave out --layer"),
        ([str(EXERCISES), "--mutants"], "--exercise grades files: leave out --mutants"),
        ([str(EXERCISES), "--seeds", "0"], "seeds is 0: "),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no_python").mkdir()
    assert main(["check", "--exercise", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"minillm: error: {message}")
    assert shown.err.count("\n") == 1


def test_one_bad_file_among_good_ones_is_told_before_any_is_graded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--exercise", str(handed_out("gelu")), str(EXERCISES / "README.md")]) == 2
    assert capsys.readouterr().out == ""


def test_the_readme_of_the_exercises_lists_them_and_shows_what_its_slip_gets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (EXERCISES / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+\.py)` \|", readme, re.MULTILINE) == [handed_out(name).name for name in SOLUTIONS]
    for command in re.findall(r"^minillm .*", readme, re.MULTILINE):
        assert all((EXERCISES.parents[1] / name).exists() for name in shlex.split(command)[3:])
    slip = SOLUTIONS["embedding"].replace("np.add.at(dweight, ids, dy)", "dweight[ids] += dy")
    assert main(["check", "--exercise", str(filled_in(tmp_path, "embedding", slip))]) == 1
    (shown,) = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    number = r"\d+\.\d+"  # its last digits may be others elsewhere
    assert re.sub(number, "#", capsys.readouterr().out) == re.sub(number, "#", shown)
