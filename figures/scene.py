"""Photographs of figures: one person cropped closely, or several in a larger picture."""
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from deeppose.skeletons import LSP

from .body import COVER, person
from .scenery import background, other_person, photograph, single_object

SUPERSAMPLING = 3
SCENE_SUPERSAMPLING = 2  # a scene has ten times a figure's pixels


@dataclass
class Scene:
    """A photograph of P figures with J joints each; image pixels, centres at integers from 0.

    image    PIL RGB image
    joints   (P, J, 2) float64, possibly outside the image
    visible  (P, J) bool; False = hidden by something, or outside
    heads    (P, 4) float64, the heads' boxes: left, top, right and bottom edge, possibly outside
    boxes    (P, 4) float64, the figures' boxes, likewise
    """
    image: Image.Image
    joints: np.ndarray
    visible: np.ndarray
    heads: np.ndarray
    boxes: np.ndarray


def draw_figure(seed, number):
    """Draw one figure.

    Returns  PIL RGB image; joints (14, 3) float64 in LSP's order: x, y in image pixels (centres at integers, possibly
             outside), 1 = occluded or outside
    """
    rng = np.random.default_rng((seed, number))
    quads, colours, ends, joints = person(rng)
    low, high = joints[:, :2].min(0), joints[:, :2].max(0)
    scale = rng.triangular(112, 140, 165) / (high - low).max()  # image pixels in a height
    before, after = rng.uniform((14, 12), (34, 26)), rng.uniform((14, 14), (34, 30))
    if rng.random() < 0.12:  # a tight crop cuts off hands, feet or the head
        margins, axis = (before, after)[rng.integers(2)], rng.integers(2)
        margins[axis] = -rng.uniform(0.03, 0.10) * (high - low)[axis] * scale
    size = np.maximum(np.round((high - low) * scale + before + after), 40).astype(int)
    place = np.append(before - low * scale, 0)

    parts = [(quads * scale + place, colours)]
    parts += [other_person(rng, size, scale) for _ in range(rng.choice(3, p=(0.62, 0.28, 0.10)))]
    parts += [single_object(rng, size, scale) for _ in range(rng.choice(4, p=(0.40, 0.35, 0.17, 0.08)))]
    quads, colours, order = far_first(parts)
    painted = paint(quads[..., :2], size, SUPERSAMPLING)
    image = coloured(painted, colours, background(rng, size, SUPERSAMPLING)).reduce(SUPERSAMPLING)
    joints = joints * scale + place
    occluded = hidden(joints, cover_of(LSP.joints, COVER) * scale, painted, quads, _padded(ends, order), SUPERSAMPLING)
    return photograph(rng, image), np.column_stack([joints[:, :2], occluded])


def draw_scene(rng, size, count, names, creature=person, cover=COVER, head="head_top"):
    """Draw several figures side by side, at most a little over each other, before and behind objects.

    rng       numpy.random.Generator
    size      width and height of the image, pixels
    count     how many figures
    names     J joints, see `body.person`; the picture is the same whichever are asked for
    creature  function (rng, names) that makes a figure as `body.person` does
    cover     bare joint name -> how far in front of it something must lie to hide it, figure's units
    head      the joint whose limbs are the head
    Returns   Scene
    """
    size = np.array(size)
    figures, nearness = [], rng.permutation(count)
    for slot in range(count):
        quads, colours, ends, joints = creature(rng, (*names, head))
        low, high = quads[..., :2].min((0, 1)), quads[..., :2].max((0, 1))
        room = size * (1.25 / count if count > 1 else 0.95, 0.95)
        scale = min(rng.uniform(0.55, 0.95) * size[1] / (high - low)[1], room[0] / (high - low)[0])
        free = size - (high - low) * scale
        middle = np.array([(slot + 0.5 + rng.normal(0, 0.08)) / count, 0.5]) * size
        middle[1] += rng.uniform(-0.5, 0.5) * free[1]
        if rng.random() < 0.12:  # the image cuts something off
            middle[1] += rng.choice([-1, 1]) * (free[1] / 2 + rng.uniform(0.03, 0.12) * size[1])
        place = np.append(middle - (low + high) / 2 * scale, 0)
        depth = np.array([0, 0, (nearness[slot] - count) * 3 * size[1]])  # objects lie before all figures, or behind
        figures.append((quads * scale + place + depth, colours, ends, joints * scale + place + depth, scale))

    unit = np.mean([figure[-1] for figure in figures])
    parts = [figure[:2] for figure in figures]
    for _ in range(rng.choice(4, p=(0.40, 0.35, 0.17, 0.08))):
        quads, colours = single_object(rng, size, unit)
        behind = 10 * count * size[1] * (quads[..., 2].mean() < 0)
        parts.append((quads - np.array([0, 0, behind]), colours))
    shown, colours, order = far_first(parts)
    painted = paint(shown[..., :2], size, SCENE_SUPERSAMPLING)
    behind = _bytes(background(rng, size, 1)).repeat(SCENE_SUPERSAMPLING, 0).repeat(SCENE_SUPERSAMPLING, 1)
    image = coloured(painted, _bytes(colours), behind).reduce(SCENE_SUPERSAMPLING)
    visible, first = [], 0
    for quads, _, ends, joints, scale in figures:
        own = _padded(ends[:, :-1], order, first)
        visible.append(~hidden(joints[:-1], cover_of(names, cover) * scale, painted, shown, own, SCENE_SUPERSAMPLING))
        first += len(quads)
    return Scene(photograph(rng, image), np.stack([joints[:-1, :2] for _, _, _, joints, _ in figures]),
                 np.stack(visible), np.stack([_box(quads[ends[:, -1]]) for quads, _, ends, _, _ in figures]),
                 np.stack([_box(quads) for quads, *_ in figures]))


