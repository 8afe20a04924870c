"""A CLIP as judge of labels: the same cosines as transformers' own, and a run that draws again what it denies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.clip.modeling_clip import CLIPModel

from dp_base.errors import InputError, MissingError
from dp_real import run
from dp_real.config import Config, parse_config
from dp_real.estimate.needs import needs
from dp_real.generators.models.stable_diffusion import make_tokenizer
from dp_real.learners.transformers import TransformersConfig
from dp_real.rounds.clip import Clip
from dp_real.runs.prepare import load_judge
from dp_real.runtime.pixels import to_image

PROMPTS = [["a photo of a hen", "a drawing of a hen"], ["a photo of a crane", "a drawing of a crane"]]
SIZES: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of images of 16 x 16 pixels."""
    path, tokenizer = tmp_path_factory.mktemp("clip"), make_tokenizer([*PROMPTS[0], *PROMPTS[1]])
    torch.manual_seed(0)
    end = len(tokenizer) - 1
    text: dict[str, Any] = {
        "vocab_size": end + 1,
        "max_position_embeddings": 24,
        "bos_token_id": end - 1,
        "eos_token_id": end,
    }
    vision = {"image_size": 16, "patch_size": 4}
    sizes: dict[str, Any] = {"text_config": SIZES | text | {"pad_token_id": end}, "vision_config": SIZES | vision}
    CLIPModel(CLIPConfig(**sizes, projection_dim=8)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(path)
    return path


def changed(config: Config, folder: Path | str, threshold: float) -> Config:
    options = {"check": "clip", "check_model": str(folder), "check_threshold": threshold}
    return parse_config(config.model_dump() | {"guidance": config.model_dump()["guidance"] | options})


@torch.no_grad()
def test_errors_are_minus_the_cosines_of_transformers_own_model(folder: Path):
    pixels = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), make_tokenizer([*PROMPTS[0], *PROMPTS[1]])
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    images = processor([to_image(each) for each in pixels], return_tensors="pt")["pixel_values"]
    own = [
        F.normalize(
            torch.stack(
                [
                    model(pixel_values=images, **tokenizer([prompt], return_tensors="pt")).text_embeds[0]
                    for prompt in several
                ]
            ).mean(0),
            dim=0,
        )
        for several in PROMPTS
    ]
    embeds = model(pixel_values=images, **tokenizer(PROMPTS[0][:1], return_tensors="pt")).image_embeds
    labels = torch.tensor([1, 0, 1])
    found = Clip.load(str(folder), PROMPTS).errors(pixels / 127.5 - 1, (labels, 1 - labels), np.zeros(3, np.uint64))
    assert found.dtype == torch.float64
    expected = -(embeds @ torch.stack(own).T).gather(1, torch.stack([labels, 1 - labels], 1))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-5)


def test_a_run_draws_again_what_the_clip_denies(config: Config, folder: Path, tmp_path: Path):
    lax, strict = (run(changed(config, folder, at), tmp_path / str(at)) for at in (0.0, 0.5))
    assert lax["samples_generated"] == 140 < strict["samples_generated"]
    assert strict["denoiser_forwards"] == 8 * strict["samples_generated"]  # the CLIP takes none


def test_what_is_missing_or_no_clip_is_named(config: Config, folder: Path, tmp_path: Path, generator: Any):
    missing = changed(config, "no/such/folder", 0.3)
    with pytest.raises(MissingError, match="no/such/folder: no such folder"):
        run(missing, tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    assert [need.problem for need in needs(missing, tmp_path) if need.what == "guidance.check_model"] != [None]
    vit = TransformersConfig(kind="transformers", config=SIZES | {"patch_size": 4}).fresh(
        config.task, config.training, 0
    )
    vit.save(tmp_path)
    with pytest.raises(InputError, match="no CLIP, but a model of type vit"):
        load_judge(changed(config, tmp_path, 0.3), generator)
    with pytest.raises(InputError, match="check = 'clip' needs check_model"):
        parse_config(config.model_dump() | {"guidance": {"check": "clip"}})
