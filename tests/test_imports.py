"""Who may import whom, and what `import minillm` needs."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograd import debug

ROOT = Path(__file__).parents[1]

# of the parts named here, each may import those of its own row and of the rows above
AUTOGRAD = [
    ["layer_paths"],
    ["modes"],
    ["backends"],
    ["kernel", "saved", "random", "jit", "workspace", "numba_pipeline", "openblas", "origin", "names", "norm"],
    ["compiler"],
    ["tape"],
    ["backward_pass"],
    ["tensor"],
    ["op"],
    ["ops"],
    ["operators", "checkpoint"],
    ["gradcheck"],
    ["debug"],
]
MINILLM = [
    ["errors"],
    ["module"],
    ["layers"],
    ["config"],
    ["model"],
    ["optim", "data", "tokenizer"],
    ["weights"],
    ["train", "generate"],
    ["check"],
    ["debug"],
    ["cli"],
]
EXEMPT = {("modes", "random"), ("modes", "debug"), ("tensor", "debug")}  # under TYPE_CHECKING, for annotations


def imports(path: Path) -> Iterator[str]:
    """Dotted names that the file imports; `from a import b` counts as a.b where that is a module, and as a."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """(name of the part right below the package, file) of each file, the package's own __init__ left out."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        if parts != ("__init__",) and parts != ("__main__",):
            yield parts[0], path


def test_autograd_knows_nothing_of_language_models() -> None:
    for path in (ROOT / "autograd").rglob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] == "minillm"], path


def arrows(package: str) -> set[tuple[str, str]]:
    """(part, part it imports), for the parts right below the package."""
    found = set()
    for part, path in modules(package):
        for name in imports(path):
            dotted = name.split(".")
            if dotted[0] == package and len(dotted) > 1 and dotted[1] != part:
                found.add((part, dotted[1]))
    return found - EXEMPT


@pytest.mark.parametrize(("package", "order"), [("autograd", AUTOGRAD), ("minillm", MINILLM)])
def test_imports_point_one_way(package: str, order: list[list[str]]) -> None:
    rank = {name: i for i, row in enumerate(order) for name in row}
    assert {name for name in rank if not list((ROOT / package).glob(f"{name}*"))} == set()
    backwards = {(a, b) for a, b in arrows(package) if a in rank and b in rank and rank[b] > rank[a]}
    assert backwards == set()


@pytest.mark.parametrize("package", ["autograd", "minillm"])
def test_there_are_no_cycles(package: str) -> None:
    graph: dict[str, set[str]] = {}
    parts = {part for part, _ in modules(package)}
    for importer, imported in arrows(package):
        if imported in parts:
            graph.setdefault(importer, set()).add(imported)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names one


def run(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    prelude = f"import sys; sys.path[:0] = {[*map(str, path), str(ROOT)]}\n"
    return subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, check=False)


def test_import_needs_neither_numba_nor_cupy() -> None:
    code = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "cupy", "cupyx", "torch", "matplotlib", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
import numpy as np
from minillm import GPT, GPTConfig
from autograd import BackendError, use_backend
ids = np.zeros((1, 4), int)
_, loss = GPT(GPTConfig.preset("nano"))(ids, ids)
loss.backward()
try:
    use_backend("cupy")
except BackendError as error:
    print(error)
"""
    done = run(code)
    assert done.stderr == ""
    assert "needs the package CuPy, which is not installed: pip install" in done.stdout


def test_the_debugger_is_imported_when_it_is_used() -> None:
    code = """
import sys
import minillm
from autograd import debug
print(sorted(name for name in sys.modules if name.startswith("autograd.debug.")))
print([name for name in dir(debug) if getattr(debug, name).__name__ != name])
print(hasattr(debug, "no_such_name"))
"""
    done = run(code)
    there = [f"autograd.debug.{name}" for name in ("errors", "step", "stepped_pass", "steps", "undo")]
    assert (done.stderr, done.stdout.split("\n")[:3]) == ("", [str(there), "[]", "False"])


def test_no_function_of_the_debugger_hides_a_module() -> None:
    modules_of_it = {path.stem for path in (ROOT / "autograd" / "debug").glob("*.py")}
    assert modules_of_it & set(debug.__all__) == set()


def test_a_foreign_autograd_is_named(tmp_path: Path) -> None:
    (tmp_path / "autograd").mkdir()
    (tmp_path / "autograd" / "__init__.py").write_text("def grad(f): ...\n")
    done = run("import minillm", tmp_path)
    assert done.returncode == 1
    assert "ImportError: minillm needs its own package 'autograd'" in done.stderr
    assert str(tmp_path / "autograd" / "__init__.py") in done.stderr
