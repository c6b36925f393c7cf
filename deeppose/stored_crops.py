"""Person boxes in images, and the crops round them that step 1 stores.

Frames
    image pixels  x right, y down, centres at integers; an image spans -0.5 ... width - 0.5
    edges         x0, y0, side of a square by its outer edges, counted from the image's corner (image pixels + 0.5)
    crop pixels   = (image pixels + 0.5 - x0) * size / side - 0.5
"""
import errno
import io
import itertools
import math
import os
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from . import archives, near_duplicates
from .archives import Unreadable
from .errors import Failure
from .pixels import RGB

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # whatever the suffix; others start programs
ORIENTATION = 0x0112  # EXIF's tag; from 2 on it turns or mirrors the image, above 4 by a quarter
_IMAGES_PER_TASK = 400     # opening a zip of 10,000 members takes 60 ms; the bar still moves
_LARGEST_CANVAS = 10_000   # side of the square that a crop is cut from, pixels: 400 MB

MEANING = {  # of the arrays, for dataset.json
    "labels": "crop pixels: x right, y down, pixel centres at integers; NaN = not annotated",
    "boxes": "outer edges x0, y0, side of the stored crop in its image, in pixels; of a flipped row in the mirrored "
             "image; crop = (image + 0.5 - x0) * crop_size / side - 0.5",
    "box": "what a network sees at test: the middle 1 / context of the stored crop",
    "head_sizes": "the reference of PCKh, crop pixels; NaN = none",
    "train_split": "0 = train, 1 = validation",
}


def extents(joints):
    """Longer side of each person's joint bounding box. joints (N, J, 2); returns (N,), 0 where no joint is known."""
    low, high = bounds(joints)
    return (high - low).max(1)


def image_boxes(sizes):
    """The square that holds the whole image. sizes (N, 2) width, height; returns edges (N, 3)."""
    sides = sizes.max(1)
    return np.column_stack([sizes / 2 - sides[:, None] / 2, sides])


def joint_boxes(joints, sizes, ratio, least_extent):
    """Squares round the annotated joints.

    joints        (N, J, 2) image pixels, NaN = not annotated
    sizes         (N, 2) image width, height
    ratio         box side in joint extents
    least_extent  taken where a person with missing joints has less: two joints of an arm do not tell a person's size
    Returns       edges (N, 3); without any joint the square lies at the image's centre
    """
    low, high = bounds(joints)
    unseen = np.isnan(joints).all((1, 2))
    centres = np.where(unseen[:, None], sizes / 2, (low + high) / 2 + 0.5)
    missing = np.isnan(joints).any((1, 2))
    sides = ratio * np.maximum(extents(joints), np.where(missing, least_extent, 1))
    return np.column_stack([centres - sides[:, None] / 2, sides])


def enlarge(edges, factor):
    """The same squares, `factor` times as large about their centres. edges (N, 3); returns (N, 3)."""
    sides = edges[:, 2] * factor
    return np.column_stack([edges[:, :2] - (sides - edges[:, 2])[:, None] / 2, sides])


def beside(low, high, sizes):
    """Whether boxes share nothing with their image. low, high: their corners (N, 2), from the image's; sizes: (N, 2) or
    (2,) width, height. Returns (N,) bool; a box that is not known (NaN) is not beside."""
    return ((low >= sizes) | (high <= 0)).any(1)


def vary(edges, shift, scale, generator):
    """Shift and scale squares at random.

    edges      (N, 3)
    shift      largest move along x and y, in the square's sides (number or (N,))
    scale      least and largest factor, drawn evenly in its logarithm
    generator  numpy.random.Generator
    Returns    (N, 3)
    """
    moved = edges.copy()
    moved[:, :2] += generator.uniform(-1, 1, (len(edges), 2)) * shift * edges[:, 2:]
    factors = np.exp(generator.uniform(*np.log(scale), len(edges)))
    return enlarge(moved, factors)


def mirror_edges(edges, widths):
    """The same squares in the mirrored image. edges (N, 3), widths (N,) of the images; returns (N, 3)."""
    return np.column_stack([widths - edges[:, 0] - edges[:, 2], edges[:, 1:]])


def to_crop_px(joints, edges, size):
    """Image pixels -> pixels of a crop of `size`. joints (N, J, 2), edges (N, 3); NaN stays NaN. Returns (N, J, 2)."""
    return (joints + 0.5 - edges[:, None, :2]) * (size / edges[:, None, 2:]) - 0.5


