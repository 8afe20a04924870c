"""As many rows as fit go through the device together, and always the same rows."""

import pytest
import torch

from dp_base.errors import MissingError
from dp_real.runtime.distributed import DeviceBatches

REMEDY = "checkpointing takes less"
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")


def device(room, seen, error=CUDA):
    """Work that runs out of memory beyond `room` rows."""

    def work(rows):
        seen.append(rows.stop - rows.start)
        if seen[-1] > room:
            raise error
        return torch.arange(rows.start, rows.stop)

    return work


def tried(batches, n, room, **kind):
    """How many rows each try has; none is lost."""
    seen = []
    assert batches.draw(n, device(room, seen), **kind).equal(torch.arange(n))
    return seen


def test_so_many_rows_go_together_and_the_size_that_fits_is_found_once_and_remembered():
    assert tried(DeviceBatches(40, REMEDY), 100, 1000) == [40, 40, 20]
    batches = DeviceBatches(0, REMEDY)
    assert tried(batches, 64, 20) == [64, 32, 16, 16, 16, 16]
    assert tried(batches, 40, 20) == [16, 16, 8]
    assert tried(batches, 40, 4, kind="guided") == [40, 20, 10, 5, 2] + [2] * 19  # it has a size of its own
    assert tried(batches, 40, 20) == [16, 16, 8]


NO_MEMORY = "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"
DOUBTFUL = "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize("error", [CUDA, RuntimeError(NO_MEMORY), RuntimeError(DOUBTFUL)], ids=str)
def test_the_libraries_beneath_run_out_of_memory_in_their_own_words(error):
    """What also has other reasons, as a cuDNN that does not fit the driver, keeps its words on a single row."""
    seen = []
    assert DeviceBatches(4, REMEDY).draw(4, device(2, seen, error)).equal(torch.arange(4))
    assert seen == [4, 2, 2]
    with pytest.raises((MissingError, RuntimeError)) as caught:
        DeviceBatches(0, REMEDY).draw(10, device(0, seen, error))
    assert seen[3:] == [10, 5, 2, 1]
    if str(error) == DOUBTFUL:
        assert caught.value is error
    else:
        assert "checkpointing" in str(caught.value)


def test_other_errors_are_not_swallowed():
    with pytest.raises(RuntimeError, match="no memory of this"):
        DeviceBatches(0, REMEDY).draw(10, device(0, [], RuntimeError("no memory of this")))
