"""Found poses drawn over a photograph: the person's right, left and middle in colours, what is in doubt faded."""
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
STEPS = (0, -1, 1, -2, 2)      # lines up or down that a joint's name may move out of another's way


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
    shown = [(pose + 0.5) * scale - 0.5 for pose in poses]
    for pose, doubt in zip(shown, faded, strict=True):
        draw_pose(picture, pose, skeleton, np.where(doubt, FADED, 1.0))
    if names:  # after all poses, which would cover them
        write_names(picture, shown, skeleton)
    return picture


def on_screen(image):
    """A photograph's image as RGB; see `looks.on_screen`."""
    if image.mode == "RGB":
        return image
    values = np.asarray(image)
    return Image.fromarray(looks.on_screen(values.astype(np.uint8 if bits_of(image) == 8 else np.uint16)[:, :, None]))


def draw_pose(picture, joints, skeleton, opacity):
    """Draw one pose onto a picture.

    joints   (J, 2) picture pixels; NaN = missing
    opacity  (J,) 0 ... 1; a limb has that of its faintest end
    """
    known = np.isfinite(joints).all(1)
    if not known.any():
        return
    reach = 4 * max(picture.size)  # a wild prediction is out of sight all the same
    joints = np.where(known[:, None], np.clip(joints, -reach, 2 * reach), np.nan)
    width = line_width(joints)
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


def line_width(joints):
    """Of a pose's lines, in picture pixels: joints (J, 2), NaN = missing, but not all of them."""
    extent = np.nanmax(joints, axis=0) - np.nanmin(joints, axis=0)
    return float(np.clip(extent.max() / LINES_PER_PERSON, THINNEST, THICKEST))


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


def write_names(picture, poses, skeleton):
    """Write the name of each joint in the picture beside it, where it covers least of joints and other names.

    poses  list of (J, 2) picture pixels; NaN = missing
    """
    from matplotlib import get_data_path  # only here: its font has more letters than Pillow's
    poses = [joints for joints in poses if np.isfinite(joints).any()]
    draw, taken = ImageDraw.Draw(picture), np.vstack([np.empty((0, 4)), *(
        np.hstack([joints - line_width(joints), joints + line_width(joints)]) for joints in poses)])
    taken = taken[np.isfinite(taken).all(1)]
    for joints in poses:
        width = line_width(joints)
        font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", max(10, round(2.5 * width)))
        stroke = max(1, round(width / 2))
        for joint in joints[:, 1].argsort():  # from the top down
            (x, y), name = joints[joint].tolist(), skeleton.joints[joint]
            if not (0 <= x < picture.width and 0 <= y < picture.height):
                continue
            places = _places(x, y, 2 * width, font.getlength(name), sum(font.getmetrics()) + stroke, picture.width,
                             skeleton.side([name]) == "right")
            boxes = np.array([draw.textbbox(at, name, font, anchor, stroke_width=stroke) for at, anchor in places])
            beyond = (boxes[:, 1] < 0) | (boxes[:, 3] > picture.height)
            best = int((overlap(boxes, taken) + 1e9 * beyond).argmin())  # the first of the least: the nearest
            taken, (low, high) = np.vstack([taken, boxes[best]]), boxes[best].reshape(2, 2)
            if places[best][0][1] != y:  # a line leads to a name that had to move
                draw.line([(x, y), tuple(np.clip((x, y), low, high).tolist())], INK)
            draw.text(places[best][0], name, INK, font, places[best][1], stroke_width=stroke, stroke_fill=OUTLINE)


def _places(x, y, away, length, line, width, left):
    """Where a joint's name may stand, the best first: ((x, y), anchor) beside it, then so many lines up or down.

    x, y          the joint, picture pixels
    away          from the joint to the name beside it
    length, line  the name's width and height
    width         of the picture, which the name shall not leave
    left          whether its place is on the left, as of the person's right seen from the front
    """
    ways = [("rm", x - away, x - away - length), ("lm", x + away, x + away)]  # and where the name begins
    ways = [*(ways if left else ways[::-1]), ("mm", x, x - length / 2)]
    inside = [way[:2] for way in ways if 0 < way[2] < width - length] or [ways[-1][:2]]
    return [((at, y + step * line), anchor) for step in STEPS for anchor, at in inside
            if step or anchor != "mm" or len(inside) == 1]


def overlap(boxes, others):
    """How much of each box others lie on: (N, 4) and (M, 4) left, top, right, bottom -> (N,) area."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return (high - low).clip(0).prod(2).sum(1)


def save_overlay(path, picture):
    """Write a picture whole, as its name says: JPEG or PNG. Raises Failure."""
    jpeg = str(path).lower().endswith((".jpg", ".jpeg"))
    with whole(path) as temporary:
        picture.save(temporary, **{"format": "JPEG", "quality": 90} if jpeg else
                     {"format": "PNG", "compress_level": 3})
