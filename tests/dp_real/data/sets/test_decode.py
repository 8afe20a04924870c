"""What a picture becomes, whatever its format, and that a broken one is refused."""

import errno
import os
import struct
import warnings
import zlib
from io import BytesIO
from unittest import mock

import numpy as np
import pytest
from PIL import ExifTags, Image

from dp_real.data.sets.images import FORMATS, read_image
from dp_real.runtime.pixels import fit, to_bytes, to_float
from tests.dp_real.data.sets.made import encoded
from tests.refusals import refusal

TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6


def read(file, size, channels=3, **options):
    return read_image(file, size, channels, **options).permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize(
    ("size", "resize", "resized", "boxes"),
    [
        ((20, 50), 0, (10, 25), [(0, 7, 10, 17), (0, 8, 10, 18)]),
        ((40, 32), 16, (20, 16), [(5, 3, 15, 13)]),  # as torchvision takes 224 of 256
    ],
)
def test_the_shorter_side_is_resized_and_the_middle_taken(tmp_path, size, resize, resized, boxes):
    """The middle of 25 rows, of which 10 are kept, lies between two rows. The crop is not rounded to a row."""
    ramp = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    (picture := Image.fromarray(ramp)).save(tmp_path / "a.png")
    whole = picture.resize(resized, Image.Resampling.BICUBIC)
    middle = np.mean([np.asarray(whole.crop(box)) for box in boxes], axis=0)
    assert abs(read(tmp_path / "a.png", 10, resize=resize) - middle).max() <= 1


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "tiff"])
def test_it_is_turned_upright_once(tmp_path, form):
    """Pillow itself turns a TIFF when it loads it."""
    upright = np.kron(np.array([[0, 80], [160, 250]], np.uint8), np.ones((16, 16), np.uint8))
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a", form, exif=TURNED)
    assert abs(read(tmp_path / "a", 32, 1)[..., 0] - upright).max() < 4


def test_broken_exif_turns_what_can_be_read_and_stops_nothing(tmp_path):
    """The end of the block is missing, where its resolution stands, or it has no known format."""
    cut = Image.Exif()
    cut.update({ExifTags.Base.Orientation: 6, ExifTags.Base.XResolution: 72.0})
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    seen = []
    for exif in (cut.tobytes()[:-8], b"Exif\0\0of no format"):
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
        with warnings.catch_warnings(action="ignore"):
            seen.append(read(tmp_path / "a.jpg", 8, 1)[..., 0])
    turned, plain = seen
    assert min(turned[0].min(), plain[:, 0].min()) > 250
    assert turned[-1].max() < 5


PALETTE = Image.new("P", (4, 4), 1)
PALETTE.putpalette([9, 9, 9, 10, 20, 30])


@pytest.mark.parametrize(
    ("form", "picture", "expected", "options"),
    [
        ("png", Image.fromarray(np.full((4, 4), 77 * 257, np.uint16)), [77, 77, 77], {}),
        ("jpeg", Image.new("CMYK", (4, 4), (0, 255, 255, 0)), [254, 0, 0], {}),
        ("webp", Image.new("RGBA", (4, 4), (255, 0, 0, 51)), [255, 204, 204], {"lossless": True}),
        ("png", PALETTE, [255, 255, 255], {"transparency": 1}),
        ("png", Image.new("RGB", (4, 4), (77, 77, 77)), [77], {}),
    ],
)
def test_every_kind_of_picture_becomes_rgb_or_grey(tmp_path, form, picture, expected, options):
    picture.save(tmp_path / "a", form, **options)
    x = read(tmp_path / "a", 4, len(expected))
    assert (x == x[:1, :1]).all()
    assert x[0, 0].tolist() == pytest.approx(expected, abs=3 * (form == "jpeg"))


def test_grey_is_the_same_of_generated_and_of_real_images(tmp_path):
    for value in ((250, 0, 0), (0, 250, 0), (0, 0, 250), (10, 120, 70)):
        Image.new("RGB", (8, 8), value).save(tmp_path / "one.png")
        real = read_image(tmp_path / "one.png", 8, 1)
        colour = to_float(read_image(tmp_path / "one.png", 8, 3))[None]
        assert abs(int(to_bytes(fit(colour, (1, 8, 8)))[0, 0, 0, 0]) - int(real[0, 0, 0])) <= 1


# what is refused


@pytest.mark.parametrize("form", FORMATS)
def test_what_pillow_refuses_to_load_is_refused_by_name(tmp_path, form):
    """Of files with a flipped bit or a block of zeros, those are refused that Pillow's own load() refuses."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
    # A PNG's metadata are behind its pixels, whose errors would be lost. Each format takes the options that it knows.
    whole = encoded(noise, form, exif=TURNED, compression="tiff_lzw")
    refused = 0
    for trial in range(60):
        damaged = bytearray(whole)
        at = int(rng.integers(64 if trial % 2 else len(whole)))  # often in the header
        if trial % 3:
            damaged[at] ^= 1 << rng.integers(8)
        else:
            damaged[at : at + 16] = bytes(16)
        (tmp_path / "a").write_bytes(damaged)
        if loads(bytes(damaged)):
            continue
        refused += 1
        with warnings.catch_warnings(action="ignore"), refusal(f"^{tmp_path / 'a'}: "):
            read_image(tmp_path / "a", 8, 3)
    assert refused > 1


def loads(data):
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(data), formats=FORMATS) as image:
            image.load()
    except Exception:
        return False
    return True


def test_what_is_no_picture_of_a_known_white_is_refused(tmp_path, patch):
    for kind in (np.int32, np.float32):
        Image.fromarray(np.ones((8, 8), kind)).save(tmp_path / f"{np.dtype(kind)}.tif")
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("L", (8, 8)).save(tmp_path / "script.jpg", "EPS")  # for which Pillow would start Ghostscript
    for name, said in {
        "int32.tif": "its pixels are numbers of 32 bits",
        "float32.tif": "its pixels are numbers of 32 bits",
        "pipe.png": "it is no regular file; repair or remove it",
        "script.jpg": "its format is not known",
    }.items():
        with refusal(f"{name}: not a whole image: {said}"):
            read_image(tmp_path / name, 8, 3)
    Image.new("L", (8, 8)).save(tmp_path / "mode.png")
    patch("pathlib.Path.read_bytes", mock.Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    with refusal(r"mode.png: cannot be read: Permission denied;"):
        read_image(tmp_path / "mode.png", 8, 3)


def test_an_image_that_unpacks_to_gigabytes_is_refused(tmp_path):
    bomb = bytearray(encoded(Image.new("L", (8, 8))))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (tmp_path / "a.png").write_bytes(bomb)
    with refusal(r"a.png: not a whole image: .*3600000000 pixels.* exceeds limit"):
        read_image(tmp_path / "a.png", 8, 3)
