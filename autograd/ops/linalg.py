"""Matrix product with NumPy's rules: leading axes broadcast, a 1-D operand is a row on the left, a column on the right.

y = a @ b       da = dy @ b^T       db = a^T @ dy       each summed over its broadcast axes
"""

from __future__ import annotations

from autograd.backends import Array
from autograd.op import Op
from autograd.ops.broadcast import unbroadcast


def matmul_forward(a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    return a @ b, (a, b)  # (..., n, k) @ (..., k, m)


def matmul_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    a2 = a[None, :] if a.ndim == 1 else a  # (..., n, k)
    b2 = b[:, None] if b.ndim == 1 else b  # (..., k, m)
    if b.ndim == 1:
        dy = dy[..., None]
    if a.ndim == 1:
        dy = dy[..., None, :]
    da = dy @ b2.swapaxes(-1, -2)  # (..., n, k)
    db = a2.swapaxes(-1, -2) @ dy  # (..., k, m)
    return unbroadcast(da, a2.shape).reshape(a.shape), unbroadcast(db, b2.shape).reshape(b.shape)


matmul = Op(matmul_forward, matmul_backward)
