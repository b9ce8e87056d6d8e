"""Blocks of a state: against indices, and whole matrices."""

import numpy as np

from adjode.blocks import by_blocks, in_rows, through

RNG = np.random.default_rng(0)


def test_rows_go_through_blocks_as_through_the_whole_matrix():
    for blocks in (np.arange(4)[None], np.array([[0, 2], [3, 1]]), np.arange(4)[:, None]):
        step, whole = RNG.normal(size=(*blocks.shape, blocks.shape[1])), np.zeros((4, 4))
        for rows, block in zip(blocks, step, strict=True):
            whole[np.ix_(rows, rows)] = block
        for shape in ((4,), (3, 4)):
            rows = RNG.normal(size=shape)
            np.testing.assert_allclose(through(blocks, step, rows), rows @ whole, rtol=1e-13)


def test_rows_by_blocks_in_any_order():
    rows, step = RNG.normal(size=(5, 6)), RNG.normal(size=(2, 3, 3))
    whole = np.arange(6)
    for blocks in (whole.reshape(2, 3), whole.reshape(3, 2).T, whole[None], whole[:, None]):
        found = by_blocks(rows, blocks)
        np.testing.assert_array_equal(found, rows[:, blocks])
        np.testing.assert_array_equal(in_rows(found, blocks), rows)
        assert np.shares_memory(found, rows) == (blocks.ravel().tolist() == whole.tolist())
        if len(blocks) == 2:
            wanted = [[row[block] @ part for block, part in zip(blocks, step, strict=True)] for row in rows]
            moved = through(blocks, step, rows)
            np.testing.assert_allclose(moved[:, blocks], wanted, rtol=1e-14)
