"""The error function, which NumPy lacks.

  y = erf(x) = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x       dx = dy * 2/sqrt(pi) * exp(-x^2)

Rational approximations of Sun's fdlibm (s_erf.c), within 1 ulp in float64; they take complex numbers near the real
axis, so that a complex step passes through.
"""

from __future__ import annotations

import math

import numpy as np

from autograd.backends import Array
from autograd.op import Op

# fmt: off
# |x| < 0.84375: erf(x) = x + x * P(x^2)/Q(x^2)
_PP = (1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02,
       -5.77027029648944159157e-03, -2.37630166566501626084e-05)
_QQ = (1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03,
       1.32494738004321644526e-04, -3.96022827877536812320e-06)
# 0.84375 <= |x| < 1.25: erf(x) = sign * (C + P(|x|-1)/Q(|x|-1))
_C = 8.45062911510467529297e-01
_PA = (-2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01,
       3.18346619901161753674e-01, -1.10894694282396677476e-01, 3.54783043256182359371e-02,
       -2.16637559486879084300e-03)
_QA = (1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02,
       1.26171219808761642112e-01, 1.36370839120290507362e-02, 1.19844998467991074170e-02)
# 1.25 <= |x| < 1/0.35, then up to 6: erf(x) = sign * (1 - exp(-x^2 - 0.5625 + R(1/x^2)/S(1/x^2)) / |x|)
_RA = (-9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e+01,
       -6.23753324503260060396e+01, -1.62396669462573470355e+02, -1.84605092906711035994e+02,
       -8.12874355063065934246e+01, -9.81432934416914548592e+00)
_SA = (1.0, 1.96512716674392571292e+01, 1.37657754143519042600e+02, 4.34565877475229228821e+02,
       6.45387271733267880336e+02, 4.29008140027567833386e+02, 1.08635005541779435134e+02,
       6.57024977031928170135e+00, -6.04244152148580987438e-02)
_RB = (-9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e+01,
       -1.60636384855821916062e+02, -6.37566443368389627722e+02, -1.02509513161107724954e+03,
       -4.83519191608651397019e+02)
_SB = (1.0, 3.03380607434824582924e+01, 3.25792512996573918826e+02, 1.53672958608443695994e+03,
       3.19985821950859553908e+03, 2.55305040643316442583e+03, 4.74528541206955367215e+02,
       -2.24409524465858183362e+01)
# fmt: on


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    total = x * 0 + coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def erf_forward(x: Array) -> tuple[Array, tuple[Array]]:
    sign = np.where(x.real < 0, -1, 1).astype(x.real.dtype)
    a = x * sign  # |x|, also for a complex step
    z = np.where(a.real < 0.84375, a, 0.5)  # each piece is evaluated everywhere, at a harmless point outside its range
    small = z + z * _polynomial(_PP, z * z) / _polynomial(_QQ, z * z)
    s = np.where((a.real >= 0.84375) & (a.real < 1.25), a, 1.0) - 1
    middle = _C + _polynomial(_PA, s) / _polynomial(_QA, s)
    t = np.where((a.real >= 1.25) & (a.real < 6), a, 2.0)
    s = 1 / (t * t)
    near = _polynomial(_RA, s) / _polynomial(_SA, s)
    far = _polynomial(_RB, s) / _polynomial(_SB, s)
    tail = 1 - np.exp(-t * t - 0.5625 + np.where(t.real < 1 / 0.35, near, far)) / t
    y = np.where(a.real < 1.25, np.where(a.real < 0.84375, small, middle), np.where(a.real < 6, tail, 1.0))
    y = np.where(np.isnan(x), x, y * sign)
    return y.astype(x.dtype, copy=False), (x,)


def erf_backward(dy: Array, x: Array) -> tuple[Array]:
    return (dy * (2 / math.sqrt(math.pi)) * np.exp(-x * x),)


erf = Op(erf_forward, erf_backward)
