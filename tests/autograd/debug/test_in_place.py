"""What reading a function's source says of its local arrays: which were changed in place after they were bound."""

import inspect

import numpy as np
import pytest

from autograd.debug.in_place import line_of, stale_names


def shift(x):
    x += 1
    return x


def shifted_copy(x):
    x = x.copy()
    x += 1
    return x


def changed_under_its_own_name(a):
    b = a * 2
    b -= 1
    return locals(), {"b"}


def reused_as_out(a):
    b = a * 2
    c = np.exp(b, out=b)
    return locals(), {"b"}


def out_in_a_ufunc_s_third_place(a):
    b = a * 2
    c = np.multiply(a, a, b)
    return locals(), {"b"}


def changed_through_a_view(a):
    b = a * 2
    flat = b.reshape(-1)
    flat[0] -= 5
    return locals(), {"b", "flat"}


def items_of_computed_numbers_overwritten(a):
    b = a * 2
    view = b.T
    b[0] = 0
    return locals(), {"b", "view"}


def all_of_it_overwritten(a):
    b = a * 2
    view = b.T
    b[...] = a
    return locals(), {"view"}  # b is what was put in


def blank_arrays_filled(a):
    b = np.empty((2, *a.shape))
    c, d = b
    c[...] = a
    d[...] = -a
    total = np.zeros_like(a)
    total += a
    total[0] += 1
    return locals(), {}


def views_of_blank_arrays_filled(a):
    b = np.empty((2, *a.shape))
    c, d = b.transpose(0, 2, 1)
    c[...] = a
    d[...] = -a
    return locals(), {}


def filled_and_then_changed(a):
    b = np.empty_like(a)
    b[...] = a
    view = b.reshape(-1)
    view *= 2
    return locals(), {"b", "view"}


def bound_again_after_the_change(a):
    b = a * 2
    b -= 1
    b = a * 3
    return locals(), {}


def changed_by_a_method(a):
    b = a * 2
    b.sort()
    return locals(), {"b"}


def changed_by_numpy(a):
    b, c = a * 2, a * 3
    np.copyto(b, a)
    np.add.at(c, [0, 0], 1)
    return locals(), {"b", "c"}


def changed_by_a_helper(a):
    b = a * 2
    c = shift(b)
    d = a * 2
    e = shifted_copy(d)
    return locals(), {"b"}


def changed_in_a_branch(a):
    b = a * 2
    if len(a) > 100:
        b -= 1
    return locals(), {"b"}  # nobody knows whether it ran


def bound_again_in_a_branch(a):
    b = a * 2
    b -= 1
    if len(a) > 100:
        b = a
    return locals(), {"b"}


def changed_by_the_next_turn_of_a_loop(a):
    c = a * 0
    for _ in range(2):
        b = c
        c -= 1
        b = c
    return locals(), {"b", "c"}


def accumulated_with_errstate(a):
    with np.errstate(all="ignore"):
        b = a * 2
        b /= 0
        c = b + 1
    return locals(), {"b"}


CASES = [
    f for name, f in list(globals().items()) if inspect.isfunction(f) and list(inspect.signature(f).parameters) == ["a"]
]


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__)
def test_stale_names_are_those_that_hold_something_else_than_they_were_bound_to(function):
    found, stale = function(np.arange(1.0, 10.0).reshape(3, 3))
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    assert set(stale_names(function, arrays)) == set(stale)


def test_the_line_of_the_change_and_of_the_binding_are_those_of_the_file():
    found, _ = reused_as_out(np.ones((2, 2)))
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    first = reused_as_out.__code__.co_firstlineno
    assert stale_names(reused_as_out, arrays) == {"b": first + 2}
    assert (line_of(reused_as_out, "b"), line_of(reused_as_out, "c")) == (first + 1, first + 2)


def test_of_a_function_without_source_nothing_is_known_so_every_name_is_stale():
    namespace = {}
    exec("def f(a):\n    b = a * 2\n    return b\n", namespace)
    assert stale_names(namespace["f"], {"b": np.ones(2)}) == {"b": None}
