"""What autograd's operations plainly leave apart: nodes along the first axis, or along the last."""

import autograd.numpy as anp
import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, array_from_args, concatenate_args

from adjode.rules import is_autograds, shape_of


def keeps_apart(primitive, value, args, kwargs, where: list, n: int, axis: int) -> bool:
    """Whether it is plain that each of the n places of the value along the axis, 0 or -1, depends on that
    place alone of the arguments `where`; what depends on no node may enter as it likes."""
    shapes = [shape_of(x) for x in (value, *(args[i] for i in where))]
    if not is_autograds(primitive) or not all(shape and shape[axis] == n for shape in shapes):
        return False
    if primitive in SUMS:
        return over_another(args, kwargs, axis)
    if kwargs:
        return False
    if primitive in PLAIN:
        return PLAIN[primitive](where, value, args, axis)
    alike = axis == -1 or len({len(shape) for shape in shapes}) == 1  # the last axes always meet
    return isinstance(primitive.fun, np.ufunc) and alike


def by_product(where, value, args, axis) -> bool:
    """The nodes are the rows on the left of a matrix, or the columns on the right of one."""
    left, right = map(np.ndim, args)
    if axis == 0:
        return where == [0] and left > 1 and right == 2
    return where == [1] and left == right == 2


def by_entries(where, value, args, axis) -> bool:
    """The index does not name the axis."""
    x, index = args
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is ... or type(part) in (int, slice) for part in parts):
        return False
    named = sum(part is not None and part is not ... for part in parts)
    if axis == -1:
        return ... not in parts and named < x.ndim
    return parts[:1] == (slice(None),) or (parts[:1] == (...,) and named < x.ndim)


def by_joining(where, value, args, axis) -> bool:
    return range(value.ndim)[args[0]] != range(value.ndim)[axis]


def by_stacking(where, value, args, axis) -> bool:
    """The new axis is the first one."""
    return args[:2] == ((), {}) and axis == -1


def over_another(args, kwargs, axis) -> bool:
    """The axis that is added up is named, and is not that of the nodes."""
    x, *rest = args
    over = rest[0] if rest else kwargs.get("axis")
    known = len(rest) < 2 and kwargs.keys() <= {"axis", "keepdims"} and type(over) is int
    return known and range(x.ndim)[over] != range(x.ndim)[axis]


def as_it_is(where, value, args, axis) -> bool:
    return args[:2] == ((), {})


SUMS = {anp.sum, anp.max, anp.min}
PLAIN = {anp.matmul: by_product, anp.dot: by_product, ArrayBox.__getitem__: by_entries}
PLAIN |= {concatenate_args: by_joining, array_from_args: by_stacking, _array_from_scalar_or_array: as_it_is}
