"""The way back through one operation: autograd's rule, or a shorter one where there is one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd.core import primitive_vjps

FLAT = 0.01  # where tanh has a smaller slope, 1 - tanh^2 would lose digits of it


@dataclass(frozen=True)
class Factors:
    """The covector row * slope, with one row for all nodes: not multiplied out, since the matrix that
    comes next may take the row upon itself, once for all nodes."""

    row: np.ndarray
    slope: np.ndarray


def whole(v: Any, value: Any) -> Any:
    """A covector of the value in its shape, which may have come as factors, or as `one_for_many`."""
    if isinstance(v, Factors):
        return v.row * v.slope
    return np.array(np.broadcast_to(v, value.shape)) if one_for_many(v, value) else v


def one_for_many(v: Any, value: Any) -> bool:
    """Whether the covector has axes of one where it is the same for all entries of the value."""
    return isinstance(v, np.ndarray) and isinstance(value, np.ndarray) and v.shape != value.shape


def vjp_of(argnums, primitive, value, args, kwargs) -> Callable:
    """From a covector of the value, which need not be `whole`, to the rows of some arguments, which then
    need not be either."""
    if not kwargs and np.isrealobj(value):
        rules = [rule(i, primitive, value, args) for i in argnums]
        if all(rules):
            return lambda v: [one(v) for one in rules]
    vjp = primitive_vjps[primitive](argnums, value, args, kwargs)
    return lambda v: vjp(whole(v, value))


def rule(i: int, primitive, value, args) -> Callable | None:
    """For the argument i. What of it does not depend on the covector is computed here, once."""
    fun, same = primitive.fun, np.shape(args[i]) == np.shape(value)
    if elementwise(fun, args):
        return by_slope(slope_of(primitive, value, args), value)
    if fun is np.multiply and same:
        return by_slope(args[1 - i], value)
    if fun is np.add and same:
        return lambda v: v
    if fun is np.add and np.shape(args[i]) == np.shape(value)[-1:]:
        return by_sum(value)
    if fun in (np.matmul, np.dot):
        left, right = (np.ndim(x) for x in args)
        if i == 0 and left > 0 and right == 2:
            return by_matrix_from_right(args[1], value)
        if i == 1 and left == 2 and right in (1, 2):
            return by_matrix_from_left(args[0], value)
    return None


def elementwise(fun, args) -> bool:
    return isinstance(fun, np.ufunc) and len(args) == 1


def slope_of(primitive, value, args) -> np.ndarray:
    """The derivative of an elementwise function."""
    if primitive.fun is not np.tanh or not isinstance(value, np.ndarray):
        return primitive_vjps[primitive]((0,), value, args, {})(np.ones(np.shape(value)))[0]
    slope = value * value  # autograd computes cosh, for more than tanh itself takes
    np.subtract(1.0, slope, out=slope)
    flat = slope < FLAT
    if np.any(flat):
        slope[flat] = 1.0 / np.cosh(args[0][flat]) ** 2
    return slope


def by_slope(slope, value) -> Callable:
    """For x in slope * x, and in what has this slope."""

    def pull(v):
        if one_for_many(v, value):
            return Factors(v, slope) if np.shape(slope) == value.shape else v * slope
        return whole(v, value) * slope

    return pull


def by_sum(value) -> Callable:
    """For a vector that is added to every row."""
    *rows, size = value.shape
    ones = np.ones(math.prod(rows))
    return lambda v: ones @ whole(v, value).reshape(ones.size, size)  # BLAS adds up faster


def by_matrix_from_right(matrix, value) -> Callable:
    """For x in x @ matrix."""
    transposed = np.ascontiguousarray(np.transpose(matrix))  # the order that BLAS is fast in

    def pull(v):
        if isinstance(v, Factors) and v.row.shape[-1] == v.row.size:
            return np.matmul(v.slope, v.row.reshape(-1, 1) * transposed)
        fits = one_for_many(v, value) and v.shape[-1] == value.shape[-1]
        return np.matmul(v if fits else whole(v, value), transposed)

    return pull


def by_matrix_from_left(matrix, value) -> Callable:
    """For x in matrix @ x."""
    transposed = np.transpose(matrix)

    def pull(v):
        if isinstance(v, Factors) and v.row.shape[0] == v.row.size:
            return np.matmul(transposed * v.row.ravel(), v.slope)
        fits = one_for_many(v, value) and v.shape[0] == value.shape[0]
        return np.matmul(transposed, v if fits else whole(v, value))

    return pull
