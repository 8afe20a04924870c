"""The table of pipelines in docs/guide/pipeline.md: each class of diffusers' list is guided, refused, or untried."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING
from torch import Tensor, nn

from dp_real.generators.pipelines.guide import NO_IMAGES
from dp_real.generators.pipelines.latents import DECODERS
from dp_real.generators.pipelines.scheduler import KNOWN
from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.generators.tiny_pipelines import FAMILIES, N, assert_guided, draw

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers' own code

LISTED: dict[str, Any] = {cls.__name__: cls for cls in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
PAGE = Path(__file__).parents[3] / "docs" / "guide" / "pipeline.md"


def table() -> dict[str, set[str]]:
    """The classes in each row of the page's table, by what it says of them."""
    section = PAGE.read_text(encoding="utf-8").split("## Which pipelines\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \*\*(.+?)\*\*.*?\| (.+?) \|$", section, re.M)
    return {state: set(re.findall(r"`(\w+Pipeline)`", classes)) for state, classes in rows}


def test_the_table_has_each_class_of_the_list_once():
    rows = table()
    assert set(rows) == {"guided", "guided, with a stand-in", "refused", "not tried"}
    assert set.union(*rows.values()) == set(LISTED)
    assert sum(map(len, rows.values())) == len(LISTED)


def declared(cls: Any, part: str) -> str:
    """The name of the type that a pipeline's constructor declares of a part; empty if it has none."""
    parameter = signature(cls.__init__).parameters.get(part)
    return re.sub(r".*\.|'>$", "", str(parameter.annotation).removesuffix(" | None")) if parameter else ""


def reason(cls: Any) -> str | None:
    """Why a class is refused, by what it declares; None if by that it is not."""
    asked = set(signature(cls.__call__).parameters)
    for what, marks in NO_IMAGES.items():
        if marks & asked:
            return what
    parts = set(signature(cls.__init__).parameters)
    if "prior_prior" in parts or "movq" in parts or "vqgan" in parts:
        return "two stages, or another decoder"
    if (vae := declared(cls, "vae")) and vae not in {kind.__name__ for kind in DECODERS}:
        return f"decoder {vae}"
    scheduler = declared(cls, "scheduler")
    if scheduler.endswith("Scheduler") and scheduler not in {kind.__name__ for kind in KNOWN}:
        return f"scheduler {scheduler}"
    return None


def test_refused_are_those_that_declare_what_cannot_be_guided():
    refused = {name for name, cls in LISTED.items() if reason(cls)}
    assert refused == table()["refused"]


# The same parts as those of a family in tiny_pipelines.py.
ALIKE: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "StableDiffusionPAGPipeline": (tiny.stable_diffusion, {"requires_safety_checker": False}),
    "StableDiffusionXLPAGPipeline": (tiny.stable_diffusion_xl, {}),
    "StableDiffusion3PAGPipeline": (tiny.stable_diffusion_3, {"pag_applied_layers": ["blocks.0"]}),
    "SanaPAGPipeline": (tiny.sana, {"pag_applied_layers": ["transformer_blocks.0"]}),
    "PixArtSigmaPAGPipeline": (tiny.pixart, {"pag_applied_layers": ["transformer_blocks.0"]}),
    "PixArtAlphaPipeline": (tiny.pixart, {}),
}


@pytest.mark.parametrize("name", ALIKE)
def test_a_pipeline_of_the_same_parts_is_guided(name: str):
    make, options = ALIKE[name]
    cls = LISTED[name]
    wanted = signature(cls.__init__).parameters
    parts = {part: value for part, value in tiny.random_pipeline(make).components.items() if part in wanted}
    pipe = cls(**parts, **options)
    pipe.set_progress_bar_config(disable=True)
    assert_guided(pipe, partial(draw, make=make))


