"""The kinds of bugs, each a search through the syntax tree of a function for what could have been written wrong."""

from __future__ import annotations

import ast
from collections.abc import Callable

from autograd.gradcheck.mutants.change import Change, Changes, changed, expression, gradients, nodes, spoilt, updated

REDUCTIONS = {"sum", "mean", "max", "min", "prod", "std", "var", "cumsum", "any", "all"}
ALLOCATIONS = {"zeros": "ones", "zeros_like": "ones_like"}
SHAPE_ONLY = {"shape", "ndim", "dtype", "size"}  # what says nothing of an array's values


def sign(function: ast.FunctionDef) -> Changes:
    """+ for -, - for +, a minus lost, a returned gradient negated."""
    for node in nodes(function):
        match node:
            case ast.BinOp(op=ast.Add()) | ast.AugAssign(op=ast.Add()):
                yield changed(node, updated(node, op=ast.Sub()))
            case ast.BinOp(op=ast.Sub()) | ast.AugAssign(op=ast.Sub()):
                yield changed(node, updated(node, op=ast.Add()))
            case ast.UnaryOp(op=ast.USub(), operand=operand) if not _is_axis(operand):
                yield changed(node, operand)
    for gradient in gradients(function):
        if not isinstance(gradient, ast.UnaryOp):  # its minus is lost above
            yield spoilt(function, gradient, "-dx")


def _is_axis(operand: ast.AST) -> bool:
    """-1 counts axes from the end; -0.5 is a number."""
    return isinstance(operand, ast.Constant) and isinstance(operand.value, int)


def transpose(function: ast.FunctionDef) -> Changes:
    """A transpose lost, with its last two axes exchanged, or one too many on an operand of `@`; an order reversed."""
    for node in nodes(function):
        match node:
            case ast.Attribute(value=value, attr="T"):
                yield changed(node, value)
            case ast.Call(func=ast.Attribute(value=value, attr="swapaxes" | "transpose"), args=args):
                of_numpy = _of_numpy(value)
                yield changed(node, args[0] if of_numpy else value)
                if len(args) > 2 and not of_numpy:
                    yield changed(node, updated(node, args=[*args[:-2], args[-1], args[-2]]))
            case ast.BinOp(left=left, op=ast.MatMult(), right=right):
                for name, operand in (("left", left), ("right", right)):
                    if not _is_transposed(operand):
                        yield changed(node, updated(node, **{name: expression("x.swapaxes(-1, -2)", x=operand)}))
            case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=None, step=ast.UnaryOp(op=ast.USub()))):
                yield changed(node, value)


def _of_numpy(value: ast.expr) -> bool:
    """Whether `value.f(...)` is a function of the module, not a method of an array."""
    return isinstance(value, ast.Name) and value.id in ("np", "numpy")


def _is_transposed(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) or (isinstance(node, ast.Call) and "swapaxes" in ast.unparse(node.func))


def dropped_term(function: ast.FunctionDef) -> Changes:
    """One side of + or - forgotten."""
    for node in nodes(function):
        match node:
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                yield changed(node, left)
                yield changed(node, right)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                yield changed(node, left)
                yield changed(node, expression("-x", x=right))


def dropped_factor(function: ast.FunctionDef) -> Changes:
    """One side of * or / forgotten, 1/sqrt(d) among them; also of //, % and &, and an exponent."""
    for node in nodes(function):
        match node:
            case ast.BinOp(left=left, op=ast.Mult() | ast.BitAnd(), right=right):
                yield changed(node, left)
                yield changed(node, right)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                yield changed(node, left)
                yield changed(node, expression("1 / x", x=right))
            case ast.BinOp(left=left, op=ast.FloorDiv() | ast.Mod() | ast.Pow()):
                yield changed(node, left)
            case ast.AugAssign(op=ast.Mult() | ast.Div()):
                yield changed(node, ast.Pass())


def multiply_for_divide(function: ast.FunctionDef) -> Changes:
    """* for /, and / for *."""
    for node in nodes(function):
        match node:
            case ast.BinOp(op=ast.Mult()) | ast.AugAssign(op=ast.Mult()):
                yield changed(node, updated(node, op=ast.Div()))
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield changed(node, updated(node, op=ast.Mult()))


def dropped_accumulation(function: ast.FunctionDef) -> Changes:
    """`=` for `+=`, so that the last one counts alone."""
    for node in nodes(function):
        match node:
            case ast.AugAssign(target=target, op=ast.Add() | ast.Sub() as op, value=value):
                value = value if isinstance(op, ast.Add) else expression("-x", x=value)
                yield changed(node, ast.Assign([target], value, lineno=node.lineno))
            case ast.Expr(ast.Call(ast.Attribute(ast.Attribute(attr="add"), "at"), [array, index, values])):
                target = ast.Subscript(array, index, ast.Store())
                yield changed(node, ast.Assign([target], values, lineno=node.lineno))


def wrong_axis(function: ast.FunctionDef) -> Changes:
    """A sum, mean or maximum over another axis or over all, or without its keepdims."""
    for node in nodes(function):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS):
            continue
        place = 1 if _of_numpy(node.func.value) else 0  # np.sum(x, axis), x.sum(axis)
        keywords = {keyword.arg: keyword for keyword in node.keywords}
        if "keepdims" in keywords:
            yield changed(node, updated(node, keywords=[k for k in node.keywords if k.arg != "keepdims"]))
        axis = node.args[place] if len(node.args) > place else keywords["axis"].value if "axis" in keywords else None
        for text in ("0", "-1", "None"):
            if axis is None or ast.unparse(axis) == text:
                continue
            other = expression(text)
            if "axis" in keywords:
                spelled = [updated(k, value=other) if k.arg == "axis" else k for k in node.keywords]
                yield changed(node, updated(node, keywords=spelled))
            else:
                yield changed(node, updated(node, args=[*node.args[:place], other, *node.args[place + 1 :]]))


