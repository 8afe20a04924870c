"""What several test folders share. One torch thread: pytest-xdist already fills the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.shapes import PACKAGES, check_shapes_of

check_shapes_of(PACKAGES)
