"""Anybody's photographs, as networks look at them: upright, RGB or of one channel, large ones reduced."""
import os
import stat
import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from .archives import Unreadable, in_words
from .errors import Failure
from .stored_crops import FORMATS, ORIENTATION, bits_of, eight_bits, one_channel, opaque

QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF's orientation; beyond 8 there is none
LARGEST = 178_000_000  # pixels of an image; some 500 MB where it can't be reduced while it is read


@dataclass
class Photo:
    """image      PIL image, upright: RGB, or floating-point grey for networks of one channel
    size       (width, height) of the upright photograph, image pixels
    reduction  image pixels along a side for one of `image`
    path       of its file; None where there is none to read again
    """
    image: Image.Image
    size: tuple
    reduction: int = 1
    path: str | None = None

    def at(self, least_side, pixels):
        """The photograph with its longer side reduced by a power of two, to `least_side` or more: image and reduction.

        pixels  Pixels that it was read with, with which it is read again where it was reduced too far
        Raises  Failure where it can't be read again
        """
        wanted = reduction_to(max(self.size), least_side)
        if wanted > self.reduction:
            return self.image.reduce(wanted // self.reduction), wanted
        if wanted == self.reduction or self.path is None:
            return self.image, self.reduction
        try:
            return read_photo(self.path, pixels, least_side).image, wanted
        except Unreadable as error:
            raise Failure(f"{self.path} can't be read any more ({error}); run again") from None


def read_photo(path, pixels, least_side=None):
    """Read a photograph, its EXIF orientation applied.

    pixels      Pixels that it shall have; transparent parts get their padding, as what is beyond the image does
    least_side  of the longer side, to which a larger one may be reduced by a power of two; None = as it is
    Returns     Photo
    Raises      Unreadable
    """
    try:
        if not os.path.exists(path):
            raise Unreadable("a link to what is not there" if os.path.islink(path) else "not there")
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a FIFO would wait for ever
            raise Unreadable("no regular file")
        if not os.path.getsize(path):
            raise Unreadable("an empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about a file that can be read
            with Image.open(path, formats=FORMATS) as image:
                return _photo(image, path, pixels, least_side)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("not an image, or of a kind that is not read here") from None
    except Image.DecompressionBombError:
        raise Unreadable(f"more than {LARGEST // 10 ** 6} million pixels; scale it down") from None
    except Exception as error:  # a broken image makes Pillow raise nearly anything
        raise Unreadable(in_words(error)) from None


def _photo(image, path, pixels, least_side):
    if image.width * image.height > LARGEST:
        raise Image.DecompressionBombError
    whole, reduction = image.size, reduction_to(max(image.size), least_side)
    orientation = image.getexif().get(ORIENTATION, 1)
    # a JPEG is read at 1/2, 1/4 or 1/8 in less time; what is over at its end would come first in one that is turned
    if reduction > 1 and image.format in ("JPEG", "MPO") and (
            orientation == 1 or not any(side % reduction for side in whole)):
        image.draft(None, tuple(max(1, side // reduction) for side in whole))
    image.load()
    drafted = round(whole[0] / image.width)
    if drafted > 1 and orientation in QUARTER_TURNS:  # the sides will be exchanged
        whole = whole[::-1]
    ImageOps.exif_transpose(image, in_place=True)
    plain = one_channel(image) if pixels.channels == 1 else opaque(eight_bits(image), pixels.padding)
    if pixels.channels == 1 and bits_of(plain) != pixels.bits:
        raise Unreadable(f"{bits_of(plain)} bits a pixel; the model takes {pixels.bits}")
    size = whole if drafted > 1 else plain.size
    return Photo(plain.reduce(reduction // drafted) if reduction > drafted else plain, size, reduction, path)


def reduction_to(side, least_side):
    """The largest power of two by which a side can be divided and stays `least_side` pixels or more; 1 for None."""
    reduction = 1
    while least_side and side // (2 * reduction) >= least_side:
        reduction *= 2
    return reduction
