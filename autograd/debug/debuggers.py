"""A debugger that steps over what lies between the hand-written gradients.

    PYTHONBREAKPOINT=autograd.debug.set_trace python train.py

Then `s` at a `breakpoint()` before `loss.backward()` goes into `backward`, and from its marked line into one
`<op>_backward` after the other. Editors have settings for the same: .vscode/launch.json names these modules too.
"""

from __future__ import annotations

import sys

# each stands for the modules below it too
HELPERS = (
    "autograd.backends",
    "autograd.backward_pass",
    "autograd.compiler",
    "autograd.debug",
    "autograd.jit",
    "autograd.jit_math",
    "autograd.jit_random",
    "autograd.kernel",
    "autograd.layer_paths",
    "autograd.modes",
    "autograd.names",
    "autograd.norm",
    "autograd.numba_pipeline",
    "autograd.openblas",
    "autograd.operators",
    "autograd.origin",
    "autograd.random",
    "autograd.saved",
    "autograd.tape",
    "autograd.workspace",
    "minillm.module",
    "numpy",
    "numba",
    "llvmlite",
    "importlib",
    "contextlib",
    "functools",
    "inspect",
    "enum",
    "fnmatch",
    "re",
)
SKIP = [pattern for name in HELPERS for pattern in (name, f"{name}.*")]  # as bdb and pdb take it


def set_trace() -> None:
    """What `breakpoint()` is with PYTHONBREAKPOINT=autograd.debug.set_trace: pdb, which steps over the helpers."""
    import pdb  # when it is wanted: it would make every `import autograd` slower

    pdb.Pdb(skip=SKIP).set_trace(sys._getframe().f_back)
