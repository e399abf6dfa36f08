"""A strict stand-in for CuPy over NumPy data, to find on any machine what would fail or stall on a GPU.

It refuses what CuPy refuses: implicit conversion to NumPy, operands or indices that are NumPy arrays, functions that
CuPy does not have (looked up in the installed `cupy`, which imports without a GPU; where it is absent, any name
passes). Results of no dimensions stay on the device, and each wait of the host for the device is counted.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from autograd import backends

try:
    cupy = importlib.import_module("cupy")
except ImportError:
    cupy = None


class Waits:
    """How often the host has waited for the device."""

    count = 0


def unwrap(x: Any) -> Any:
    """The NumPy data of device arrays in x; NumPy arrays are refused, as CuPy does."""
    if isinstance(x, ndarray):
        return x.values
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, (list, tuple)):
        return type(x)(unwrap(part) for part in x)
    return x


def wrap(x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic)):
        return ndarray(x)  # a NumPy scalar too: it stays on the device
    if isinstance(x, (list, tuple)):
        return type(x)(wrap(part) for part in x)
    return x


def known(name: str, module: str = "") -> Any:
    """CuPy's function of that name, None where CuPy is not installed; TypeError if CuPy lacks it."""
    if cupy is None:
        return None
    try:
        return getattr(functools.reduce(getattr, module.split(".")[1:], cupy), name)
    except AttributeError:
        raise TypeError(f"cupy has no {module}.{name}") from None


class ndarray:
    """An array "on the device"."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc.signature is not None and ufunc is not np.matmul:
            return NotImplemented
        twin = known(ufunc.__name__)
        if twin is not None and method != "__call__" and not hasattr(twin, method):
            return NotImplemented
        out = kwargs.pop("out", None)
        if out is not None:
            kwargs["out"] = unwrap(out)
        y = getattr(ufunc, method)(*unwrap(inputs), **unwrap_values(kwargs))
        return out[0] if out is not None else wrap(y)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(t is not ndarray for t in types):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        twin = known(function.__name__, function.__module__)
        if twin is not None:
            try:
                inspect.signature(twin).bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"cupy.{function.__name__}: {error}") from None
        return wrap(function(*unwrap(args), **unwrap_values(kwargs)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (cupy is not None and not hasattr(cupy.ndarray, name)):
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        value = getattr(self.values, name)
        if not callable(value):
            return wrap(value) if isinstance(value, np.ndarray) else value
        return lambda *args, **kwargs: wrap(value(*unwrap(args), **unwrap_values(kwargs)))

    def get(self) -> Any:
        Waits.count += 1
        return self.values.copy()

    def item(self) -> Any:
        return self.get().item()

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __index__(self) -> int:
        return int(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return (wrap(part) for part in self.values)

    def __getitem__(self, index: Any) -> Any:
        return ndarray(self.values[self._index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[self._index(index)] = unwrap(value)

    @staticmethod
    def _index(index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        Waits.count += sum(isinstance(p, ndarray) and p.values.dtype == bool for p in parts)  # how many are True?
        return unwrap(index)

    __hash__ = None  # type: ignore[assignment]


def unwrap_values(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments with their arrays unwrapped; `out` is unwrapped already."""
    return {name: value if name == "out" else unwrap(value) for name, value in kwargs.items()}


def _operator(name: str) -> Any:
    def method(self: ndarray, *other: Any) -> Any:
        y = getattr(self.values, name)(*unwrap(other))
        return NotImplemented if y is NotImplemented else wrap(y)

    return method


def _in_place(name: str) -> Any:
    def method(self: ndarray, other: Any) -> ndarray:
        getattr(self.values, name)(unwrap(other))
        return self

    return method


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
ndarray.__module__ = "cupy"  # how the engine tells whose array it is


def _asarray(x: Any) -> ndarray:
    return x if isinstance(x, ndarray) else ndarray(np.array(x))  # a copy: host and device share no memory


def _scatter_add(total: ndarray, ids: ndarray, rows: ndarray) -> None:
    np.add.at(total.values, unwrap(ids), unwrap(rows))


_DEVICE = SimpleNamespace(
    runtime=SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda _: {"name": b"stand-in"},
        CUDARuntimeError=RuntimeError,
    ),
    Device=lambda: SimpleNamespace(id=0),
)
_CUPY = SimpleNamespace(
    __version__="stand-in",
    ndarray=ndarray,
    asarray=_asarray,
    asnumpy=lambda x: x.get(),
    zeros=lambda shape, dtype=float: ndarray(np.zeros(shape, dtype)),
    cuda=_DEVICE,
)


@contextmanager
def installed() -> Iterator[type[Waits]]:
    """`use_backend("cupy")` runs on the stand-in inside the block; yields the counter of waits, set to zero."""
    module = importlib.import_module("autograd.backends.cupy")
    before = {name: getattr(module, name, None) for name in ("cupy", "cupyx")}
    module.cupy, module.cupyx = _CUPY, SimpleNamespace(scatter_add=_scatter_add)  # type: ignore[attr-defined]
    backends.load.cache_clear()
    Waits.count = 0
    try:
        yield Waits
    finally:
        for name, value in before.items():
            setattr(module, name, value)
        backends.load.cache_clear()