def far_first(parts):
    """Things as one: quads (M, 4, 3) and colours (M, 3), those that are painted first before, and that order (M,)."""
    quads, colours = (np.concatenate(each) for each in zip(*parts))
    order = np.argsort(quads[..., 2].mean(1), kind="stable")
    return quads[order], colours[order], order


def _padded(ends, order, first=0):
    """(M, J) bool in the order of painting: `ends` (K, J) of the quads from `first` on; False of the others."""
    padded = np.zeros((len(order), ends.shape[1]), bool)
    padded[first:first + len(ends)] = ends
    return padded[order]


def _box(quads):
    """The edges of what quads (M, 4, 3) cover: left, top, right, bottom."""
    return np.concatenate([quads[..., :2].min((0, 1)), quads[..., :2].max((0, 1))])


def paint(polygons, size, supersampling):
    """Draw polygons over each other. polygons (M, 4, 2) image pixels; returns (h, w) supersampled: 0, or 1 + row."""
    picture = Image.new("I", tuple(int(s) * supersampling for s in size))
    draw = ImageDraw.Draw(picture)
    corners = ((polygons + 0.5) * supersampling - 0.5).reshape(len(polygons), 8)  # (M, 4, 2) -> (M, 8)
    for row, corner in enumerate(corners.tolist()):
        draw.polygon(corner, fill=row + 1)
    return np.asarray(picture)


def coloured(painted, colours, behind):
    """The image of what is painted (h, w) in the quads' colours (M, 3) over what lies behind (h, w, 3)."""
    colours = np.concatenate([np.zeros_like(colours[:1]), colours])
    return Image.fromarray(_bytes(np.where(painted[..., None] > 0, colours[painted], behind)))


def _bytes(values):
    return values if values.dtype == np.uint8 else values.clip(0, 255).astype(np.uint8)


def cover_of(names, cover):
    """(J,) `cover` of joints; right and left ones are named alike there."""
    bare = [name.removeprefix("r_").removeprefix("l_").removeprefix("right_").removeprefix("left_") for name in names]
    return np.array([cover[name] for name in bare])


def hidden(joints_px, cover_px, painted, quads, ends, supersampling):
    """Which joints are hidden or outside the image, (J,) bool.

    joints_px  (J, 3) image pixels, as are quads (M, 4, 3)
    cover_px   (J,) what lies further in front of a joint than this hides it, unless its limb ends in the joint
    painted    (h, w) what `paint` returns for the quads
    ends       (M, J) bool, whether a quad's limb ends in the joint
    """
    height, width = painted.shape
    column, row = np.floor((joints_px[:, :2] + 0.5) * supersampling).astype(int).T
    outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    seen = painted[row.clip(0, height - 1), column.clip(0, width - 1)] - 1  # -1 is the background
    covered = quads[seen, :, 2].max(1) > joints_px[:, 2] + cover_px
    return outside | (covered & (seen >= 0) & ~ends[seen, np.arange(len(seen))])
