"""The configuration of a run: its whole, how it is read, and what arms make of it."""

from dp_real.config.config import Config
from dp_real.config.load import load_config, parse_config

__all__ = ["Config", "load_config", "parse_config"]
