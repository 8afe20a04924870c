"""Small images that are told apart by their red, folders and tar files of them, and a configuration that names them."""

import io
import tarfile
import tomllib

import numpy as np
from PIL import Image

from dp_real.config import parse_config
from dp_real.data.sets.imagenet import imagenet_classes

WNIDS = [entry.wnid for entry in imagenet_classes("imagenet1k")]


def encoded(picture, form="png", **options):
    with io.BytesIO() as file:
        picture.save(file, form, **options)
        return file.getvalue()


def plain(value):
    """Return an encoded image of 8 x 8 pixels that is known by its red."""
    return encoded(Image.new("RGB", (8, 8), (value, 0, 0)))


def values(images):
    return images.x[:][:, 0, 0, 0].tolist()


def fill(root, folders, count=2):
    """Make a folder for each key, with `count` images of its red."""
    for name, value in folders.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            (root / name / f"{index}.png").write_bytes(plain(value))
    return root


def pictures(root, folders, count=4):
    """Noise of 16 x 16 pixels that differs by folder."""
    for index, name in enumerate(folders):
        (root / name).mkdir(parents=True)
        for row in range(count):
            noise = np.random.default_rng([index, row]).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(noise // (index + 1)).save(root / name / f"{row}.png")
    return root


def write_tar(path, files, entries=()):
    """Write files, and behind them entries without content."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry in entries:
            tar.addfile(entry)
    return path


OWN = tomllib.loads("""
name = "own"
generator = { kind = "latent" }
learner = { kind = "conv" }
training = { steps = 1 }
practice = { initial = 3 }
""")


def settings(validation, **more):
    """The section of a configuration file."""
    data = {"source": "folder", "validation": str(validation), "size": 8} | more
    return parse_config(OWN | {"data": data}).data
