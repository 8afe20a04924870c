"""Batches of rows for the pool: written, read back, joined, selected, and drawn again if needed."""

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from dp_real.config import Config
from dp_real.pool import Batch, Pool
from dp_real.pool.batch import BLOCK, KINDS, POSTERIOR, read_table
from dp_real.protocols import Generator
from dp_real.rounds import Rounds
from dp_real.runs.run import run
from tests.dp_real.runs.folders import same_learner, traces


def batch(rows: range, images: bool = False) -> Batch:
    """Every column tells its rows apart. The images have soft labels."""
    n = np.array(rows, np.int64)
    numbers = pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(n, 3).astype(np.float32)), 3)
    return Batch(
        row=n,
        round=np.full(len(n), 3, np.int32),
        label=n % 3,
        seed=n.astype(np.uint64) + np.uint64(2**63),
        omega=(n / 100).astype(np.float32),
        entropy=(n / 10).astype(np.float32),
        correct=n % 2 == 0,
        example=pa.array([bytes([row]) * row for row in rows], pa.large_binary()) if images else numbers,
        draws=n + 1,
        redrawn=n % 4,
        seconds=n / 9,
        posterior=pa.array([[row / 10, 1 - row / 10] for row in rows], POSTERIOR) if images else None,
    )


def assert_same(one: Batch, other: Batch) -> None:
    """Compare two batches column by column, with the types of numbers."""
    assert len(one) == len(other)
    for name, kind in KINDS.items():
        mine = getattr(one, name)
        its = getattr(other, name)
        assert mine.dtype == its.dtype == np.dtype(kind), name
        np.testing.assert_array_equal(mine, its, err_msg=name)
    assert one.example.type == other.example.type
    assert one.example.to_pylist() == other.example.to_pylist()
    soft = [None if each.posterior is None else each.posterior.to_pylist() for each in (one, other)]
    assert soft[0] == soft[1]


@pytest.mark.parametrize("images", [False, True])
def test_batches_are_written_read_joined_and_chosen(tmp_path: Path, images: bool):
    assert {field.name for field in fields(Batch)} == {*KINDS, "example", "posterior"}
    whole = batch(range(4, 9), images)
    nothing = Batch.empty(whole.example.type, soft_labels=images)
    for each in (whole, nothing):
        each.write(tmp_path / "block.arrow")
        assert_same(Batch.of(read_table(tmp_path / "block.arrow")), each)
        assert_same(Batch.of(each.table()), each)
        assert_same(Batch.concatenate([nothing, each, nothing]), each)
        assert_same(each.select(np.ones(len(each), bool)), each)
        assert_same(each.select(np.zeros(len(each), bool)), nothing)
    parts = [batch(range(3), images), batch(range(7, 9), images), batch(range(3, 4), images)]
    together = Batch.concatenate(parts)
    assert together.row.tolist() == [0, 1, 2, 7, 8, 3]
    assert together.example.to_pylist() == [one for part in parts for one in part.example.to_pylist()]
    chosen = together.select(np.array([True, False, True, True, False, False]))
    assert_same(
        chosen, Batch.concatenate([batch(range(1), images), batch(range(2, 3), images), batch(range(7, 8), images)])
    )


def test_a_pool_takes_what_was_read(tmp_path: Path):
    """One of the batches has no rows, as that of a process that got none."""
    pool = Pool(tmp_path / "pool", (3,))
    batch(range(4)).write(tmp_path / "block.arrow")
    pool.append(0, Batch.concatenate([Batch.empty(pool.storage.type), Batch.of(read_table(tmp_path / "block.arrow"))]))
    table = pool.table()
    assert table["row"].to_pylist() == [0, 1, 2, 3]
    assert table["seed"].to_pylist() == [2**63 + row for row in range(4)]
    assert torch.equal(pool.x[:], torch.arange(4.0).view(4, 1).expand(4, 3))


# blocks that a stopped run left


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda whole: whole[: len(whole) // 2],
    "cut at its end": lambda whole: whole[:-1],
    "empty": lambda whole: b"",
    "a byte flipped": lambda whole: whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :],
    "something else": lambda whole: b"a block of stone" * 100,
}


def drawing(folder: Path) -> tuple[Batch, list[int]]:
    """Rows 2 to 9 in two blocks, each read or drawn. Also return the first rows of those that were drawn."""
    found, drawn = [], []
    for first in (2, 6):
        left = Batch.read(folder / str(first))
        if left is None:
            drawn.append(first)
            left = batch(range(first, first + 4)).keep(folder / str(first))
        found.append(left)
    return Batch.concatenate(found), drawn


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_whole_block_is_read_and_a_damaged_one_drawn_again(tmp_path: Path, damage: str):
    assert drawing(tmp_path)[1] == [2, 6]
    assert drawing(tmp_path)[1] == []
    file = tmp_path / "6" / BLOCK
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    found, drawn = drawing(tmp_path)
    assert drawn == [6]
    assert_same(found, batch(range(2, 10)))
    assert drawing(tmp_path)[1] == []  # it is whole now


def test_the_run_ends_as_if_nothing_had_happened(
    config: Config, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A run died at the second block of its first addition, and left the first block, once whole and once cut."""
    draw = Rounds._drawn
    sizes = []

    def dies(self: Rounds, index: int, first: int, *rest: Any) -> Batch:
        if index == 1 and first == 32:
            raise ZeroDivisionError
        return draw(self, index, first, *rest)

    def counted(self: Rounds, index: int, first: int, labels: torch.Tensor, *rest: Any) -> Batch:
        sizes.append(len(labels))
        return draw(self, index, first, labels, *rest)

    run(config, tmp_path / "unbroken")
    monkeypatch.setattr(Rounds, "_drawn", dies)
    with pytest.raises(ZeroDivisionError):
        run(config, tmp_path / "whole")
    (left,) = (tmp_path / "whole" / "drawing").glob("*/*.arrow")
    assert left.parent.name == "round-1-row-0"
    cut = shutil.copytree(tmp_path / "whole", tmp_path / "cut") / left.relative_to(tmp_path / "whole")
    cut.write_bytes(left.read_bytes()[:-9])
    monkeypatch.setattr(Rounds, "_drawn", counted)
    for name, expected in (("whole", [8, 32, 8]), ("cut", [32, 8, 32, 8])):
        sizes.clear()
        run(config, tmp_path / name, resume=True)
        assert sizes == expected
        assert traces(tmp_path / name) == traces(tmp_path / "unbroken")
        assert same_learner(tmp_path / name, tmp_path / "unbroken")
