"""The pool of generated examples: the rows of a round, their storage on disk, and export.

Names are imported on first use, as not all need Arrow, which is large.
"""

from pathlib import Path

from dp_base.imports import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, Path(__file__).with_suffix(".pyi"))
