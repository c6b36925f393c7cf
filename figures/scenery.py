"""What surrounds figures: other people, objects, backgrounds; and the camera."""
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .body import SKIN, person
from .shapes import ball, lit, random_colour, tube, turn


def other_person(rng, size, scale):
    """Somebody partly in the picture, mostly behind. Returns quads (M, 4, 3) in image pixels, colours (M, 3)."""
    quads, colours, _, joints = person(rng)
    behind = rng.random() < 0.85
    nearest, farthest = (0.30, 0.60) if behind else (0.50, 0.65)
    aside = rng.choice([-1, 1]) * rng.uniform(nearest, farthest)
    place = np.array([*(size * (0.5 + aside, rng.uniform(0.35, 0.60))), scale * (-3 if behind else 3)])
    middle = (joints.min(0) + joints.max(0)) / 2
    return (quads - middle) * scale * rng.uniform(0.6, 1) + place, colours * rng.uniform(0.7, 1)


def single_object(rng, size, scale):
    """A ball, stick, bar or box, before the person or behind. Returns quads (M, 4, 3) in image pixels, colours."""
    colour = random_colour(rng) if rng.random() < 0.6 else SKIN[rng.integers(len(SKIN))]
    place = np.append(rng.uniform(0, 1, 2) * size, scale * (2 if rng.random() < 0.45 else -2))
    kind = rng.choice(["ball", "stick", "bar", "box"], p=(0.25, 0.40, 0.20, 0.15))
    if kind == "ball":
        part = ball(np.eye(3), place, np.full(3, rng.uniform(0.025, 0.06)) * scale, colour)
    else:
        angle, length, thickness = {
            "stick": (rng.uniform(-180, 180), rng.uniform(0.2, 0.5), rng.uniform(0.012, 0.035)),
            "bar": (rng.choice([0, 90]) + rng.normal(0, 4), 4, rng.uniform(0.008, 0.025)),  # across the picture
            "box": (90 + rng.normal(0, 5), rng.uniform(0.2, 0.5), rng.uniform(0.06, 0.14))}[kind]
        frame = turn("z", angle)
        place[1] = size[1] * rng.uniform(0.85, 1.1) if kind == "box" else place[1]
        length, thickness = length * scale, thickness * scale
        part = tube(frame, place - frame[:, 1] * length / 2, length, (thickness,) * 3, [colour])
    return lit([part], np.eye(3), np.array([-0.4, -0.6, 0.7]), 0.6)[:2]


def background(rng, size, supersampling):
    """What lies behind: a backdrop over a ground, both mottled, with boards, posts, lines and bushes.

    Returns  (h, w, 3) float, supersampled; not clipped
    """
    detail = rng.choice([1, 2, 3], p=(0.4, 0.3, 0.3))  # drawn small and enlarged it is out of focus
    width, height = (int(s) * detail for s in size)
    horizon = rng.uniform(0.3, 0.95) * height
    above, below, ground = (random_colour(rng, 0.55) for _ in range(3))
    if rng.random() < 0.35:
        above, below, ground = np.array([rng.normal((120, 160, 215), 25), rng.normal((200, 215, 230), 20),
                                         rng.normal((95, 130, 60), 25)])  # sky over grass
    y = np.arange(height)[:, None] / horizon
    rows = np.where(y < 1, above + (below - above) * y.clip(0, 1), ground * (0.75 + 0.25 * y))
    picture = Image.fromarray(np.repeat(rows[:, None].clip(0, 255).astype(np.uint8), width, axis=1))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 9)):
        colour = below + (random_colour(rng, 0.8) - below) * rng.uniform(0.2, 1)
        colour = tuple(colour.clip(0, 255).astype(int).tolist())
        x, y = rng.uniform(-0.2, 1) * width, rng.uniform(-0.2, 1) * height
        w, h = rng.uniform(0.08, 0.7) * width, rng.uniform(0.05, 0.4) * height
        kind = rng.choice(["board", "bush", "line", "post", "fence"], p=(0.3, 0.25, 0.2, 0.15, 0.1))
        if kind == "board":
            draw.rectangle((x, y, x + w, y + h), fill=colour)
        elif kind == "bush":
            draw.ellipse((x, y, x + w, y + h), fill=colour)
        elif kind == "line":
            draw.line((x, y, x + w, y + h * rng.normal()), fill=colour, width=int(rng.integers(1, 4)) * detail)
        elif kind == "post":
            draw.rectangle((x, -1, x + 0.03 * w + 2 * detail, max(0, y) + h), fill=colour)
        else:
            for step in np.arange(0, w, 7 * detail):
                draw.line((x + step, y, x + step, y + h), fill=colour, width=detail)
    canvas = (int(size[0]) * supersampling, int(size[1]) * supersampling)
    mottle = np.zeros((canvas[1], canvas[0], 3), np.float32)
    for cells in (5, 25):
        grain = rng.normal(128, 12, (cells * 2, cells, 3)) + rng.normal(0, 30, (cells * 2, cells, 1))
        grain = Image.fromarray(grain.clip(0, 255).astype(np.uint8)).resize(canvas, Image.Resampling.BICUBIC)
        mottle += (np.asarray(grain, np.float32) - 128) * rng.uniform(0.05, 0.6)
    return np.asarray(picture.resize(canvas, Image.Resampling.BICUBIC), np.float32) + mottle


def photograph(rng, image):
    """Lens and sensor: blur, exposure, contrast, colour cast, noise. PIL image in, PIL image out."""
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9)))
    pixels = np.asarray(image, np.float32)
    pixels = (pixels - 128) * rng.uniform(0.65, 1.15) + 128 + rng.normal(0, 14)
    pixels = pixels * rng.normal(1, 0.04, 3) + rng.normal(0, rng.uniform(1, 7), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
