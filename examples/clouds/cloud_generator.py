"""A generator: it draws a point of a class, and moves it once where guidance asks for it."""

from typing import Any, Literal

from cloud_data import CENTRES

from dp_real.data import DataConfig
from dp_real.data.examples import RealData, Task
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.guidance.section import SamplingConfig


@GENERATORS.named("weather")
class WeatherConfig(GeneratorConfig):
    """The clouds as they are. Its fields are the keys of [generator] in a configuration."""

    kind: Literal["weather"]
    width: float = 0.2

    def load(
        self,
        sampling: SamplingConfig,
        source: DataConfig,
        data: RealData | None = None,
    ) -> "Weather":
        """The generator itself, ready to draw. One that is trained here would do so on `data`."""
        return Weather(self.width, source.task)


class Weather:
    """Implements the protocol `Generator` (dp_real.protocols)."""

    def __init__(self, width: float, task: Task) -> None:
        self.width = width
        self.sample_shape = task.sample_shape
        self.n_classes = task.n_classes

    def sample(self, labels: Any, seeds: Any, guidance: Any) -> Any:
        """A point for each label. A row must depend on its seed alone, so that runs resume bit for bit."""
        import torch

        from dp_real.runtime.seeds import row_noise

        x = torch.tensor(CENTRES)[labels] + self.width * row_noise(seeds, self.sample_shape)
        if guidance is None:
            return x
        # The sample is its own estimate x0_hat. A diffusion model would do this at each of its steps.
        with torch.enable_grad():
            leaf = x.requires_grad_()
            gradient = guidance.gradient(leaf, leaf)
        return guidance.move(x.detach(), gradient)
