"""Files of data that tests write."""

import numpy as np


def idx(array: np.ndarray) -> bytes:
    """Return an IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()
