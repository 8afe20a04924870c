"""The configuration of a run, how it is read and explained, and the arms that change it."""

from dp_real.config.config import Config
from dp_real.config.load import load_config, parse_config

__all__ = ["Config", "load_config", "parse_config"]
