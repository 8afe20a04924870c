"""How a run trains its learner."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, model_validator

from dp_real.runtime.section import Count, Section, Share


class TrainingConfig(Section):
    """AdamW with a schedule of warm-up, constant rate and cool-down (WSD; paper App. D). Lengths are in steps."""

    steps: Count = Field(description="optimizer steps")
    batch_size: int = Field(
        default=64, ge=0, le=10**6, description="rows of a step, over all processes; 0: the whole pool in each step"
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="AdamW's rate between warm-up and cool-down")
    weight_decay: NonNegativeFloat = Field(default=0.0, description="AdamW's")
    max_grad_norm: NonNegativeFloat = Field(
        default=0.0, description="longer gradients are clipped to this norm; 0: none are"
    )
    warmup: Share = Field(default=0.1, description="share of the steps")
    cooldown: Share = Field(default=0.2, description="share of the steps; no samples are added in it")
    ema_decay: Share = Field(default=0.0, description="0: no averaging; the paper: 0.999")
    label_smoothing: Share = Field(default=0.0, description="share of each label that is spread over all classes")
    crop: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="least area of a random resized crop, before it is cut to the image; 0: none",
    )
    flip: bool = Field(default=False, description="mirror half of the images")
    mixup: float = Field(
        default=0.0, ge=0, le=1e6, description="Beta(a, a) of the mixing weight; 0: none; the paper: 0.5"
    )
    cutmix: float = Field(default=0.0, ge=0, le=1e6, description="Beta(a, a) of the kept area; 0: none; the paper: 1.0")
    randaugment: int = Field(
        default=0, ge=0, le=10, description="random operations on each batch's images (RandAugment); 0: none"
    )
    logit_adjustment: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="weight of the log of each class's share, among real or generated rows as the row is, added "
        "to logits in training; if classes are few, set label_smoothing = 0, or the rarest one is predicted "
        "everywhere",
    )
    balanced_batches: bool = Field(default=False, description="draw each class equally often, however few rows it has")
    randaugment_magnitude: int = Field(default=9, gt=0, lt=30, description="of RandAugment, from 0 to 30")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the forward pass in training and evaluation; guidance is float32"
    )
    compile: bool = Field(
        default=False, description="torch.compile the learner's training: minutes at first, then faster"
    )

    @property
    def warmup_steps(self) -> int:
        return round(self.warmup * self.steps)

    @property
    def cooldown_steps(self) -> int:
        return round(self.cooldown * self.steps)

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.warmup + self.cooldown > 1:
            raise ValueError(f"warmup + cooldown = {self.warmup + self.cooldown:g} leaves no step between them")
        return self
