import os
import pickle
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
import torch

from dp_base import checksums
from dp_base.errors import DamagedError, MissingError
from dp_real import Pool
from dp_real.pool import pool as pools
from dp_real.pool.pool import BLOCK, MEMORY, Blocks, cache_block, cached_block, rounds_of
from dp_real.pool.section import PoolConfig
from dp_real.pool.storages import open_storage, storage_of
from dp_real.runs.batches import Loader
from dp_real.runtime import distributed
from dp_real.runtime.pixels import to_float
from tests.dp_real.pool.made import SHAPE, batch
from tests.dp_real.runs.folders import empty, flip, halve
from tests.refusals import refusal

IMAGE = (1, 4, 4)


def append(pool, round_index, n):
    x = torch.randn(n, *SHAPE)
    seeds = np.arange(n, dtype=np.uint64) + np.uint64(2**63)
    facts = {"round": np.full(n, round_index, np.int32), "label": np.arange(n) % 3, "seed": seeds}
    pool.append(round_index, batch(pool, x, omega=np.full(n, 0.1 * round_index), **facts))
    return x


@pytest.fixture
def pool(tmp_path):
    return Pool(tmp_path / "pool", SHAPE)


def test_rows_come_back_as_they_were_added(pool):
    assert (len(pool), pool.x[:].shape, len(pool.table())) == (0, (0, *SHAPE), 0)
    x = torch.cat([append(pool, 0, 5), append(pool, 1, 3)])
    reopened = Pool(pool.path, SHAPE, pool.version)
    assert reopened.x[:].equal(x)
    assert reopened.y.equal(pool.y)
    table = reopened.table()
    assert table["row"].to_pylist() == list(range(8))
    assert table["round"].to_pylist() == [0] * 5 + [1] * 3
    assert table["seed"].to_pylist()[0] == 2**63
    np.testing.assert_allclose(table["omega"].to_numpy(), [0] * 5 + [0.1] * 3, rtol=1e-6)


def test_a_round_after_the_checkpoint_is_dropped_and_added_again(pool, tmp_path):
    append(pool, 0, 5)
    version = pool.version
    append(pool, 1, 3)
    again = Pool(pool.path, SHAPE, version)
    assert (len(again), again.newest) == (5, 5)
    again.drop_later()
    assert [path.name for path in (pool.path).iterdir()] == ["round-0000"]  # what was dropped takes no space
    x = append(again, 1, 2)
    assert Pool(pool.path, SHAPE, again.version).x[5:].equal(x)
    assert again.table()["row"].to_pylist() == list(range(7))
    folders = [tmp_path / f"many/round-{number}" for number in (9998, 9999, 10_000)]
    for folder in folders:
        folder.mkdir(parents=True)
    assert rounds_of(tmp_path / "many") == folders


def test_a_round_that_cannot_follow_is_refused_before_anything_is_written(pool, tmp_path):
    x = append(pool, 0, 5)
    other = Pool(tmp_path / "other", SHAPE, config=PoolConfig(storage="uint8"))
    append(Pool(pool.path, SHAPE, 1), 1, 2)
    for index, rows, message in (
        *((index, batch(pool, x), f"round {index} cannot be added: the next one is 1") for index in (-1, 0, 5)),
        (1, batch(pool, x[:0]), "no rows"),
        (1, batch(other, x), "others than Pool.schema"),
        (1, batch(pool, x).replace_schema_metadata(), "others than Pool.schema"),
        (1, batch(pool, x), "round-0001 is there already"),
    ):
        with refusal(message):
            pool.append(index, rows)
    assert Pool.latest(pool.path, SHAPE).x[:5].equal(x)
    with refusal("version = -3"):
        Pool(pool.path, SHAPE, -3)
    with refusal(r"round-0000: its examples have shape \[1, 2, 2\], not \[2, 2, 1\]"):
        Pool.latest(pool.path, (2, 2, 1))
    with refusal("has no rounds: should be the folder pool of"):
        Pool.latest(pool.path.parent, SHAPE)