def to_image_px(joints, edges, size):
    """The inverse of `to_crop_px`."""
    return (joints + 0.5) * (edges[:, None, 2:] / size) - 0.5 + edges[:, None, :2]


def cut(image, edges, size, pixels=RGB):
    """One crop, antialiased, padded beyond the image.

    image    PIL image: RGB, or floating-point grey where `pixels` has one channel
    edges    (3,) of the square
    pixels   Pixels of the crop
    Returns  (size, size, C) of pixels.dtype
    """
    x0, y0, side = map(float, edges)
    margin = math.ceil(2 * max(1, side / size))  # reach of the bicubic filter: its neighbours count at the rim as well
    left, top = math.floor(x0) - margin, math.floor(y0) - margin
    width = math.ceil(side) + 1 + 2 * margin
    if width > _LARGEST_CANVAS:  # 4096 is the largest crop
        reduction = math.ceil(width / (_LARGEST_CANVAS - 100))
        return cut(image.reduce(reduction), np.asarray(edges) / reduction, size, pixels)
    canvas = Image.new(image.mode, (width, width), pixels.padding if pixels.channels == 3 else pixels.padding[0])
    canvas.paste(image, (-left, -top))
    inside = (x0 - left, y0 - top, x0 - left + side, y0 - top + side)
    crop = np.asarray(canvas.resize((size, size), Image.Resampling.BICUBIC, box=inside))
    if pixels.channels == 3:
        return crop
    return crop.round().clip(0, 2 ** pixels.bits - 1).astype(pixels.dtype)[..., None]


def survey(paths, members, channels, thumbnails, parallel, upright=False):
    """Decode every image once.

    paths       (N,) the folder, zip or tar of each image
    members     (N,) its name in there
    channels    1 or 3, as the crops shall have
    thumbnails  whether they are wanted
    parallel    map(function, tasks), see deeppose.parallel
    upright     whether one that its EXIF orientation turns is a fault
    Returns     sizes (N, 2) int width, height; thumbnails (N, 32, 32) uint8 or None; faults (N,) None or why it can't
                be read; and of one channel values (N, 3) float64: the bits of a pixel, their mean and mean square
    """
    tasks = [(paths[part][0], members[part], channels, thumbnails, upright) for part in _parts(paths)]
    found = [[], [], [], []]
    with _bar("reading", len(paths)) as bar:
        for results in parallel(_survey, tasks):
            for column, result in zip(found, results, strict=True):
                column.append(result)
            bar.update(len(results[0]))
    sizes, small, faults, values = found
    return (np.concatenate(sizes), np.concatenate(small) if thumbnails else None,
            np.array(list(itertools.chain(*faults)), object), np.concatenate(values))


def write_crops(file, paths, members, edges, flipped, size, pixels, parallel):
    """Cut crops and write them as .npy, (N, size, size, C).

    paths, members, parallel  as in `survey`
    edges                     (N, 3) in the unmirrored images
    flipped                   (N,) bool, the crop is mirrored
    pixels                    Pixels of the crops
    Raises                    Failure where an image can't be read or the disk is full
    """
    shape = (len(paths), size, size, pixels.channels)
    bytes_each = size * size * pixels.channels * pixels.bits // 8
    try:
        start = np.lib.format.open_memmap(file, "w+", pixels.dtype, shape).offset
        _take_space(file)
        tasks = [(paths[part][0], members[part], edges[part], flipped[part], size, pixels, file,
                  start + part.start * bytes_each) for part in _parts(paths)]
        with _bar("cutting crops", len(paths)) as bar:
            for count in parallel(_write, tasks):
                bar.update(count)
    except OSError as error:
        raise Failure(f"{os.path.realpath(file.parent)} can't take crops of {in_bytes(len(paths) * bytes_each)} "
                      f"({error.strerror or error}); make room, or choose a smaller --crop-size") from None