def zeroed(function: ast.FunctionDef) -> Changes:
    """A returned gradient that is zero."""
    for gradient in gradients(function):
        yield spoilt(function, gradient, "dx * 0")


def wrong_constant(function: ast.FunctionDef) -> Changes:
    """A number of a formula, or one that an array is filled with, larger by one."""
    for node in nodes(function):
        match node:
            case ast.BinOp(left=left, right=right):
                numbers = [side.operand if isinstance(side, ast.UnaryOp) else side for side in (left, right)]
            case ast.Call(func=ast.Attribute(attr="where"), args=args):
                numbers = list(args)
            case ast.Attribute(attr=attr) if attr in ALLOCATIONS:
                yield changed(node, updated(node, attr=ALLOCATIONS[attr]))
                continue
            case _:
                continue
        for number in numbers:
            if isinstance(number, ast.Constant) and isinstance(number.value, (int, float)):
                yield changed(number, updated(number, value=number.value + 1))


def off_by_one_mask(function: ast.FunctionDef) -> Changes:
    """A triangle one diagonal too wide or too narrow; > for >=, and the like."""
    strictness = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
    for node in nodes(function):
        match node:
            case ast.Call(func=ast.Attribute(attr="tri" | "tril" | "triu"), keywords=keywords):
                k = next((keyword.value for keyword in keywords if keyword.arg == "k"), ast.Constant(0))
                others = [keyword for keyword in keywords if keyword.arg != "k"]
                for template in ("k - 1", "k + 1"):
                    moved = ast.keyword("k", expression(template, k=k))
                    yield changed(node, updated(node, keywords=[*others, moved]))
            case ast.Compare(ops=[op]) if type(op) in strictness:
                yield changed(node, updated(node, ops=[strictness[type(op)]()]))


def stale_saved_array(function: ast.FunctionDef) -> Changes:
    """A saved array with other values than those of this call: its own, moved on by one place. A mask is off by one."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    for argument in arguments[1:]:
        annotation = "" if argument.annotation is None else ast.unparse(argument.annotation)
        if (not annotation or "rray" in annotation or annotation == "Any") and _values_are_read(function, argument.arg):
            rolled = ast.parse(f"{argument.arg} = rolled({argument.arg})").body[0]
            at = ast.copy_location(ast.Pass(), argument)
            spoilt = updated(function, body=[rolled, *function.body])
            yield Change(function, spoilt, at, argument.arg, f"rolled({argument.arg})")


def _values_are_read(function: ast.FunctionDef, name: str) -> bool:
    """Whether an argument serves for more than its shape or dtype, or for whether it is None."""
    loads = [node for node in nodes(function) if isinstance(node, ast.Name) and node.id == name]
    harmless = 0
    for node in nodes(function):
        match node:
            case ast.Attribute(value=ast.Name(id=n), attr=attr) if n == name and attr in SHAPE_ONLY:
                harmless += 1
            case ast.Compare(left=ast.Name(id=n), ops=[ast.Is() | ast.IsNot()]) if n == name:
                harmless += 1
            case ast.Call(func=ast.Name(id="shape_of") | ast.Attribute(attr="astype"), args=[ast.Name(id=n)]):
                harmless += n == name
    return len(loads) > harmless


def wrong_broadcast_sum(function: ast.FunctionDef) -> Changes:
    """A mean for a sum, a sum for a mean; the sum back to a broadcast input's shape forgotten, or over an axis less."""
    for node in nodes(function):
        match node:
            case ast.Call(func=ast.Attribute(attr="sum") as reduce):
                yield changed(node, updated(node, func=updated(reduce, attr="mean")))
            case ast.Call(func=ast.Attribute(attr="mean") as reduce):
                yield changed(node, updated(node, func=updated(reduce, attr="sum")))
            case ast.Call(func=ast.Name(id="unbroadcast"), args=[dy, _]):
                yield changed(node, dy)
            case ast.Tuple(elts=elts, ctx=ast.Load()):
                for element in elts:
                    if isinstance(element, ast.Starred):
                        yield changed(node, updated(node, elts=[e for e in elts if e is not element]))


def overwritten(function: ast.FunctionDef) -> Changes:
    """One element of a sum where all should be added up."""
    for node in nodes(function):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="sum"), args=args):
                args = args if _of_numpy(value) else [value, *args]
                yield changed(node, updated(node, func=ast.Name("first_slice", ast.Load()), args=args))
            case ast.Call(func=ast.Attribute(attr="reduceat"), args=[rows, starts]):
                yield changed(node, ast.Subscript(rows, starts, ast.Load()))


KINDS: dict[str, Callable[[ast.FunctionDef], Changes]] = {
    "sign": sign,
    "transpose": transpose,
    "dropped term": dropped_term,
    "dropped factor": dropped_factor,
    "* for /": multiply_for_divide,
    "dropped accumulation": dropped_accumulation,
    "wrong axis": wrong_axis,
    "zeroed": zeroed,
    "wrong constant": wrong_constant,
    "off-by-one mask": off_by_one_mask,
    "stale saved array": stale_saved_array,
    "wrong broadcast sum": wrong_broadcast_sum,
    "overwritten": overwritten,
}
