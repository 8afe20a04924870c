"""How a pool stores its examples."""

from pydantic import Field

from dp_real.runtime.section import Place, Section


class PoolConfig(Section):
    """How the pool stores its examples (dp_real.pool)."""

    storage: str = Field(
        default="float32",
        description="float32, as computed; uint8, images in bytes; jpeg, images as files, always read from disk; "
        "or a storage of the data's own kind",
    )
    distinct: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drop examples at least this similar to an earlier one; 1: those that are equal but for case, "
        "blanks and repetition; 0: none",
    )
    marks: Place | None = Field(
        default=None, description="a CSV file of dp real review: its marked examples are left out; none: all stay"
    )
    soft_labels: bool = Field(
        default=False,
        description="store the generator's probability of each class, and train on it in place of the label",
    )
    size: int = Field(
        default=0, ge=0, le=2**14, description="pixels a side, so that crops have detail; 0: the learner's size"
    )
