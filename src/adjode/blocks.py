"""Blocks of z, (B, d): which entries depend on which, and on no other."""

import numpy as np


def by_blocks(rows, blocks):
    """Rows, (..., D), as (..., B, d)."""
    return rows.reshape(*rows.shape[:-1], *blocks.shape) if in_order(blocks) else rows[..., blocks]


def in_rows(parts, blocks):
    """What `by_blocks` makes of rows, as these rows."""
    rows = parts.reshape(*parts.shape[:-2], blocks.size)
    if in_order(blocks):
        return rows
    found = np.empty_like(rows)
    found[..., blocks.ravel()] = rows
    return found


def through(blocks, step, rows):
    """Rows, (..., D), times a matrix of blocks, (B, d, d), each for its entries of a row."""
    if len(blocks) == 1:
        return rows @ step[0]
    return in_rows((by_blocks(rows, blocks)[..., None, :] @ step)[..., 0, :], blocks)


def in_order(blocks) -> bool:
    """Whether they lie one behind the other, as all of z does, its rows and its entries, but not its columns:
    other blocks are not asked about. A copy is spared."""
    return blocks[0, -1] == blocks.shape[1] - 1