def in_bytes(count):
    """A file's size in words: 1.5 MB."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000 ** power:
            return f"{count / 1000 ** power:.1f} {unit}"
    return f"{count} bytes"


def _take_space(file):
    """Take a file's space on the disk at once: a full one is told now and not after half the crops."""
    if hasattr(os, "posix_fallocate"):
        with open(file, "r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, os.path.getsize(file))
            except OSError as error:  # a disk that can't: writing will tell
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise


def _parts(paths):
    """Slices of at most _IMAGES_PER_TASK rows that lie in one folder or zip."""
    breaks = np.flatnonzero(paths[1:] != paths[:-1]) + 1
    return [slice(low, min(low + _IMAGES_PER_TASK, end)) for start, end in itertools.pairwise([0, *breaks, len(paths)])
            for low in range(start, end, _IMAGES_PER_TASK)]


def _bar(title, count):
    return tqdm(total=count, desc=title, unit="image", leave=False, disable=None)


def _survey(task):
    path, members, channels, wanted, upright = task
    sizes, values = np.zeros((len(members), 2), int), np.zeros((len(members), 3 if channels == 1 else 0))
    thumbnails = np.zeros((len(members) * wanted, near_duplicates.THUMBNAIL, near_duplicates.THUMBNAIL), np.uint8)
    faults = [None] * len(members)
    with archives.opened(path) as read:
        for row, member in enumerate(members):
            try:
                image = decode(read, member, channels, upright)
            except Unreadable as error:
                faults[row] = str(error)
                continue
            sizes[row] = image.size
            if channels == 1:
                depth = np.asarray(image, np.float64)
                values[row] = bits_of(image), depth.mean(), np.square(depth).mean()
            if wanted:
                thumbnails[row] = near_duplicates.thumbnail(image)
    return sizes, thumbnails, faults, values


def _write(task):
    path, members, edges, flipped, size, pixels, file, position = task
    last, image = None, None
    # written, not mapped: to write to a map on a full disk kills the process, and written pages of it count as memory
    with archives.opened(path) as read, open(file, "r+b") as stream:
        stream.seek(position)
        for member, square, mirrored in zip(members, edges, flipped, strict=True):
            if member != last:  # several persons may share one
                try:
                    last, image = member, decode(read, member, pixels.channels)
                except Unreadable as error:  # `survey` could read it
                    raise Failure(f"{path}: {member} can't be read any more ({error}); run again") from None
            crop = cut(image, square, size, pixels)
            stream.write((crop[:, ::-1] if mirrored else crop).tobytes())
    return len(members)


def decode(read, member, channels=3, upright=False):
    """An image as it is stored, whatever its EXIF orientation.

    Returns  as RGB, see `opaque`; or of one channel, 32-bit floating-point grey whose `info` tells its bits
    Raises   Unreadable; upright: also where its EXIF orientation turns it
    """
    content = read(member)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about a file that can be read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if upright and image.getexif().get(ORIENTATION, 1) not in (0, 1):
                    raise Unreadable("its EXIF orientation turns it, and whether its joints are turned as well nobody "
                                     "tells; save it upright")
                return one_channel(image) if channels == 1 else opaque(eight_bits(image), RGB.padding)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("not an image") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unreadable(f"more than {Image.MAX_IMAGE_PIXELS // 10 ** 6} million pixels; scale it down") from None
    except Exception as error:  # a broken image makes Pillow raise nearly anything
        raise Unreadable(archives.in_words(error)) from None


def opaque(image, background):
    """As RGB, laid over a colour where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def bits_of(image):
    """Bits of a pixel as they were in the file of an image that `decode` gave with one channel."""
    return image.info["bits"]


def one_channel(image):
    """Grey values or depths as they are; of colours only such as are grey all the same."""
    if _is_deep(image):
        values, bits = _sixteen_bits(image), 16
    elif image.mode == "L":
        values, bits = np.asarray(image), 8
    else:
        colours = np.asarray(image.convert("RGB"))
        if (colours != colours[..., :1]).any():
            raise ValueError(f"an image in colour ({image.mode}), expected one channel")
        values, bits = colours[..., 0], 8
    grey = Image.fromarray(values.astype(np.float32))
    grey.info["bits"] = bits
    return grey


def eight_bits(image):
    """Grey values of 16 bits, which Pillow would clip at 255, by their upper 8; other images as they are."""
    return Image.fromarray((_sixteen_bits(image) >> 8).astype(np.uint8)) if _is_deep(image) else image


def _is_deep(image):
    if image.mode == "F":
        raise ValueError("an image of floating-point numbers; save it with 8 or 16 bits")
    return image.mode == "I" or image.mode.startswith("I;16")


def _sixteen_bits(image):
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"grey values of {values.min()} to {values.max()}; save it with 8 or 16 bits")
    return values


def bounds(joints):
    """Corners of the joint bounding boxes, (N, 2) each; 0 where no joint is known."""
    unseen = np.isnan(joints).all((1, 2))[:, None]
    low = np.where(np.isnan(joints), np.inf, joints).min(1)
    high = np.where(np.isnan(joints), -np.inf, joints).max(1)
    return np.where(unseen, 0, low), np.where(unseen, 0, high)
