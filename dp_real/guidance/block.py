from copy import deepcopy
from typing import Any

import torch
from diffusers import ComponentSpec, InputParam
from diffusers.modular_pipelines.modular_pipeline import ModularPipelineBlocks
from transformers import AutoModelForImageClassification

from dp_base.errors import InputError
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.guide import attach, classifier_logits, detach
from dp_real.guidance.latents import PACKED

GUIDED = ("StableDiffusionXLModularPipeline", "StableDiffusion3ModularPipeline", *PACKED)


class EntropyGuidanceBlock(ModularPipelineBlocks):
    """Guides the denoising blocks after it, in pipelines of SDXL, SD 3, FLUX, FLUX.2 and Qwen-Image.

    Its component `classifier` and a call's omega, every and window are those of `dp_real.guide`; omega = 0 draws plain
    images. Raises InputError as `guide` does.

    Examples
    --------
        blocks = StableDiffusionXLAutoBlocks()
        blocks.sub_blocks.insert("guidance", EntropyGuidanceBlock(), list(blocks.sub_blocks).index("denoise"))
        pipe = blocks.init_pipeline("stabilityai/stable-diffusion-xl-base-1.0")
        pipe.load_components()
        pipe.update_components(classifier=classifier)
        images = pipe(prompt="a photo of a crane", omega=0.05, output="images")
    """

    @property
    def description(self) -> str:
        return "Pushes the samples up the gradient of a classifier's entropy (arXiv 2502.15588)."

    @property
    def expected_components(self) -> list[ComponentSpec]:
        return [ComponentSpec("classifier", AutoModelForImageClassification)]

    @property
    def inputs(self) -> list[InputParam]:
        return [
            InputParam("omega", default=0.05, type_hint=float, description="strength"),
            InputParam("every", type_hint=int, description="1: guide each step; 2: each second one"),
            InputParam("window", default=(0.0, 1.0), type_hint=tuple, description="the guided part of the steps"),
            InputParam("height", type_hint=int, description="of the images"),
            InputParam("width", type_hint=int, description="of the images"),
        ]

    @torch.no_grad()
    def __call__(self, components: Any, state: Any) -> tuple[Any, Any]:
        block: Any = self.get_block_state(state)
        name = type(components).__name__
        if name not in GUIDED:
            raise InputError(f"{name} cannot be guided; these can: {', '.join(GUIDED)}")
        components.scheduler = deepcopy(components.scheduler)  # other pipelines may share it
        detach(components, components.scheduler)
        if block.omega != 0:
            logits = classifier_logits(components.classifier)
            guidance = EntropyGuidance(logits, block.omega, through="x0", every=block.every, window=block.window)
            _, unpack = attach(components, guidance)
            unpack.size = block.height or components.default_height, block.width or components.default_width
        return components, state
