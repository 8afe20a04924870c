"""As many rows as fit go through the device together, and always the same rows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dp_base.errors import MissingError
from dp_real.generators.pipelines.device_batches import DeviceBatches

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")


def device(room: int, seen: list[int], error: Exception = CUDA) -> Callable[[slice], Tensor]:
    """Work that runs out of memory beyond `room` rows."""

    def work(rows: slice) -> Tensor:
        seen.append(rows.stop - rows.start)
        if seen[-1] > room:
            raise error
        return torch.arange(rows.start, rows.stop)

    return work


def test_all_at_once_without_a_gpu():
    batches, seen = DeviceBatches(0, gpu=False), []
    for rows in (3, 100):
        assert torch.equal(batches.draw(rows, device(1000, seen)), torch.arange(rows))
    assert seen == [3, 100]


def test_a_size_is_kept_to():
    seen = []
    assert torch.equal(DeviceBatches(40, gpu=True).draw(100, device(1000, seen)), torch.arange(100))
    assert seen == [40, 40, 20]


def test_the_largest_that_fits_is_found_once_and_remembered():
    batches, seen = DeviceBatches(0, gpu=True), []
    assert torch.equal(batches.draw(100, device(20, seen)), torch.arange(100))
    assert seen == [8, 16, 32, 16, 16, 16, 16, 12]
    seen.clear()
    batches.draw(40, device(20, seen))
    assert seen == [16, 16, 8]
    batches.draw(40, device(4, seen), kind="guided")  # it needs more memory: it has a size of its own
    assert seen[3:] == [8, 4] + [4] * 9
    seen.clear()
    batches.draw(40, device(20, seen))
    assert seen == [16, 16, 8]


def test_running_out_of_memory_halves_a_given_size_and_loses_no_row():
    seen = []
    assert torch.equal(DeviceBatches(9, gpu=True).draw(10, device(2, seen)), torch.arange(10))
    assert seen == [9, 4, 2, 2, 2, 2, 2]


NO_MEMORY = "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"
DOUBTFUL = "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize("error", [CUDA, RuntimeError(NO_MEMORY), RuntimeError(DOUBTFUL)], ids=str)
def test_the_libraries_beneath_run_out_of_memory_in_their_own_words(error: Exception):
    """What also has other reasons, as a cuDNN that does not fit the driver, keeps its words on a single row."""
    seen = []
    assert torch.equal(DeviceBatches(4, gpu=True).draw(4, device(2, seen, error)), torch.arange(4))
    assert seen == [4, 2, 2]
    with pytest.raises((MissingError, RuntimeError)) as caught:
        DeviceBatches(0, gpu=True).draw(10, device(0, seen, error))
    assert seen[3:] == [8, 4, 2, 1]
    if str(error) == DOUBTFUL:
        assert caught.value is error
    else:
        assert "checkpointing" in str(caught.value)


def test_other_errors_are_not_swallowed():
    def broken(rows: slice) -> Tensor:
        raise RuntimeError("no memory of this")

    with pytest.raises(RuntimeError, match="no memory of this"):
        DeviceBatches(0, gpu=True).draw(10, broken)
