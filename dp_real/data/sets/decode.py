"""Decodes image files: to colour or grey, upright, resized and cropped to a square."""

from io import BytesIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.sets.encoded import EncodedImage, read_encoded

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""


FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The only formats that Pillow may open, whatever a file is called. For others it would start programs (EPS)."""


def read_image(source: EncodedImage, size: int, channels: int, resize: int = 0) -> Tensor:
    """Read an image as uint8 [channels, size, size], upright by EXIF, and with transparent pixels over white.

    The shorter side is resized to `resize` pixels, and the middle is taken. `resize` must be at least `size`, as in
    ImageNet's usual 256 for 224, or 0 for `size`. Raises InputError for a broken image, and for one that is too large.
    """
    try:
        with Image.open(BytesIO(read_encoded(source)), formats=FORMATS) as file:
            file.load()  # before the metadata are read, which would load it, too, and hide what is broken
            image = _opaque(_of_8_bits(_upright(file)))
            image = image.convert("RGB" if channels == 3 else "L")
            # Cropping first resizes fewer pixels. `bleed` is the share that is cut off at each of the four sides.
            bleed = (1 - size / (resize or size)) / 2
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC, bleed=bleed)
    except (Image.DecompressionBombError, MemoryError) as error:
        reason = str(error) or "memory ran out"
        raise InputError(f"{source}: too large an image: {reason}; save it with fewer pixels, or remove it") from error
    except Exception as error:  # what Pillow raises on a broken file depends on where it is broken
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{source}: not a whole image: {reason}; repair or remove it") from error
    pixels = np.array(image).reshape(size, size, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says, if that can be read.

    ImageOps.exif_transpose also rewrites the EXIF block, and fails if another entry is broken.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # what Pillow raises on a broken block depends on where it is broken
        return image
    return image.transpose(TRANSPOSITIONS[orientation]) if orientation in TRANSPOSITIONS else image


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Scale pixels of 16 bits to 8 bits. Raises ValueError for pixels of 32 bits, whose white level is not known.

    Pillow's convert() would clip both instead of scaling them. A TIFF may say that it uses 12 of the bits.
    """
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
        return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are numbers of 32 bits; save it with 8 or 16")
    return image


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
