"""The small Stable Diffusion that is trained here."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from dp_base.progress import showing
from dp_real.data.examples import Examples, RealData, Task
from dp_real.generators.trained import Effort, LatentConfig
from dp_real.guidance.section import SamplingConfig
from dp_real.runtime import resumable
from dp_real.runtime.cache import UNFINISHED, cache_folder
from dp_real.runtime.seeds import row_seeds
from tests.dp_real.runs.folders import same_tensors
from tests.refusals import refusal

TASK = Task((1, 16, 16), ("coat", "dress", "bag"))
TEMPLATES = ("a photo of a {}", "{}")


def load_generator(real, prompts=TEMPLATES, training="light", seed=0):
    """Load for a source whose task is TASK."""
    source = SimpleNamespace(source="fashion", split=seed, task=TASK)
    section = LatentConfig(kind="latent", prompts=prompts, training=training)
    return section.load(SamplingConfig(steps=4, guidance_scale=2.0), source, real)


@pytest.fixture(scope="module")
def real():
    """Thirty images: three classes, each a bright stripe at another height, under noise."""
    draw, y = torch.Generator().manual_seed(0), torch.arange(30) % 3
    x = 0.3 * torch.randn(30, 1, 16, 16, generator=draw) - 0.5
    for row, label in enumerate(y.tolist()):
        x[row, :, 4 + 4 * label : 6 + 4 * label] += 1.2
    images = Examples(x.clamp(-1, 1), y)
    return RealData(TASK, images, images, images)


@pytest.fixture
def efforts(patch, own_cache):
    """Of a few steps, which a test may change; the cache does not know them."""
    found = {"light": (Effort(30, 8), Effort(3, 4))}
    patch("dp_real.generators.trained.EFFORTS", found)
    return found


def test_a_pipeline_trained_here_is_kept(real, patch, efforts):
    labels, seeds = torch.arange(6) % 3, row_seeds(0, 0, range(6))
    generator = load_generator(real)
    x = generator.sample(labels, seeds, None)
    assert x.shape == (6, 1, 16, 16)
    vae = generator.pipe.vae
    with torch.no_grad():
        latents = vae.encode(real.validation.x.expand(-1, 3, -1, -1), return_dict=False)[0].mode()
    assert vae.config.scaling_factor == pytest.approx(1 / latents.std().item(), rel=1e-5)

    patch(
        "dp_real.generators.models.stable_diffusion.train_autoencoder", None
    )  # not called again: the VAE is in the cache
    other = load_generator(real, prompts=("a {}",))
    assert other.pipe.vae.decoder.conv_in.weight.equal(vae.decoder.conv_in.weight)
    efforts["full"] = efforts["light"]
    with pytest.raises(TypeError):
        load_generator(real, training="full")
    patch("dp_real.generators.models.stable_diffusion.train_pipeline", None)
    assert load_generator(real).sample(labels, seeds, None).equal(x)
    assert not list(cache_folder().rglob(f"*{UNFINISHED}*"))


@pytest.mark.slow
def test_it_learns_what_the_prompts_mean(real, efforts):
    """Images of a class are nearer to its mean than to another's."""
    efforts["light"] = Effort(400, 16), Effort(1000, 16)
    x = load_generator(real).sample(torch.arange(30) % 3, row_seeds(0, 0, range(30)), None)
    means = torch.stack([real.validation.x[real.validation.y == label].mean(0) for label in range(3)])
    nearest = torch.cdist(x.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == torch.arange(30) % 3).double().mean() > 0.9


@contextmanager
def kills(description, total):
    """A Progress that ends each training in its fifth step, unless it began later."""
    done = []

    def advance(steps):
        done.append(steps)
        if done[0] == 0 and sum(done) == 5:
            raise KeyboardInterrupt

    yield advance


def test_training_is_a_function_of_its_seed_and_a_killed_one_ends_as_the_unbroken_one(
    real, efforts, patch, tmp_path, monkeypatch
):
    """Killed in the VAE's fifth step, in the UNet's fifth, and not any more; the state is kept every other step."""
    patch("dp_real.runtime.resumable.EVERY", 2)
    patch("dp_real.generators.models.stable_diffusion.ENCODED_EVERY", 2)
    efforts["light"] = Effort(6, 4), Effort(6, 4)
    unbroken, other = (load_generator(real, seed=seed) for seed in (0, 1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    begins = []
    restore = resumable.Resumable.restore
    patch("dp_real.runtime.resumable.Resumable.restore", lambda self: begins.append(restore(self)) or begins[-1])
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), showing(kills):
            load_generator(real)
    torch.manual_seed(1)  # what was drawn before does not matter
    generator = load_generator(real)
    assert begins == [0, 4, 0, 4]
    for part in ("unet", "vae", "text_encoder"):
        whole, resumed, another = (getattr(each.pipe, part).state_dict() for each in (unbroken, generator, other))
        assert same_tensors(whole, resumed), part
        assert not same_tensors(whole, another), part


def test_what_it_cannot_be_trained_on(real):
    with refusal("trained on real examples"):
        load_generator(RealData(TASK, None, real.validation, real.test))
    with refusal("whose side is a multiple of 8; these have shape"):
        LatentConfig(kind="latent").check_task(Task((1, 12, 12), TASK.classes))
