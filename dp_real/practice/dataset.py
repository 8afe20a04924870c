"""A pool as a data set for any training program."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from dp_base.errors import InputError, warn_once
from dp_real.data.examples import is_picture
from dp_real.pool.pool import MEMORY, Pool, rows_of
from dp_real.runtime.pixels import to_bytes, to_float, to_image
from dp_real.text.codes import texts_of


class PracticeDataset(Dataset[Any]):
    """A map-style data set, whose pool grows in all worker processes.

    Each index is a stratum of the pool, from which each pass takes a row by torch's random state, in a worker by the
    worker's: passes, even if several processes share them, cover the pool evenly. With length 0 it is a row. An item is
    (sample, label); the sample is a tensor in [-1, 1], a text, or what `transform` returns for a Pillow image, tensor
    or text. The label is an int, or with pool.soft_labels a tensor of probabilities.

    Parameters
    ----------
    length
        The constant length of a pass; 0: that of the pool, so that passes grow.
    transform
        A function of one sample, as in torchvision. If it returns a dictionary, as a tokenizer does, the label is added
        to it.
    columns
        Names of sample and label, such as ("pixel_values", "labels"): items are then dictionaries.
    """

    def __init__(self, pool: Pool, length: int, transform: Callable[[Any], Any] | None = None) -> None:
        self.pool, self.length, self.transform = pool, length, transform
        self.columns: Sequence[str] | None = None
        # version of the pool, and its replacements
        self._shared = torch.zeros(2, dtype=torch.int64, device="cpu").share_memory_()
        self._replaced, self._asked, self._size = 0, math.inf, 0  # the length last asked for, and the pool's before
        self.update(pool)

    def update(self, pool: Pool) -> None:
        """Make all worker processes use a pool that has grown, or a new one."""
        if pool is not self.pool:
            self.pool, self._replaced = pool, self._replaced + 1
        if not self.length and self._asked < self._size:
            warn_once(
                f"nobody has asked how long the data set is since it had {self._asked} rows, so later ones are not "
                "trained on: with ConcatDataset or DistributedSampler set epoch_size"
            )
        self._size = len(pool)
        self._shared.numpy()[:] = pool.version, self._replaced

    def __len__(self) -> int:
        self._asked = len(self.pool)
        return self.length or self._asked

    def __deepcopy__(self, memo: Any) -> Any:
        return copy(self)  # with the shared memory, and so the additions

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several items at once, for torch's DataLoader."""
        self._refresh()
        n = len(self.pool)
        rows = rows_of(indices, self.length or n)
        if not n:
            raise InputError("nothing is drawn yet: with initial = 0, train on other data until `step` or `add` draws")
        if self.length:
            place = (rows + torch.rand(len(rows), dtype=torch.float64, device="cpu")) * (n / self.length)
            rows = place.long().clamp_(max=n - 1)
        x, targets = self.pool.minibatch(rows)
        labels = targets.tolist() if targets.dim() == 1 else list(targets)
        return [self._item(sample, label) for sample, label in zip(self._samples(x), labels, strict=True)]

    def _samples(self, x: Tensor) -> Sequence[Any]:
        if x.dtype == torch.int32:
            return texts_of(x)
        if self.transform and is_picture(x.shape[1:]):
            return [to_image(each) for each in (x if x.dtype == torch.uint8 else to_bytes(x))]
        return to_float(x).unbind()

    def _item(self, sample: Any, label: Any) -> Any:
        if self.transform:
            sample = self.transform(sample)
        if self.columns is None:
            return sample, label
        sample_name, label_name = self.columns
        return {**(sample if isinstance(sample, Mapping) else {sample_name: sample}), label_name: label}

    def _refresh(self) -> None:
        """In a worker process, open rounds that were added."""
        version, replaced = self._shared.tolist()
        if (version, replaced) == (self.pool.version, self._replaced):
            return
        worker = get_worker_info()
        pool, memory = self.pool, MEMORY / worker.num_workers if worker else MEMORY
        if replaced == self._replaced and memory == pool.memory:
            pool.refresh(version)
        else:
            self.pool = Pool(pool.path, pool.sample_shape, version, pool.config, memory=memory)
        self._replaced = replaced
