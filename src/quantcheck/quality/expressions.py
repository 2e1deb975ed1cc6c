"""A small, closed evaluator for Python expressions of one variable, for text that a model wrote.

The text is parsed with `ast` and the tree is walked here, node by node: only the nodes, operators,
builtins and methods listed below exist. Nothing is ever compiled or executed by Python itself, there is
no attribute access beyond the listed methods, no names beyond `x` and the expression's own loop
variables, and every size (text, tree depth, steps, integers, strings, lists) has a limit that is checked
BEFORE the work is done, so that `9**9**9` or `[0]*10**9` costs nothing.

What it is not: a Python interpreter. No statements, lambdas, calls with keywords (except
`sorted(..., reverse=True)`), f-strings, sets, dictionaries or floats beyond true division.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ExpressionError", "agrees", "evaluate", "same_value"]

MAX_TEXT = 400  # characters
MAX_DEPTH = 24  # nested nodes
MAX_STEPS = 20_000  # nodes visited, loop turns included
MAX_INT_BITS = 256
MAX_LENGTH = 2_000  # items of a list or tuple, characters of a string
MAX_WORK = 200_000  # characters or items touched by all calls together


class ExpressionError(ValueError):
    """The expression is not allowed, is too large, or fails on this input; the message says which."""


def evaluate(source: str, x: object) -> object:
    """The value of the expression `source` with the variable `x` bound to the given JSON-like value.

    Raises ExpressionError for every text that is not an allowed expression and for every failure
    (wrong types, division by zero, index out of range, a limit reached); never anything else.
    """
    text = source.strip()
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"expression longer than {MAX_TEXT} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as SyntaxWarning for `1 is 1`
            tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError(f"not an expression: {error}") from None
    try:
        return _Walk().value(tree.body, {"x": _checked(_copy(x))}, 0)
    except ExpressionError:
        raise
    except (
        TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError
    ) as error:  # fmt: skip
        raise ExpressionError(f"{type(error).__name__}: {error}") from None


def same_value(left: object, right: object) -> bool:
    """Equality that also asks for the same types throughout: 1, 1.0 and True are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(same_value(a, b) for a, b in zip(left, right, strict=True))
    return left == right


def agrees(source: str, reference: str, inputs: list[Any]) -> bool:
    """Whether `source` gives the reference's value on every input; False for anything malformed."""
    try:
        return all(same_value(evaluate(source, x), evaluate(reference, x)) for x in inputs)
    except ExpressionError:
        return False


def _copy(value: Any) -> Any:
    return [_copy(v) for v in value] if isinstance(value, list | tuple) else value


