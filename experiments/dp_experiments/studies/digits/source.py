"""scikit-learn's digits: 1,797 grey images of 8 x 8 pixels."""

from typing import Literal

from pydantic import Field

from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Examples, RealData, Task
from dp_real.runtime.section import Seed


@DATA.named("digits", place=1)
class DigitsConfig(DataConfig):
    """Real digits of 8 x 8 pixels, which come with scikit-learn."""

    source: Literal["digits"]
    split: Seed = Field(default=0, description="which random split into generator, validation and test images")

    @property
    def task(self) -> Task:
        return Task((1, 8, 8), tuple("0123456789"))

    def load(self) -> RealData:
        """The images are shuffled by `split`: 900 train the generator, 250 validate and 647 test."""
        import numpy as np
        import torch
        from sklearn import datasets

        from dp_real.runtime.seeds import Stream, rng

        images, labels = datasets.load_digits(return_X_y=True)
        order = rng(self.split, Stream.SPLIT).permutation(len(labels))
        scaled = images[order] / 8 - 1  # scikit-learn's pixels are in [0, 16]
        x = torch.from_numpy(scaled.astype(np.float32)).view(-1, *self.task.sample_shape)
        y = torch.from_numpy(labels[order].astype(np.int64))
        sizes = (900, 250, 647)
        generator, validation, test = map(Examples, x.split(sizes), y.split(sizes))
        return RealData(self.task, generator, validation, test)
