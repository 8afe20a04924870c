"""Generators by kind. Each kind is a file here and a section of dp_real.config.config."""

from dp_base.progress import Progress
from dp_real.config.config import Config, DenoiserConfig, DiffusersConfig, GaussianConfig, LatentConfig
from dp_real.protocols import Generator, RealData


def load_generator(config: Config, data: RealData, progress: Progress) -> Generator:
    """The generator that a configuration names, trained now if it is one that is trained here."""
    match config.generator:
        case DenoiserConfig() as section:
            from dp_real.generators.models.denoiser import load_denoiser

            return load_denoiser(section, config.sampling, config.data, data, progress)
        case LatentConfig() as section:
            from dp_real.generators.models.small_stable_diffusion import load_latent

            return load_latent(section, config.sampling, config.data, data, progress)
        case DiffusersConfig() as section:
            from dp_real.generators.pipelines.latent_diffusion import load_diffusers

            return load_diffusers(section, config.sampling, data)
        case GaussianConfig():
            from dp_real.generators.models.gaussian import GaussianGenerator

            (dimension,) = data.validation.x.shape[1:]
            return GaussianGenerator(dimension, config.sampling.steps, config.sampling.guidance_scale)
