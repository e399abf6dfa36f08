"""Twins of the tokenizer's reference, as kernels of `autograd.jit`: the split, the merges and a memory of words."""
