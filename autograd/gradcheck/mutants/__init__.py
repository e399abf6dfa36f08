"""Gradient bugs on demand: a backward function rewritten with one bug in it, to see whether tests notice.

for mutant in mutants_of(my_backward):
    with mutant.planted():      # my_backward has the bug here, whoever calls it
        ...                     # a check that passes now has missed mutant.name
"""

from autograd.gradcheck.mutants.kinds import KINDS
from autograd.gradcheck.mutants.mutant import Mutant, mutants_of

__all__ = ["KINDS", "Mutant", "mutants_of"]
