"""Found poses drawn over a photograph: the person's right, left and middle in colours, what is in doubt faded."""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import looks
from .arrays import whole
from .looks import COLOURS, OUTLINE, segments
from .stored_crops import bits_of

INK = (255, 255, 255)

SMALLEST, LARGEST = 400, 2000  # longer side of an overlay, pixels: small photographs are enlarged, large ones reduced
SMOOTHING = 3                  # lines are drawn so many times larger and reduced, which smooths them
LINES_PER_PERSON = 55          # the extent of a pose, in widths of its lines
THINNEST, THICKEST = 2.0, 36.0  # lines, overlay pixels
FADED = 0.35                   # opacity of what is in doubt


def overlay(photo, poses, skeleton, faded, names=False, smallest=SMALLEST):
    """A picture of a photograph with its persons' poses.

    photo     Photo
    poses     (P, J, 2) image pixels
    skeleton  Skeleton of them
    faded     (P, J) bool, the joints that are in doubt
    names     whether each joint's name is written beside it
    smallest  longer side to which a smaller photograph is enlarged, pixels
    Returns   PIL image, RGB
    """
    picture = on_screen(photo.image)
    side = max(picture.size)
    if not smallest <= side <= LARGEST:
        scale = min(max(side, smallest), LARGEST) / side
        picture = picture.resize([max(1, round(scale * length)) for length in picture.size], Image.Resampling.BICUBIC)
    elif picture is photo.image:
        picture = picture.copy()
    # image pixels to those of the picture, centres at integers in both
    scale = np.array(picture.size) / photo.size
    for pose, doubt in zip(poses, faded, strict=True):
        draw_pose(picture, (pose + 0.5) * scale - 0.5, skeleton, np.where(doubt, FADED, 1.0), names)
    return picture


def on_screen(image):
    """A photograph's image as RGB; see `looks.on_screen`."""
    if image.mode == "RGB":
        return image
    values = np.asarray(image)
    return Image.fromarray(looks.on_screen(values.astype(np.uint8 if bits_of(image) == 8 else np.uint16)[:, :, None]))


def draw_pose(picture, joints, skeleton, opacity, names=False):
    """Draw one pose onto a picture.

    joints   (J, 2) picture pixels; NaN = missing
    opacity  (J,) 0 ... 1; a limb has that of its faintest end
    """
    known = np.isfinite(joints).all(1)
    if not known.any():
        return
    reach = 4 * max(picture.size)  # a wild prediction is out of sight all the same
    joints = np.where(known[:, None], np.clip(joints, -reach, 2 * reach), np.nan)
    width = np.clip(np.ptp(joints[known], axis=0).max() / LINES_PER_PERSON, THINNEST, THICKEST)
    margin = 3 * width
    low = np.maximum(np.floor(joints[known].min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(joints[known].max(0) + margin) + 1, picture.size).astype(int)
    if (high <= low).any():
        return
    size = tuple((high - low).tolist())
    marks = [(points - low, COLOURS[skeleton.side(of)], strength) for points, of, strength
             in _marks(joints, skeleton, opacity)]
    corner, border = tuple(low.tolist()), max(1.0, width / 3)
    picture.paste(OUTLINE, corner, _mask(size, marks, width / 2 + border))
    colours = Image.new("RGB", size)
    draw = ImageDraw.Draw(colours)
    for points, colour, _ in marks:  # wide enough for the rim that the mask smooths
        _draw(draw, points, colour, width / 2 + 1)
    picture.paste(colours, corner, _mask(size, marks, width / 2))
    if names:
        _write_names(picture, joints, skeleton, width)


def _marks(joints, skeleton, opacity):
    """What a pose is drawn by, faint things first: points (1 or 2, 2), the joints' names, opacity."""
    marks = [(ends, names, min(opacity[skeleton.index(name)] for name in names))
             for ends, names in segments(joints, skeleton)]
    marks += [(joint[None], [name], strength) for joint, name, strength in zip(joints, skeleton.joints, opacity)]
    marks = [mark for mark in marks if np.isfinite(mark[0]).all()]
    return sorted(marks, key=lambda mark: mark[2])


def _mask(size, marks, half_width):
    """Opacity (size) of marks, drawn large and reduced."""
    large = Image.new("L", (size[0] * SMOOTHING, size[1] * SMOOTHING))
    draw = ImageDraw.Draw(large)
    for points, _, strength in marks:
        _draw(draw, (points + 0.5) * SMOOTHING - 0.5, round(255 * strength), half_width * SMOOTHING)
    return large.reduce(SMOOTHING)


def _draw(draw, points, colour, half_width):
    """A line between two points (2, 2) with round ends, or a dot, half as wide again, at one (1, 2)."""
    if len(points) == 2:
        draw.line([tuple(point) for point in points.tolist()], colour, max(1, round(2 * half_width)))
    radius = half_width * (1.5 if len(points) == 1 else 1)
    for x, y in points.tolist():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _write_names(picture, joints, skeleton, width):
    from matplotlib import get_data_path  # only here: its font has more letters than Pillow's
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", max(10, round(2.5 * width)))
    draw = ImageDraw.Draw(picture)
    for (x, y), name in zip(joints.tolist(), skeleton.joints, strict=True):
        if not math.isfinite(x) or not math.isfinite(y):
            continue
        left = skeleton.side([name]) == "right"  # seen from the front, the person's right is on the left
        room = 2 * width + font.getlength(name)
        left = x > room and (left or x + room > picture.width)
        draw.text((x - 2 * width if left else x + 2 * width, y), name, INK, font, anchor="rm" if left else "lm",
                  stroke_width=max(1, round(width / 2)), stroke_fill=OUTLINE)


def save_overlay(path, picture):
    """Write a picture whole, as its name says: JPEG or PNG. Raises Failure."""
    jpeg = str(path).lower().endswith((".jpg", ".jpeg"))
    with whole(path) as temporary:
        picture.save(temporary, **{"format": "JPEG", "quality": 90} if jpeg else
                     {"format": "PNG", "compress_level": 3})
