"""What several test folders share. One torch thread: pytest-xdist already fills the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

from tests.shapes import PACKAGES

install_import_hook(list(PACKAGES), "tests.shapes.check_shapes")