def _checked(value: Any) -> Any:
    """The value itself, if it is of an allowed type and size."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if value.bit_length() > MAX_INT_BITS:
            raise ExpressionError(f"integer larger than {MAX_INT_BITS} bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("float overflow")
        return value
    if isinstance(value, str | list | tuple | range):
        if len(value) > MAX_LENGTH:
            raise ExpressionError(f"sequence longer than {MAX_LENGTH}")
        return value
    raise ExpressionError(f"values of type {type(value).__name__} are not allowed")


def _weight(value: Any) -> int:
    """Items in a value, nested ones included, up to one more than MAX_WORK."""
    if isinstance(value, str | range):
        return len(value) + 1
    if isinstance(value, list | tuple):
        total = 1
        for item in value:
            total += _weight(item)
            if total > MAX_WORK:
                break
        return total
    return 1


def _power(a: Any, b: Any) -> Any:
    if not (isinstance(a, int) and isinstance(b, int)):
        raise ExpressionError("** needs integers")
    if b < 0:
        raise ExpressionError("negative powers are not allowed")
    if b > MAX_INT_BITS or a.bit_length() * b > 2 * MAX_INT_BITS:
        raise ExpressionError("power too large")
    return a**b


def _product(a: Any, b: Any) -> Any:
    for sequence, times in ((a, b), (b, a)):
        if (
            isinstance(sequence, str | list | tuple)
            and isinstance(times, int)
            and len(sequence) * max(0, times) > MAX_LENGTH
        ):
            raise ExpressionError("repetition too long")
    return a * b


def _remainder(a: Any, b: Any) -> Any:
    if isinstance(a, str):
        raise ExpressionError("string formatting is not allowed")  # '%999999999d' would allocate
    return a % b


def _sum(a: Any, b: Any) -> Any:
    if isinstance(a, str | list | tuple) and isinstance(b, str | list | tuple) and len(a) + len(b) > MAX_LENGTH:
        raise ExpressionError("concatenation too long")
    return a + b


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _sum,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: _product,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Div: lambda a, b: a / b,
    ast.Mod: _remainder,
    ast.Pow: _power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: +a,
    ast.Not: lambda a: not a,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _range(*bounds: int) -> list[int]:
    span = range(*bounds)
    if len(span) > MAX_LENGTH:
        raise ExpressionError("range too long")
    return list(span)


def _total(items: Any, start: Any = 0) -> Any:
    # sum() of lists would copy the growing list at every item
    if isinstance(items, str) or not all(isinstance(v, int | float) for v in (*items, start)):
        raise ExpressionError("sum needs numbers")
    return sum(items, start)


_BUILTINS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "all": all,
    "any": any,
    "bool": bool,
    "int": int,
    "len": len,
    "list": list,
    "max": max,
    "min": min,
    "range": _range,
    "reversed": lambda v: list(v)[::-1],
    "sorted": sorted,
    "str": str,
    "sum": _total,
    "tuple": tuple,
}
# `join` and `replace` grow text; their result size is bounded in _method before the call
_METHODS: dict[type, set[str]] = {
    str: {
        "capitalize", "count", "endswith", "find", "index", "isalpha", "isdigit", "islower", "isupper", "join",
        "lower", "lstrip", "replace", "rstrip", "split", "startswith", "strip", "swapcase", "title", "upper",
    },
    list: {"count", "index"},
    tuple: {"count", "index"},
}  # fmt: skip


class _Walk:
    """One evaluation: counts the steps and the work of one expression."""

    def __init__(self) -> None:
        self.steps = 0
        self.work = 0

    def value(self, node: ast.expr, names: dict[str, Any], depth: int) -> Any:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ExpressionError(f"more than {MAX_STEPS} steps")
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}")
        return _checked(self._node(node, names, depth + 1))

    def _spend(self, *values: Any) -> None:
        self.work += sum(_weight(v) for v in values)
        if self.work > MAX_WORK:
            raise ExpressionError("too much work")

    def _node(self, node: ast.expr, names: dict[str, Any], depth: int) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                if name not in names:
                    raise ExpressionError(f"unknown name {name}")
                return names[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                a, b = self.value(left, names, depth), self.value(right, names, depth)
                self._spend(a, b)
                return _BINARY[type(op)](a, b)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return _UNARY[type(op)](self.value(operand, names, depth))
            case ast.BoolOp(op=op, values=values):
                result: Any = None
                for part in values:
                    result = self.value(part, names, depth)
                    if bool(result) is isinstance(op, ast.Or):
                        break
                return result
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._comparison(left, ops, comparators, names, depth)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test, names, depth) else orelse, names, depth)
            case ast.List(elts=elts):
                return [self.value(e, names, depth) for e in elts]
            case ast.Tuple(elts=elts):
                return tuple(self.value(e, names, depth) for e in elts)
            case ast.Subscript(value=of, slice=index):
                return self._item(of, index, names, depth)
            case ast.ListComp(elt=elt, generators=generators) | ast.GeneratorExp(elt=elt, generators=generators):
                return list(self._loop(elt, generators, names, depth))
            case ast.Call():
                return self._call(node, names, depth)
        raise ExpressionError(f"{type(node).__name__} is not allowed")

    def _comparison(
        self, left: ast.expr, ops: list[ast.cmpop], rights: list[ast.expr], names: dict[str, Any], depth: int
    ) -> Any:
        a = self.value(left, names, depth)
        for op, right in zip(ops, rights, strict=True):
            if type(op) not in _COMPARE:
                raise ExpressionError(f"{type(op).__name__} is not allowed")
            b = self.value(right, names, depth)
            self._spend(a, b)
            if not _COMPARE[type(op)](a, b):
                return False
            a = b
        return True

    def _item(self, of: ast.expr, index: ast.expr, names: dict[str, Any], depth: int) -> Any:
        sequence = self.value(of, names, depth)
        if not isinstance(sequence, str | list | tuple):
            raise ExpressionError(f"{type(sequence).__name__} has no items")
        self._spend(sequence)
        if isinstance(index, ast.Slice):
            low, high, step = (
                None if bound is None else self.value(bound, names, depth)
                for bound in (index.lower, index.upper, index.step)
            )
            return sequence[low:high:step]
        return sequence[self.value(index, names, depth)]

    def _loop(
        self, elt: ast.expr, generators: list[ast.comprehension], names: dict[str, Any], depth: int
    ) -> Iterator[Any]:
        if len(generators) != 1:
            raise ExpressionError("only one loop in a comprehension")
        loop = generators[0]
        if not isinstance(loop.target, ast.Name) or loop.is_async:
            raise ExpressionError("the loop variable must be one name")
        turns = self.value(loop.iter, names, depth)
        if not isinstance(turns, str | list | tuple):
            raise ExpressionError(f"cannot loop over {type(turns).__name__}")
        for item in turns:
            inner = {**names, loop.target.id: item}
            if all(self.value(test, inner, depth) for test in loop.ifs):
                yield self.value(elt, inner, depth)

    def _call(self, node: ast.Call, names: dict[str, Any], depth: int) -> Any:
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            if not (isinstance(node.func, ast.Name) and node.func.id == "sorted" and keyword.arg == "reverse"):
                raise ExpressionError("keyword arguments are not allowed")
            keywords["reverse"] = bool(self.value(keyword.value, names, depth))
        arguments = [self.value(a, names, depth) for a in node.args]
        self._spend(*arguments)
        if isinstance(node.func, ast.Name):
            if node.func.id not in _BUILTINS or node.func.id in names:
                raise ExpressionError(f"unknown function {node.func.id}")
            return _BUILTINS[node.func.id](*arguments, **keywords)
        if isinstance(node.func, ast.Attribute):
            return self._method(self.value(node.func.value, names, depth), node.func.attr, arguments)
        raise ExpressionError("only named functions can be called")

    def _method(self, of: Any, name: str, arguments: list[Any]) -> Any:
        if name not in _METHODS.get(type(of), set()):
            raise ExpressionError(f"no method {name} on {type(of).__name__}")
        self._spend(of)
        if name == "replace" and len(arguments) >= 2 and isinstance(arguments[1], str):
            self._grow((len(of) + 1) * (len(arguments[1]) + 1))
        if name == "join" and arguments and isinstance(arguments[0], str | list | tuple):
            pieces = arguments[0]
            self._grow(sum(len(p) if isinstance(p, str) else 1 for p in pieces) + len(of) * len(pieces))
        return getattr(of, name)(*arguments)

    def _grow(self, size: int) -> None:
        # an upper bound, so a little above the limit for results themselves
        if size > 4 * MAX_LENGTH:
            raise ExpressionError("text too long")
