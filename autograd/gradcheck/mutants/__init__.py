"""Gradient bugs on demand: every backward function rewritten with one bug in it, to see whether tests notice."""

from autograd.gradcheck.mutants.kinds import KINDS
from autograd.gradcheck.mutants.mutant import Mutant, mutants_of

__all__ = ["KINDS", "Mutant", "mutants_of"]