class Denoiser(ModelMixin, ConfigMixin):
    """Stands in for a transformer: a small function of each number of the latents."""

    config_name = "config.json"

    @register_to_config
    def __init__(self, in_channels: int = 4, doubled: bool = False, patch_size: int = 2, sample_size: int = 8) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.2))
        self.doubled = doubled  # the variance is learned, too
        self.in_channels, self.t_scale = in_channels, 1000.0
        self.inner_dim, self.num_heads, self.head_dim = 16, 2, 8
        self.config: Any  # guidance_embeds is none of it

    def cache_context(self, name: str) -> Any:
        return nullcontext()

    def forward(self, hidden_states: Any = None, *_: Any, return_dict: bool = True, x: Any = None, **__: Any) -> Any:
        latents = hidden_states
        if isinstance(latents, list):
            return ([torch.tanh(row) * self.gain for row in latents],)
        out = torch.tanh(latents) * self.gain
        out = torch.cat([out, out], 1) if self.doubled else out
        return SimpleNamespace(sample=out) if return_dict else (out,)


EMBEDDED = torch.randn(N, 5, 16, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(N, 5, dtype=torch.bool)
TEXT: dict[str, Any] = {"prompt_embeds": EMBEDDED, "negative_prompt_embeds": -EMBEDDED}
MASKED: dict[str, Any] = TEXT | {"prompt_attention_mask": MASK, "negative_prompt_attention_mask": MASK}
SECOND: dict[str, Any] = {f"{name}_2": value for name, value in MASKED.items()}
STANDS_IN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # sizes of the denoiser, and what the call is given
    "AuraFlowPipeline": ({}, MASKED),
    "Lumina2Pipeline": ({}, MASKED),
    "ChromaPipeline": ({"in_channels": 16}, MASKED),
    "CogView4Pipeline": ({}, TEXT),
    "ZImagePipeline": ({}, {name: list(value) for name, value in TEXT.items()}),
    "Flux2Pipeline": ({"in_channels": 16}, {"prompt_embeds": EMBEDDED}),
    "OvisImagePipeline": ({"in_channels": 16}, TEXT | {"negative_prompt": None}),
    "PRXPipeline": ({}, MASKED | {"use_resolution_binning": False}),
    "HunyuanDiTPipeline": ({"doubled": True}, MASKED | SECOND | {"use_resolution_binning": False}),
}


@pytest.mark.parametrize("name", STANDS_IN)
def test_a_pipeline_is_guided_with_a_stand_in_for_its_denoiser(name: str):
    torch.manual_seed(0)
    sizes, given = STANDS_IN[name]
    cls = LISTED[name]
    required = {part: None for part, it in signature(cls.__init__).parameters.items() if it.default is it.empty}
    scheduler = DDPMScheduler() if declared(cls, "scheduler") == "DDPMScheduler" else FlowMatchEulerDiscreteScheduler()
    vae: Any = tiny.flux2_vae().eval() if declared(cls, "vae") == "AutoencoderKLFlux2" else tiny.shifted_vae()
    if "scaling_factor" in vae.config:
        vae.register_to_config(scaling_factor=0.5)
    parts: dict[str, Any] = {"vae": vae, "transformer": Denoiser(**sizes), "scheduler": scheduler}
    if "requires_safety_checker" in signature(cls.__init__).parameters:
        parts["requires_safety_checker"] = False
    required.pop("self")
    pipe = cls(**required | parts)
    pipe.set_progress_bar_config(disable=True)

    def drawn(pipe: Any) -> Tensor:
        call = given | {"height": 32, "width": 32, "num_inference_steps": 4, "output_type": "pt"}
        return 2 * pipe(**call, generator=torch.Generator().manual_seed(0)).images - 1

    assert_guided(pipe, drawn, 1e-3)


def test_the_table_says_guided_of_those_that_are_guided_in_a_test():
    families = {type(make()).__name__ for make in FAMILIES}
    assert table()["guided"] == (families & set(LISTED)) | set(ALIKE)
    assert table()["guided, with a stand-in"] == set(STANDS_IN)
