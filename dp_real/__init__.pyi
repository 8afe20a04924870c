"""Every public name of the package, with the module that it lives in (see dp_base.imports)."""

from dp_base import __version__ as __version__
from dp_real.config import Config as Config
from dp_real.config import load_config as load_config
from dp_real.generators.pipelines.generator import sample_images as sample_images
from dp_real.guidance.block import EntropyGuidanceBlock as EntropyGuidanceBlock
from dp_real.guidance.entropy import EntropyGuidance as EntropyGuidance
from dp_real.guidance.guide import guide as guide
from dp_real.guidance.guide import unguide as unguide
from dp_real.learners.models.saved import load_learner as load_learner
from dp_real.pool import Pool as Pool
from dp_real.practice.objects import give as give
from dp_real.practice.practice import Practice as Practice
from dp_real.runs.prepare import load_generator as load_generator
from dp_real.runs.reader import Run as Run
from dp_real.runs.run import run as run
