"""How kernels of `autograd.jit` become machine code: the place that imports numba, with `numba_pipeline`."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

# How long GNU's OpenMP spins while it waits for work, told before it is loaded. Some 50 us bridge the Python between
# two kernels: 24 us a kernel, 40 without. On a busy machine each spin is lost to another process: there a kernel takes
# 0.3 ms, and 8 ms with OpenMP's own rule (measured, 2 threads). Other OpenMPs know the first variable only.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import llvmlite.binding  # type: ignore[import-untyped]  # it ships no types
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from autograd import jit, numba_pipeline, openblas

# -inf and NaN keep their meaning, since scores are masked with -inf; all else may be reordered and contracted
_FASTMATH = {"contract", "nsz", "arcp", "reassoc", "afn"}
_OPTIONS: dict[str, Any] = {
    "fastmath": _FASTMATH,
    "error_model": "numpy",
    "boundscheck": False,
    "nogil": True,
    "no_cfunc_wrapper": True,
}
# Called by kernels only: no wrapper saves a quarter of the time. Inlined always: a kernel that calls one is linked with
# another copy of it where it is compiled than where it is read from disk, and the two copies round differently.
_HELPER_OPTIONS = {**_OPTIONS, "no_cpython_wrapper": True, "forceinline": True}
_TYPES: dict[str, Any] = {
    **{f"In{n}": types.Array(types.float32, n, "C", readonly=True) for n in range(1, 5)},
    **{f"Out{n}": types.Array(types.float32, n, "C") for n in range(1, 5)},
    "OutDouble1": types.Array(types.float64, 1, "C"),
    "Ids1": types.Array(types.int64, 1, "C", readonly=True),
    "Bytes1": types.Array(types.uint8, 1, "C", readonly=True),
    "OutBytes1": types.Array(types.uint8, 1, "C"),
    "InInts1": types.Array(types.int32, 1, "C", readonly=True),
    **{f"Ints{n}": types.Array(types.int32, n, "C") for n in (1, 2)},
    **{f"Int64s{n}": types.Array(types.int64, n, "C") for n in (1, 2)},
    "InLongs1": types.Array(types.uint64, 1, "C", readonly=True),
    "Longs1": types.Array(types.uint64, 1, "C"),
    "Int": types.int64,
    "Float": types.float32,
    "Bool": types.boolean,
    "None": types.void,
}


def compile(kernel: jit.Compiled) -> Callable[..., Any]:
    """The dispatcher of a kernel, for the signature that its annotations give; of a helper, for what it is handed."""
    function = kernel.python
    scope = {**function.__globals__}
    for name in function.__code__.co_names:  # what it calls by name
        value = scope.get(name)
        if isinstance(value, jit.Compiled):
            scope[name] = value.machine()
        elif value is jit.prange:
            scope[name] = numba.prange
        elif value is jit.gemm:
            scope[name] = _gemm
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    # numba compiles again where this file has changed; with the fingerprint, where a helper of another file has too
    copy.__module__, copy.__qualname__ = function.__module__, f"{function.__qualname__}_{_fingerprint(kernel)}"
    dispatcher: Callable[..., Any]
    if kernel.inline:
        dispatcher = numba.njit(**_HELPER_OPTIONS)(copy)
        return dispatcher
    unknown = [f"{name}: {a}" for name, a in function.__annotations__.items() if a not in _TYPES]
    if unknown:
        raise TypeError(
            f"the kernel {function.__qualname__} has {unknown[0]!r} in its signature: annotate with the names of "
            f"autograd.jit ({', '.join(_TYPES)}), in a file with `from __future__ import annotations`"
        )
    arguments = [_TYPES[a] for name, a in function.__annotations__.items() if name != "return"]
    signature = _TYPES[function.__annotations__["return"]](*arguments)
    make = numba.njit(
        [signature], parallel=kernel.parallel, cache=not _unkept, pipeline_class=numba_pipeline.Compiler, **_OPTIONS
    )
    try:
        with numba_pipeline.compiling():
            dispatcher = make(copy)
    except (OSError, RuntimeError) as error:  # no folder to write to; numba says so with a RuntimeError
        if _unkept or not (isinstance(error, OSError) or "cannot cache" in str(error)):
            raise
        _unkept.append(function.__name__)
        warnings.warn(
            f"compiled kernels cannot be kept on disk, so each start compiles them again: {error}; "
            "set NUMBA_CACHE_DIR to a folder that can be written to",
            RuntimeWarning,
            stacklevel=2,
        )
        return compile(kernel)
    return dispatcher


_unkept: list[str] = []  # the kernel that could not be kept on disk: no other is tried


def _fingerprint(kernel: jit.Compiled) -> str:
    """Changes when the code of a kernel or of a helper changes, in whatever file it stands."""
    digest = hashlib.sha256()
    waiting, seen = [kernel], {kernel}
    while waiting:
        function = waiting.pop().python
        code = function.__code__
        digest.update(code.co_code + repr((code.co_consts, code.co_names)).encode())
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, jit.Compiled) and value not in seen:
                seen.add(value)
                waiting.append(value)
            elif isinstance(value, (int, float, np.number)):
                digest.update(repr(value).encode())  # numba takes a number of the module for a constant
    return digest.hexdigest()[:8]


_ADDRESS, _BITS = openblas.sgemm()
# by name, since an address in the code could not be kept on disk
llvmlite.binding.add_symbol("autograd_sgemm", _ADDRESS)
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112
_flag, _size, _float = ir.IntType(32), ir.IntType(_BITS), ir.FloatType()
_matrix = [_float.as_pointer(), _size]  # its first element, and how many elements lie from one row to the next
_sgemm_type = ir.FunctionType(ir.VoidType(), [*3 * [_flag], *3 * [_size], _float, *_matrix, *_matrix, _float, *_matrix])


@intrinsic
def _gemm(typing: Any, alpha: Any, a: Any, trans_a: Any, b: Any, trans_b: Any, beta: Any, c: Any) -> Any:
    """`jit.gemm` as instructions: a function would be compiled again for each mix of layouts, 15 times in training."""

    def call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        alpha, a, trans_a, b, trans_b, beta, c = values
        matrices, shapes = [], []
        for kind, value in zip((signature.args[1], signature.args[3], signature.args[6]), (a, b, c), strict=True):
            array = context.make_array(kind)(context, builder, value)
            stride = builder.sdiv(builder.extract_value(array.strides, 0), array.itemsize)  # both in bytes
            matrices.append((array.data, builder.trunc(stride, _size)))
            shapes.append([builder.trunc(builder.extract_value(array.shape, axis), _size) for axis in (0, 1)])
        transposed = (builder.select(trans, _flag(_TRANSPOSED), _flag(_PLAIN)) for trans in (trans_a, trans_b))
        k = builder.select(trans_a, *shapes[0])
        sgemm = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]  # numba has no types for it
            builder.module, _sgemm_type, "autograd_sgemm"
        )
        (a, b, c), (m, n) = matrices, shapes[2]
        builder.call(sgemm, [_flag(_ROW_MAJOR), *transposed, m, n, k, alpha, *a, *b, beta, *c])
        return context.get_dummy_value()

    return types.void(types.float32, a, types.boolean, b, types.boolean, types.float32, c), call
