"""How a pool keeps its examples."""

from pydantic import Field

from dp_real.runtime.section import Place, Section


class PoolConfig(Section):
    """How the pool keeps its examples (dp_real.pool)."""

    storage: str = Field(
        default="float32",
        description="float32, as computed; uint8, images in bytes; jpeg, images as files, always read from disk; "
        "or what the data's own kind is kept in",
    )
    distinct: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drop examples that are as much like an earlier one as this, 1 being the same; 0: none are dropped",
    )
    marks: Place | None = Field(
        default=None, description="a CSV file of dp real review: the examples marked there are left out; none: all stay"
    )
    soft_labels: bool = Field(
        default=False,
        description="keep the generator's own probability of each class, and train on it in place of the label",
    )
    size: int = Field(
        default=0, ge=0, le=2**14, description="pixels a side, for crops with detail; 0: as the learner sees images"
    )
