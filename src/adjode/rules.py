"""The way back through one operation: autograd's rule, or a shorter one where there is one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import primitive_vjps
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, concatenate_args

FLAT = 0.01  # where tanh has a smaller slope, 1 - tanh^2 would lose digits of it

# The rules of autograd's own operations: whoever gives one of them another means it.
OPERATIONS = [*filter(callable, vars(anp).values()), ArrayBox.__getitem__, _array_from_scalar_or_array]
AUTOGRADS = {x: primitive_vjps[x] for x in OPERATIONS if x in primitive_vjps}


def shape_of(x: Any) -> tuple:
    """np.shape, which asks much of what has a shape."""
    return x.shape if isinstance(x, np.ndarray) else np.shape(x)


def is_autograds(primitive: Callable) -> bool:
    return primitive in AUTOGRADS and primitive_vjps.get(primitive) is AUTOGRADS[primitive]


@dataclass(frozen=True)
class Factors:
    """The covector row * slope, with one row for all nodes: not multiplied out, since the matrix that
    comes next may take the row upon itself, once for all nodes."""

    row: np.ndarray
    slope: np.ndarray


def whole(v: Any, value: Any) -> Any:
    """A covector of the value in its shape, which may have come as factors, or with axes of one where it
    is the same for all entries."""
    if isinstance(v, Factors):
        return v.row * v.slope
    if isinstance(v, np.ndarray) and isinstance(value, np.ndarray) and v.shape != value.shape:
        return np.array(np.broadcast_to(v, value.shape))
    return v


def vjp_of(argnums, primitive, value, args, kwargs, known: dict | None = None) -> Callable:
    """From a covector of the value, which need not be `whole`, and whether it may be written over, to the
    rows of some arguments, which need not be whole either. Rules of this call, by argument, may be
    `known`, and are then."""
    if not kwargs and np.isrealobj(value):
        known = {} if known is None else known
        known |= {i: rule(i, primitive, value, args) for i in argnums if i not in known}
        rules = [known[i] for i in argnums]
        if all(rules) and elementwise(primitive.fun, args):
            fits = lambda v: type(v) is np.ndarray and v.dtype == value.dtype
            return lambda v, ours=False: [rules[0](v, v if ours and fits(v) else None)]
        if all(rules):
            return lambda v, *_: [pull(v) for pull in rules]
    vjp = primitive_vjps[primitive](argnums, value, args, kwargs)
    return lambda v, *_: vjp(whole(v, value))


def rule(i: int, primitive, value, args) -> Callable | None:
    """For the argument i. What of it does not depend on the covector is computed here, once."""
    array = isinstance(value, np.ndarray) or primitive is ArrayBox.__getitem__
    if primitive in RULES and array and is_autograds(primitive):
        found = RULES[primitive](i, value, args)
        if found:
            return found
    if elementwise(primitive.fun, args):
        return by_slope(*primitive_vjps[primitive]((0,), value, args, {})(np.ones(shape_of(value))), value)
    return None


def elementwise(fun, args) -> bool:
    return isinstance(fun, np.ufunc) and len(args) == 1


def by_slope(slope, value) -> Callable:
    """For x in slope * x, and in what has this slope; the product may have a place to go to."""
    shape = shape_of(value)
    full = shape and shape_of(slope) == shape

    def pull(v, out=None):
        if isinstance(v, Factors):
            return v.row * v.slope * slope
        small = full and isinstance(v, np.ndarray) and v.shape != shape
        return Factors(v, slope) if small else np.multiply(v, slope, out=out)

    return pull


def of_tanh(i: int, value, args) -> Callable | None:
    """autograd computes cosh, which takes longer than tanh itself."""
    if value.dtype != float:
        return None
    slope = value * value
    np.subtract(1.0, slope, out=slope)
    flat = slope < FLAT
    if np.any(flat):
        slope[flat] = 1.0 / np.cosh(args[0][flat]) ** 2
    return by_slope(slope, value)


def of_multiply(i: int, value, args) -> Callable | None:
    """For a factor in the shape of the product, or a number."""
    other = args[1 - i]
    if shape_of(args[i]) == value.shape:
        return by_slope(other, value)
    if shape_of(args[i]) == () and shape_of(other) == value.shape:
        return lambda v: np.vdot(whole(v, value), other)
    return None


def of_add(i: int, value, args) -> Callable | None:
    """For a term in the shape of the sum, or a vector that is added to every row."""
    shape = shape_of(args[i])
    if shape == value.shape:
        return lambda v: v
    if shape != value.shape[-1:]:
        return None
    *rows, size = value.shape
    ones = np.ones(math.prod(rows))
    return lambda v: ones @ whole(v, value).reshape(ones.size, size)  # BLAS adds up faster


def of_subtract(i: int, value, args) -> Callable | None:
    """A term that is subtracted is one times -1."""
    pull = of_add(i, value, args)
    if i == 0 or pull is None:
        return pull
    return lambda v: pull(Factors(-v.row, v.slope) if isinstance(v, Factors) else -v)


def of_product(i: int, value, args) -> Callable | None:
    """For a factor beside a matrix: the other one transposed, and none of autograd's questions."""
    left, right = (np.ndim(x) for x in args)
    if i == 0 and left > 0 and right == 2:
        return by_matrix_from_right(args[1], value)
    if i == 1 and left == 2 and right in (1, 2):
        return by_matrix_from_left(args[0], value)
    return None


