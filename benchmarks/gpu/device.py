"""The device that is measured: its clock, its memory, and how often the CPU waits for it."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

GIB = 2**30


@dataclass
class Bench:
    """What all rows share.

    Parameters
    ----------
    device
        What is measured.
    tiny
        Whether networks and batches are as small as a quick check of the benchmark itself needs.
    """

    device: torch.device
    tiny: bool
    matmul: dict[torch.dtype, float] = field(default_factory=dict)  # FLOP/s of a matrix product, once measured
    plain: dict[str, float] = field(default_factory=dict)  # seconds of a plain image, by size, dtype and batch

    @property
    def gpu(self) -> bool:
        """Whether the device is a GPU of CUDA."""
        return self.device.type == "cuda"

    def bound(self, value: float) -> float | None:
        """A limit of speed. It holds for networks of real size on a GPU only."""
        return value if self.gpu and not self.tiny else None

    def now(self) -> float:
        """Wall time in seconds, once the device is done."""
        if self.gpu:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds(self, work: Callable[[], object], repeats: int = 3) -> float:
        """The least wall time of the work. It is done once before, to warm up."""
        work()
        best = float("inf")
        for _ in range(repeats):
            begin = self.now()
            work()
            best = min(best, self.now() - begin)
        return best

    def allocated(self) -> int:
        """Bytes of tensors on the GPU; 0 without one."""
        return torch.cuda.memory_allocated(self.device) if self.gpu else 0

    def peak(self, work: Callable[[], object]) -> float:
        """The most bytes that the work needs on the GPU beside what is there; not a number without a GPU."""
        if not self.gpu:
            work()
            return float("nan")
        before = self.allocated()
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before

    def waits(self, work: Callable[[], object]) -> int:
        """How often the CPU waits for the GPU during the work, as torch counts it."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if self.gpu:
                torch.cuda.set_sync_debug_mode("warn")
            try:
                work()
            finally:
                if self.gpu:
                    torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(warning.message) for warning in caught)

    def limit_memory(self, more: float) -> None:
        """Let torch take only so many bytes more on the GPU. `free_memory` ends it."""
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(self.device).total_memory
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, (torch.cuda.memory_reserved(self.device) + more) / total), self.device
        )

    def free_memory(self) -> None:
        """End what `limit_memory` began."""
        torch.cuda.set_per_process_memory_fraction(1.0, self.device)
