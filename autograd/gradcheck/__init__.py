"""Check gradients: of an op, a pair of plain functions, a module or a whole model, with one call.

from autograd.gradcheck import gradcheck

gradcheck(layernorm, [x, weight, bias])
gradcheck((my_forward, my_backward), [x, weight])       # plain NumPy functions, nothing of the engine
gradcheck(model, [ids, targets])
"""

from autograd.gradcheck.check import gradcheck
from autograd.gradcheck.errors import GradcheckError
from autograd.gradcheck.laws import Law, linear_in_dy
from autograd.gradcheck.report import Report

__all__ = ["GradcheckError", "Law", "Report", "gradcheck", "linear_in_dy"]