def test_a_file_that_cannot_be_mapped_is_told(pool, patch):
    append(pool, 0, 5)
    full = OSError("Memory mapping file failed: Cannot allocate memory")  # Arrow's words, which have no number
    patch("pyarrow.memory_map", Mock(side_effect=full))
    with refusal(r"0000.arrow: this process cannot map any more .*vm.max_map_count", MissingError):
        Pool.latest(pool.path, SHAPE)


@pytest.mark.parametrize("linked", [0, 1, 9])
def test_blocks_are_joined_and_can_be_read_again_wherever_it_stopped(pool, tmp_path, patch, linked):
    """Of three blocks of a file two become links to the first, if the process lives and the file system has links."""
    x = torch.randn(14, *SHAPE)
    rows = batch(pool, x)
    patch("dp_real.pool.pool.JOINED", 5 * rows[:2].nbytes // 2)
    true, left = os.link, [linked]

    def link(old, new):
        left[0] -= 1
        if left[0] < 0:
            raise OSError
        true(old, new)

    patch("os.link", link)
    parts = {tmp_path / f"block-{begin}": slice(begin, begin + 2) for begin in range(0, 14, 2)}
    inodes = []
    for _ in range(2):
        blocks = Blocks()
        for folder, part in parts.items():
            blocks.add(folder, cached_block(folder, part) or cache_block(folder, rows[part]))
            assert cached_block(folder, part).equals(rows[part])
        blocks.join()
        assert all(cached_block(folder, part).equals(rows[part]) for folder, part in parts.items())
        inodes.append(len({(folder / BLOCK).stat().st_ino for folder in parts}))
    assert [len(table) for table in blocks.tables] == [6, 6, 2]
    assert inodes[0] == 7 - min(linked, 4)
    pool.append(0, pa.concat_tables(blocks.tables), blocks.files)
    assert Pool.latest(pool.path, SHAPE).x[:].equal(x)
    assert len([*pool.path.glob("round-0000/*.arrow")]) == 3


def test_each_process_reads_its_share_of_a_pool(pool, patch):
    for index in range(2):
        append(pool, index, 5)
    two = SimpleNamespace(num_processes=2, process_index=0)
    for module in (distributed, pools):
        patch(module, "this_process", lambda: two)
    read = []
    digests = checksums.digests
    patch("dp_base.checksums.digests", lambda folder, names: read.extend(names) or digests(folder, names))
    patch("dp_real.pool.pool.gather", lambda items: items)
    pools.read_together(pool.path)
    assert read == ["round-0000/0000.arrow"]


def smooth(n):
    """Return colour images [n, 3, 16, 16] that a JPEG keeps well. Each has a brightness of its own."""
    ramp = torch.linspace(-0.5, 0.5, 16).view(1, 1, 1, 16).expand(n, 3, 16, 16)
    return ramp + torch.linspace(-0.4, 0.4, n).view(n, 1, 1, 1) * torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1)


def stored(folder, x, rounds=1, *, storage, memory=MEMORY):
    pool = Pool(folder / "pool", tuple(x.shape[1:]), config=PoolConfig(storage=storage), memory=memory)
    for index, part in enumerate(x.chunk(rounds)):
        pool.append(index, batch(pool, part, label=np.arange(len(part))))
    return pool


