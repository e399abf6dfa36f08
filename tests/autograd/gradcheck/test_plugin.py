"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import pytest

from autograd.gradcheck.plugin import summary  # before the inner runs, or each would load the package anew

pytest_plugins = ["pytester"]

LAYER = """
import numpy as np
import pytest

def square_forward(x):
    return x * x, (x,)

def square_backward(dy, x):
    return (2 * x * dy,)

def wrong_backward(dy, x):
    return (x * dy,)

x = np.array([0.5, -1.5, 2.0])
"""


def run(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(LAYER + textwrap.dedent(tests))
    return pytester.runpytest_inprocess("-W", "error", "-p", "no:cacheprovider", *options)


def seeds_and_dtypes(result: pytest.RunResult) -> list[tuple[str, int]]:
    """Of each check, as the tests print them."""
    return [(dtype, int(seed)) for dtype, seed in re.findall(r"checked (\w+) (\d+)", result.stdout.str())]


def test_the_summary_counts_gradients_checks_and_kinks(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        def relu_forward(x): return np.maximum(x, 0), (x > 0,)
        def relu_backward(dy, positive): return (dy * positive,)
        def product_forward(a, b): return a * b, (a, b)
        def product_backward(dy, a, b): return dy * b, dy * a

        def test_smooth(gradcheck): gradcheck((product_forward, product_backward), [x, x + 1])
        def test_kinks(gradcheck): gradcheck((relu_forward, relu_backward), [np.array([0.0, 1.0, 0.0])])
        """,
    )
    result.assert_outcomes(passed=2)
    (line,) = [line for line in result.outlines if line.startswith("gradcheck:")]
    assert re.fullmatch(
        r"gradcheck: 3 gradients in 2 checks, largest error [\d.e-]+ % of what rounding explains, 2 kinks skipped", line
    )


def test_the_summary_tells_the_largest_error_and_what_is_wrong() -> None:
    small = {"gradients": 3, "checks": 2, "wrong": 0, "kinks": 0, "largest": 0.012}
    large = {"gradients": 1, "checks": 1, "wrong": 1, "kinks": 1, "largest": 0.3456}
    assert summary([small, large]) == (
        "gradcheck: 4 gradients in 3 checks, 1 wrong, largest error of the others 35 % of what rounding explains, "
        "1 kink skipped"
    )
    assert summary([small]) == "gradcheck: 3 gradients in 2 checks, largest error 1.2 % of what rounding explains"


def test_checks_in_another_fixture_are_counted_when_its_setup_fails(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        @pytest.fixture
        def checked(gradcheck): gradcheck((square_forward, wrong_backward), [x])
        def test_square(checked): pass
        """,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["gradcheck: 1 gradient in 1 check, 1 wrong, *"])


def test_without_the_fixture_there_is_no_summary(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_nothing(): pass")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*gradcheck*")


def test_a_failure_shows_the_report_and_none_of_our_frames(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_wrong(gradcheck): gradcheck((square_forward, wrong_backward), [x])")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*gradcheck((square_forward, wrong_backward), [[]x])",
            "E*The gradient of x (3,) is wrong in 3 of 3 places.",
            "gradcheck: 1 gradient in 1 check, 1 wrong, *",
        ]
    )
    assert not re.search(r"(check|compare|plugin)\.py:\d", result.stdout.str())


def test_an_exception_of_the_function_shows_the_function(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        def broken(dy, x): return x.no_such_thing
        def test_broken(gradcheck): gradcheck((square_forward, broken), [x])
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">*return x.no_such_thing*", "E*AttributeError*"])
    assert not re.search(r"(check|subject|plugin)\.py:\d", result.stdout.str())


def test_the_marker_gives_defaults_that_the_call_overrides(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        @pytest.mark.gradcheck(seeds=2, dtype="float32")
        class TestSquare:
            def check(self, gradcheck, **options):
                seen = []
                def forward(x):
                    seen.append(str(x.dtype))
                    return square_forward(x)
                report = gradcheck((forward, square_backward), [x], **options)
                print("checked", report.dtype, report.seed)
                assert report.dtype in seen

            def test_of_the_class(self, gradcheck): self.check(gradcheck)
            @pytest.mark.gradcheck(dtype="float64", seed=7, seeds=1)
            def test_nearer(self, gradcheck): self.check(gradcheck)
            def test_of_the_call(self, gradcheck): self.check(gradcheck, dtype="float64", seed=9, seeds=1)
        """,
        "-s",
    )
    result.assert_outcomes(passed=3)
    (of_class, *rest) = seeds_and_dtypes(result)
    assert of_class[0] == "float32"
    assert rest == [("float64", 7), ("float64", 9)]
    result.stdout.fnmatch_lines(["gradcheck: 4 gradients in 4 checks, *"])  # two seeds, one, one


def test_each_seed_is_another_check_and_the_first_that_fails_is_told(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        @pytest.mark.gradcheck(seeds=5, seed=3)
        def test_dropout(gradcheck):
            masks = []
            def dropout_forward(x):
                keep = np.random.random(x.shape) < 0.5
                masks.append(keep.tolist())
                return x * keep, (keep,)
            gradcheck((dropout_forward, lambda dy, keep: (dy * keep,)), [np.ones(8)])
            assert len({str(mask) for mask in masks}) == 5

        @pytest.mark.gradcheck(seeds=5, seed=3)
        def test_wrong(gradcheck): gradcheck((square_forward, wrong_backward), [x])
        """,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*wrong in 1 of 1 gradients (float64, seed 3, *", "gradcheck: 6 gradients in 6 checks*"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("seds=5", "was given seds=...: choose from seeds, *dtype*"),
        ("5", "was given 5 by position: name it, as in seeds=5"),
        ("seeds=0", "was given seeds=0: give a whole number of 1 or more"),
        ("seeds='two'", "was given seeds='two': give a whole number of 1 or more"),
    ],
)
def test_a_marker_that_says_nothing_is_one_sentence(pytester: pytest.Pytester, options: str, message: str) -> None:
    result = run(
        pytester,
        f"""
        @pytest.mark.gradcheck({options})
        def test_square(gradcheck): gradcheck((square_forward, square_backward), [x])
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"@pytest.mark.gradcheck {message}"])


def test_it_runs_within_a_test_of_hypothesis(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        from hypothesis import given, settings, strategies as st

        @settings(max_examples=3, derandomize=True, deadline=None, database=None)
        @given(n=st.integers(1, 3))
        def test_square(gradcheck, n): gradcheck((square_forward, square_backward), [np.ones(n)])
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gradcheck: 3 gradients in 3 checks, *"])


@pytest.mark.parametrize("installed", [True, False])
def test_by_its_module_name_it_is_loaded_once(
    pytester: pytest.Pytester, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    if not installed:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    tests = "def test_square(gradcheck): gradcheck((square_forward, square_backward), [x])"
    result = run(pytester, tests, "--strict-markers", "-p", "autograd.gradcheck.plugin")
    result.assert_outcomes(passed=1)
    assert sum(line.startswith("gradcheck:") for line in result.outlines) == 1


def test_an_installed_package_needs_no_option(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    run(pytester, "def test_square(gradcheck): gradcheck((square_forward, square_backward), [x])").assert_outcomes(
        passed=1
    )


def test_what_pytest_loads_in_every_project_brings_nothing_heavy() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import _autograd_pytestplugin; print(set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'_autograd_pytestplugin'}\n"
