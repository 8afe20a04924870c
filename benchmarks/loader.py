"""Images per second and core from JPEGs on disk, against bare Pillow and a GPU's demand.

Images of 224 x 224 with a spectrum of about 1/f, in batches of 64 at random positions.
"""

import io
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from _timing import row
from PIL import Image

from dp_real.pool.pool import COLUMNS, Pool, read_round
from dp_real.pool.section import PoolConfig
from dp_real.runs.batches import Loader

IMAGES, BATCH, SIZE, STEPS = 1024, 64, 224, 60
# Forward and backward of ViT-B/16 take 3 x 35 GFLOP an image; bf16 at half of an H100's or H200's peak, 790 TFLOP/s.
GPU_IMAGES = 0.5 * 790e12 / (3 * 35e9)


def photographs(n: int, size: int) -> torch.Tensor:
    """Coloured noise [n, 3, size, size] in [-1, 1] whose amplitudes fall as those of photographs, as 1 / frequency."""
    draw = torch.Generator().manual_seed(0)
    frequency = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None] ** 2).sqrt()
    spectrum = torch.fft.rfft2(torch.randn(n, 3, size, size, generator=draw)) / frequency.clamp_min(1 / size)
    x = torch.fft.irfft2(spectrum, s=(size, size))
    return (x / (3 * x.std((1, 2, 3), keepdim=True))).clamp(-1, 1)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(Path(folder) / "pool", (3, SIZE, SIZE), config=PoolConfig(storage="jpeg"))
        columns = {name: np.zeros(IMAGES, kind) for name, kind in COLUMNS.items()}
        columns |= {"row": np.arange(IMAGES), "example": pool.storage.encode(photographs(IMAGES, SIZE))}
        pool.append(0, pa.table(columns, schema=pool.schema))
        rows = torch.randint(IMAGES, (STEPS, BATCH), generator=torch.Generator().manual_seed(1))
        loader = Loader(pool, lambda step: rows[step % STEPS])
        begin, wall = time.process_time(), time.perf_counter()
        for step in range(STEPS):
            loader.batch(step)
        ours, wall = STEPS * BATCH / (time.process_time() - begin), STEPS * BATCH / (time.perf_counter() - wall)
        files = [cell["bytes"] for cell in read_round(pool.path / "round-0000")["example"].to_pylist()]
    begin = time.process_time()
    for file in files:
        np.asarray(Image.open(io.BytesIO(file)))
    rival = IMAGES / (time.process_time() - begin)
    size = sum(map(len, files)) / IMAGES / 1000
    row("JPEG pool, as fast as Pillow", f"{ours:.0f} images/s", f"Pillow in memory {rival:.0f}/s", ours / rival)
    print(f"  {size:.0f} kB each; by the wall clock {wall:.0f}")
    print(f"  ViT-B/16 on one GPU, {GPU_IMAGES:.0f} images/s, needs {GPU_IMAGES / ours:.1f} cores of this kind to read")


if __name__ == "__main__":
    main()