@pytest.mark.parametrize(("storage", "off"), [("float32", 0), ("uint8", 1 / 255), ("jpeg", 0.04)])
@pytest.mark.parametrize("memory", [2 * 7 * 3 * 16 * 16 * 4, 0])
def test_every_storage_gives_the_examples_back(tmp_path, storage, off, memory):
    x = smooth(7)
    pool = stored(tmp_path, x, 2, storage=storage, memory=memory)
    assert pool.in_memory == (memory > 0 and storage != "jpeg")
    rows = torch.tensor([6, 0, 0, 3])
    for opened in (pool, Pool.latest(tmp_path / "pool", (3, 16, 16))):
        examples, labels = opened.minibatch(rows)
        assert (to_float(examples) - x[rows]).abs().max() <= off
        assert examples.dtype == (torch.float32 if storage == "float32" else torch.uint8)
        assert labels.tolist() == [2, 0, 0, 3]
        assert (opened.x[2:] - x[2:]).abs().max() <= off
        example, label = opened[-4]  # as a data set of torch, in numbers whatever is stored
        assert (example - x[3]).abs().max() <= off
        assert (example.dtype, label) == (torch.float32, 3)
        for outside in (7, -8):
            with pytest.raises(IndexError):
                opened[outside]


def test_a_pool_travels_as_its_address(tmp_path):
    """Workers get the address and read the rows themselves, at the same version even if the pool has grown."""
    x = smooth(40)
    pool = stored(tmp_path, x[:30], storage="uint8")
    packed = pickle.dumps(pool)
    assert len(packed) < 2000 < x.numel()
    pool.append(1, batch(pool, x[30:]))
    again = pickle.loads(packed)
    assert (len(again), again.version, again.in_memory) == (30, 1, True)
    assert (again.x[:] - x[:30]).abs().max() <= 1 / 255


@pytest.mark.parametrize("size", [5, 150])
def test_batches_that_are_read_ahead_are_those_of_the_pool_as_it_is(tmp_path, size):
    pool = Pool(tmp_path / "pool", SHAPE, memory=0)
    append(pool, 0, 200)
    rows = torch.randint(200, (30, size))
    loader = Loader(pool, lambda step: rows[step % 30] + len(pool) - 200)
    for step in (0, 1, 2, 7, 8):
        if step == 7:
            append(pool, 1, 10)
        assert all(map(torch.equal, loader.batch(step), pool.minibatch(rows[step] + len(pool) - 200)))


def test_a_process_reads_each_file_of_a_pool_once_to_verify_it(tmp_path, patch):
    read = []
    true = checksums.digest
    patch("dp_base.checksums.digest", lambda path: read.append(path.suffix) or true(path))
    x = smooth(12)
    pool = stored(tmp_path, x[:4], storage="uint8")

    def reopened():
        read.clear()
        Pool.latest(pool.path, pool.sample_shape)
        return read.count(".arrow")

    for number in range(2):
        (new,) = (pool.path / f"round-{number:04d}").glob("*.arrow")
        os.utime(new, (0, 0))  # what was written just now may yet change without a later stamp
        assert [reopened(), reopened()] == [1, 0]
        if not number:
            pool.append(1, batch(pool, x[4:8]))
    (first,) = (pool.path / "round-0000").glob("*.arrow")
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    for _ in range(2):
        with refusal("is damaged", DamagedError):
            reopened()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("uint8", (5,), "uint8.* holds images"),
        ("jpeg", (2, 4, 4), r"holds images \[1 or 3, H, W\]"),
        ("uint9", IMAGE, "did you mean 'uint8'"),
    ],
)
def test_what_a_storage_does_not_keep_is_named(name, shape, message):
    with refusal(message):
        open_storage(name, shape)


def test_a_column_that_no_storage_writes_is_damage():
    with refusal("no known storage writes", DamagedError):
        storage_of(pa.list_(pa.float64(), 16), IMAGE)


@pytest.mark.parametrize("damage", [flip, halve, empty])
def test_a_block_is_read_if_it_is_whole_and_may_be_made_again(pool, tmp_path, damage):
    rows = batch(pool, torch.randn(4, *SHAPE), seed=np.arange(4, dtype=np.uint64) + np.uint64(2**63))
    left = partial(cached_block, tmp_path / "block", slice(0, 4))
    assert left() is None
    assert cache_block(tmp_path / "block", rows).equals(rows)
    assert left().equals(rows)
    damage(tmp_path / "block" / BLOCK)
    assert left() is None
    cache_block(tmp_path / "block", rows)
    assert left().equals(rows)
