"""An arm of a comparison: a function that says which settings differ from those of the preset."""

from typing import Any

from dp_real.config import Config
from dp_real.config.arms import arm


@arm("my-arm", "the loop, at half its strength")
def half(config: Config, samples: int) -> dict[str, Any]:
    """The settings that differ. `samples` is the number after the arm's name, as in my-arm-400."""
    assert config.guidance.omega != "auto", "half of a strength that is not fixed is not known"
    return {"guidance": {"omega": config.guidance.omega / 2}}
