from pathlib import Path

import numpy as np
import torch

from dp_real.pool import Pool

SHAPE = (1, 2, 2)


def append(pool: Pool, round_index: int, n: int) -> torch.Tensor:
    x = torch.randn(n, *SHAPE)
    seeds = np.arange(n, dtype=np.uint64) + np.uint64(2**63)
    pool.append(
        round_index,
        x,
        torch.arange(n) % 3,
        seeds,
        np.full(n, 0.1 * round_index, np.float32),
        torch.rand(n),
        torch.rand(n) > 0.5,
    )
    return x


def test_rows_come_back_as_they_were_added(tmp_path: Path):
    pool = Pool(tmp_path / "pool", SHAPE)
    assert len(pool) == 0
    x = torch.cat([append(pool, 0, 5), append(pool, 1, 3)])
    assert torch.equal(pool.batch(torch.tensor([6, 0]))[0], x[[6, 0]])
    reopened = Pool(tmp_path / "pool", SHAPE, pool.version)
    assert torch.equal(reopened.x, x)
    assert torch.equal(reopened.y, pool.y)
    table = reopened.table()
    assert table["row"].to_pylist() == list(range(8))
    assert table["round"].to_pylist() == [0] * 5 + [1] * 3
    assert table["seed"].to_pylist()[0] == 2**63
    np.testing.assert_allclose(table["omega"].to_numpy(), [0] * 5 + [0.1] * 3, rtol=1e-6)


def test_a_round_after_the_checkpoint_is_dropped_and_added_again(tmp_path: Path):
    pool = Pool(tmp_path / "pool", SHAPE)
    append(pool, 0, 5)
    version = pool.version
    append(pool, 1, 3)
    again = Pool(tmp_path / "pool", SHAPE, version)
    assert (len(again), again.newest) == (5, 5)
    again.drop_later()
    x = append(again, 1, 2)
    assert torch.equal(Pool(tmp_path / "pool", SHAPE, again.version).x[5:], x)
    assert again.table()["row"].to_pylist() == list(range(7))
