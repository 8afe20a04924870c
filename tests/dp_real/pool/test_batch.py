"""Batches of rows for the pool: written, read back, joined, selected, and drawn again if needed."""

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


def test_all_columns_are_compared_here():
    assert {field.name for field in fields(Batch)} == {*KINDS, "example", "posterior"}


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("rows", [range(4, 9), range(0)])
def test_what_is_written_is_read(tmp_path: Path, images: bool, rows: range):
    whole = batch(rows, images)
    assert len(whole) == len(rows)
    whole.write(tmp_path / "block.arrow")
    assert_same(Batch.of(read_table(tmp_path / "block.arrow")), whole)
    assert_same(Batch.of(whole.table()), whole)


@pytest.mark.parametrize("images", [False, True])
def test_parts_are_put_together_in_their_order(images: bool):
    parts = [batch(range(3), images), batch(range(7, 9), images), batch(range(3, 4), images)]
    together = Batch.concatenate(parts)
    assert together.row.tolist() == [0, 1, 2, 7, 8, 3]
    assert together.example.to_pylist() == [one for part in parts for one in part.example.to_pylist()]
    assert_same(Batch.concatenate([together]), together)


@pytest.mark.parametrize("images", [False, True])
def test_rows_are_chosen_by_a_mask(images: bool):
    whole = batch(range(6), images)
    assert_same(whole.select(np.ones(6, bool)), whole)
    chosen = whole.select(np.array([True, False, False, True, True, False]))
    assert_same(chosen, Batch.concatenate([batch(range(1), images), batch(range(3, 5), images)]))
    assert_same(whole.select(np.zeros(6, bool)), batch(range(0), images))


@pytest.mark.parametrize("images", [False, True])
def test_no_rows_change_nothing(images: bool):
    whole = batch(range(6), images)
    nothing = Batch.empty(whole.example.type, soft_labels=images)
    assert len(nothing) == 0
    assert_same(Batch.concatenate([nothing, whole, nothing]), whole)
    assert_same(nothing.select(np.zeros(0, bool)), nothing)


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


def flipped(content: bytes) -> bytes:
    """Return the content with bits flipped in the middle, where the examples are."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "cut short": lambda whole: whole.read_bytes()[: len(whole.read_bytes()) // 2],
    "cut at its end": lambda whole: whole.read_bytes()[:-1],
    "empty": lambda whole: b"",
    "a byte flipped": lambda whole: flipped(whole.read_bytes()),
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


def test_a_whole_block_is_read_and_not_drawn_again(tmp_path: Path):
    assert drawing(tmp_path)[1] == [2, 6]
    found, drawn = drawing(tmp_path)
    assert drawn == []
    assert_same(found, batch(range(2, 10)))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_block_that_cannot_be_read_is_drawn_again(tmp_path: Path, damage: str):
    drawing(tmp_path)
    file = tmp_path / "6" / BLOCK
    file.write_bytes(DAMAGE[damage](file))
    found, drawn = drawing(tmp_path)
    assert drawn == [6]
    assert_same(found, batch(range(2, 10)))
    assert drawing(tmp_path)[1] == []  # it is whole now


def test_wherever_it_was_cut(tmp_path: Path):
    drawing(tmp_path)
    file = tmp_path / "2" / BLOCK
    whole = file.read_bytes()
    for length in range(0, len(whole), 41):
        file.write_bytes(whole[:length])
        found, drawn = drawing(tmp_path)
        assert drawn == [2], length
        assert_same(found, batch(range(2, 10)))


@pytest.fixture(scope="module")
def unbroken(config: Config, generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    run(config, folder)
    return folder


@pytest.mark.parametrize("damage", [None, *DAMAGE])
def test_the_run_ends_as_if_nothing_had_happened(
    config: Config, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str | None
):
    """A run died at the second block of its first addition, and left the first block."""
    draw = Rounds._drawn
    sizes = []

    def dies(self: Rounds, index: int, first: int, *rest: Any) -> Batch:
        if index == 1 and first == 32:
            raise ZeroDivisionError
        return draw(self, index, first, *rest)

    def counted(self: Rounds, index: int, first: int, labels: torch.Tensor, *rest: Any) -> Batch:
        sizes.append(len(labels))
        return draw(self, index, first, labels, *rest)

    folder = tmp_path / "broken"
    monkeypatch.setattr(Rounds, "_drawn", dies)
    with pytest.raises(ZeroDivisionError):
        run(config, folder)
    (left,) = (folder / "drawing").glob("*/*.arrow")
    assert left.parent.name == "round-1-row-0"
    if damage:
        left.write_bytes(DAMAGE[damage](left))
    monkeypatch.setattr(Rounds, "_drawn", counted)
    run(config, folder, resume=True)
    assert sizes == [*([32] if damage else []), 8, 32, 8]
    assert traces(folder) == traces(unbroken)
    assert same_learner(folder, unbroken)
