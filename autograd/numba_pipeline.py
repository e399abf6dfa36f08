"""numba's compiler, but no work on code that only becomes a part of a kernel: half of the time it took.

numba makes a function of the body of each `prange`, which it hands to threads through two wrappers. It optimises each
of the four, kernel included, with all that it calls, and makes machine code of it; but the machine code of the kernel
has the others inside. Here the parts are linked as they are, and optimised with the kernel.
"""

# numba has no types for most of its inside
# mypy: disable-error-code=no-untyped-call
from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.registry import cpu_target
from numba.core.typed_passes import ParforPreLoweringPass
from numba.parfors.parfor import Parfor


class _Library(JITCodeLibrary):
    """Code of one function. What is finished because another links it has nobody else who would call it."""

    _part = False

    def add_linking_library(self, library: Any) -> None:
        if not library._finalized:
            library._part = True
        super().add_linking_library(library)

    def _optimize_final_module(self) -> None:
        if not self._part:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._part:
            self._finalized = True
        else:
            super()._finalize_final_module()


@contextmanager
def compiling() -> Iterator[None]:
    """Around the compilation of a kernel, with `Compiler`: its parts are linked only.

    And no garbage is collected, of which compiling makes little: to look for it took a tenth of the time.
    """
    codegen = cpu_target.target_context.codegen()
    with global_compiler_lock:  # one thread at a time
        codegen._library_class = _Library  # of this object; its class has numba's own
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            del codegen._library_class
            if collecting:
                gc.enable()


@register_pass(mutates_CFG=False, analysis_only=False)
class _BodiesAreParts(FunctionPass):
    """The body of a `prange` gets no wrapper for calls from Python, and no machine code."""

    _name = "autograd_bodies_are_parts"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        for block in state.func_ir.blocks.values():
            for parfor in block.find_insts(Parfor):
                parfor.flags = parfor.flags.copy()
                parfor.flags.no_cpython_wrapper = parfor.flags.no_compile = True
        return True


class Compiler(CompilerBase):
    """numba's passes and the one above."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        if self.state.flags.auto_parallel.enabled:
            passes.add_pass_after(_BodiesAreParts, ParforPreLoweringPass)
        passes.finalize()
        return [passes]
