"""Pipelines whose denoisers are too large to be made tiny: guided with a stand-in for the denoiser and the texts."""

from contextlib import nullcontext
from inspect import signature
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from tests.dp_real.generators import tiny_pipelines as tiny
from tests.dp_real.generators.tiny_pipelines import N, assert_guided

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers' own code


class Denoiser(ModelMixin, ConfigMixin):
    """Stands in for a transformer: a small function of each number of the latents."""

    config_name = "config.json"

    @register_to_config
    def __init__(self, in_channels=4, doubled=False, patch_size=2, sample_size=8):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.2))
        self.doubled = doubled  # the variance is learned, too
        self.in_channels, self.t_scale = in_channels, 1000.0
        self.inner_dim, self.num_heads, self.head_dim = 16, 2, 8

    def cache_context(self, name):
        return nullcontext()

    def forward(self, hidden_states=None, *_, return_dict=True, x=None, **__):
        if isinstance(hidden_states, list):
            return ([torch.tanh(row) * self.gain for row in hidden_states],)
        out = torch.tanh(hidden_states) * self.gain
        out = torch.cat([out, out], 1) if self.doubled else out
        return SimpleNamespace(sample=out) if return_dict else (out,)


EMBEDDED = torch.randn(N, 5, 16, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(N, 5, dtype=torch.bool)
TEXT = {"prompt_embeds": EMBEDDED, "negative_prompt_embeds": -EMBEDDED}
MASKED = TEXT | {"prompt_attention_mask": MASK, "negative_prompt_attention_mask": MASK}
SECOND = {f"{name}_2": value for name, value in MASKED.items()}
STANDS_IN = {  # sizes of the denoiser, and what the call is given
    "AuraFlowPipeline": ({}, MASKED),
    "Lumina2Pipeline": ({}, MASKED),
    "ChromaPipeline": ({"in_channels": 16}, MASKED),
    "CogView4Pipeline": ({}, TEXT),
    "ZImagePipeline": ({}, {name: list(value) for name, value in TEXT.items()}),
    "Flux2Pipeline": ({"in_channels": 16}, {"prompt_embeds": EMBEDDED}),
    "OvisImagePipeline": ({"in_channels": 16}, TEXT | {"negative_prompt": None}),
    "BriaPipeline": ({"in_channels": 16}, TEXT),  # tells schedulers by their class
    "PRXPipeline": ({}, MASKED | {"use_resolution_binning": False}),
    "HunyuanDiTPipeline": ({"doubled": True}, MASKED | SECOND | {"use_resolution_binning": False}),
}


@pytest.mark.parametrize("name", STANDS_IN)
def test_a_pipeline_is_guided_with_a_stand_in_for_its_denoiser(name):
    torch.manual_seed(0)
    sizes, given = STANDS_IN[name]
    cls = getattr(diffusers, name)
    declared = dict(signature(cls.__init__).parameters)
    required = {part: None for part, it in declared.items() if it.default is it.empty and part != "self"}
    scheduler = DDPMScheduler() if name == "HunyuanDiTPipeline" else FlowMatchEulerDiscreteScheduler()
    vae = tiny.flux2_vae().eval() if name == "Flux2Pipeline" else tiny.shifted_vae()
    if "scaling_factor" in vae.config:
        vae.register_to_config(scaling_factor=0.5)
    parts = {"vae": vae, "transformer": Denoiser(**sizes), "scheduler": scheduler}
    if "requires_safety_checker" in declared:
        parts["requires_safety_checker"] = False
    pipe = cls(**required | parts)
    pipe.set_progress_bar_config(disable=True)

    def drawn(pipe):
        call = given | {"height": 32, "width": 32, "num_inference_steps": 4, "output_type": "pt"}
        return 2 * pipe(**call, generator=torch.Generator().manual_seed(0)).images - 1

    assert_guided(pipe, drawn, 1e-3)