def by_matrix_from_right(matrix, value) -> Callable:
    """For x in x @ matrix."""
    transposed, size, times = np.transpose(matrix), value.shape[-1], product_of(value)
    if transposed.size <= value.size:  # in the order that BLAS is fast in; a copy that costs little
        transposed = np.ascontiguousarray(transposed)

    def pull(v):
        if isinstance(v, Factors):
            if v.row.shape[-1] == v.row.size:
                return times(v.slope, v.row.reshape(-1, 1) * transposed)
            v = v.row * v.slope
        return times(v if v.shape[-1] == size else whole(v, value), transposed)

    return pull


def by_matrix_from_left(matrix, value) -> Callable:
    """For x in matrix @ x."""
    transposed, size, times = np.transpose(matrix), value.shape[0], product_of(value)

    def pull(v):
        if isinstance(v, Factors):
            if v.row.shape[0] == v.row.size:
                return times(transposed * v.row.ravel(), v.slope)
            v = v.row * v.slope
        return times(transposed, v if v.shape[0] == size else whole(v, value))

    return pull


def product_of(value) -> Callable:
    """Of small tables np.dot is the faster product, with more axes np.matmul."""
    return np.dot if value.ndim < 3 else np.matmul


def of_entries(i: int, value, args) -> Callable | None:
    """For x in x[index], where none is taken twice."""
    x, index = args
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is ... or type(part) in (int, slice) for part in parts):
        return None

    def pull(v):
        row = np.zeros(x.shape, x.dtype)
        row[index] = whole(v, value)
        return row

    return pull


def of_joined(i: int, value, args) -> Callable:
    """For one of the arrays behind the axis, on which they are joined."""
    axis, *parts = args
    start = sum(shape_of(part)[axis] for part in parts[: i - 1])
    index = [slice(None)] * value.ndim
    index[axis] = slice(start, start + shape_of(args[i])[axis])
    index = tuple(index)
    return lambda v: whole(v, value)[index]


def of_array(i: int, value, args) -> Callable | None:
    """For what was an array already."""
    return (lambda v: v) if args[:2] == ((), {}) else None


RULES = {anp.tanh: of_tanh, anp.multiply: of_multiply, anp.add: of_add, anp.subtract: of_subtract}
RULES |= {anp.matmul: of_product, anp.dot: of_product, ArrayBox.__getitem__: of_entries}
RULES |= {concatenate_args: of_joined, _array_from_scalar_or_array: of_array}
