"""Laws that gradients obey whatever the numbers are. They catch what no finite difference sees, and say what is wrong.

gradcheck(my_attention, [q, k, v], laws=[causal("q", "k", "v", axis=1)])

A law takes the names of the inputs it speaks of; all it says of gradients holds for parameters too.
"""

from autograd.gradcheck.laws.batch import batch_permutation, micro_batches, separate_documents
from autograd.gradcheck.laws.law import Law
from autograd.gradcheck.laws.linear import linear_in_dy
from autograd.gradcheck.laws.mask import causal, masked_rows, padding
from autograd.gradcheck.laws.tied import tied
from autograd.gradcheck.laws.vanish import orthogonal, sums_to_zero, vanishes

__all__ = [
    "Law",
    "batch_permutation",
    "causal",
    "linear_in_dy",
    "masked_rows",
    "micro_batches",
    "orthogonal",
    "padding",
    "separate_documents",
    "sums_to_zero",
    "tied",
    "vanishes",
]
