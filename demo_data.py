"""Draw figures to try the pipeline on: articulated people in the raw layout of Leeds Sports Pose.

Writes  demo/raw/lsp_dataset/images/im0001.jpg, ...  one person each, cropped as LSP's authors crop
        demo/raw/lsp_dataset/joints.mat              (3, 14, FIGURES): x, y, 1 = occluded
Next    python lsp_data.py --raw-dir demo/raw --no-use-lspe --lsp-train-images 1150
"""
import colorsys
import math
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from tqdm import tqdm

from deeppose.arrays import whole
from deeppose.errors import UserError, run
from deeppose.parallel import worker_map
from deeppose.settings import parse_settings
from deeppose.skeletons import LSP

RAW_DIR = "demo/raw"  # the figures go to lsp_dataset/ in it
FIGURES = 1350        # how many to draw
SEED = 0              # each figure depends on this and its own number only
WORKERS = 0           # processes that draw; 0 = one for each core

# drawn so many times larger, then reduced: smooth edges
FINE = 3
MARK = "DRAWN_FIGURES.txt"

# Lengths in heights of the person, after Drillis & Contini's segment tables.
PROPORTIONS = {"shoulder": 0.125, "hip": 0.075, "torso": 0.29, "neck": 0.05, "head": 0.14, "upper_arm": 0.175,
               "lower_arm": 0.15, "upper_leg": 0.24, "lower_leg": 0.235, "foot": 0.08}
# Half widths of a limb at its two ends, in heights.
WIDTHS = {"upper_arm": (0.031, 0.025), "lower_arm": (0.025, 0.018), "upper_leg": (0.050, 0.034),
          "lower_leg": (0.034, 0.022), "foot": (0.022, 0.018), "neck": (0.024, 0.024)}


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if settings.figures < 1:
        raise UserError(f"--figures {settings.figures}: at least one")
    folder = Path(settings.raw_dir, "lsp_dataset")
    write_figures(folder, settings.figures, settings.seed, settings.workers)
    print(f"{settings.figures} figures in {folder}")
    print(f"next: python lsp_data.py --raw-dir {settings.raw_dir} --no-use-lspe --lsp-train-images ...")


def write_figures(folder, count, seed, workers=0):
    """Write images/im0001.jpg ... and joints.mat.

    folder   of the data set; figures drawn there before go
    count    figures
    seed     with a figure's number it decides the figure, whatever the count
    workers  processes; 0 = one for each core
    Raises   UserError where the folder holds anything but drawn figures: real photographs are not written over
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise UserError(f"{folder.resolve()} holds files that demo_data.py did not draw; name another --raw-dir")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("Drawn by demo_data.py, which may replace everything in this folder.\n")
    for old in (folder / "images").glob("im*.jpg"):
        old.unlink()
    joints = np.empty((3, len(LSP.joints), count))
    with worker_map(workers) as parallel:
        tasks = [(folder, number, seed) for number in range(1, count + 1)]
        for number, drawn in enumerate(tqdm(parallel(_write_figure, tasks), desc="drawing", total=count, unit="figure",
                                            leave=False, disable=None)):
            joints[:, :, number] = drawn.T
    with whole(folder / "joints.mat") as temporary, open(temporary, "wb") as file:
        scipy.io.savemat(file, {"joints": joints})


def _write_figure(task):
    folder, number, seed = task
    image, joints = draw_figure(seed, number)
    image.save(folder / "images" / f"im{number:04d}.jpg", quality=92)
    return joints


def draw_figure(seed, number):
    """One image and its joints.

    Returns  PIL RGB image; (14, 3) float64: x, y in image pixels (centres at integers, possibly outside) and
             1 where something covers the joint or the image ends before it, else 0
    """
    random = np.random.default_rng([seed, number])
    height = random.normal(150, 16) * FINE  # of a person standing upright, fine pixels
    person = Person(random, height)
    low, high = person.joints[:, :2].min(0), person.joints[:, :2].max(0)
    margin = random.uniform(0.06, 0.2, 4) * 0.8 * height * 0.5
    if random.random() < 0.15:  # a tight crop that cuts something off
        margin[random.integers(4)] = -random.uniform(0.02, 0.1) * height
    left, top = low - margin[:2]
    width, tall = (np.maximum(high - low + margin[:2] + margin[2:], 40 * FINE) / FINE).astype(int) * FINE
    canvas = _background(random, width, tall)
    draw = ImageDraw.Draw(canvas)
    if random.random() < 0.35:  # somebody else, behind and partly outside
        other = Person(random, height * random.uniform(0.7, 1.1))
        shift = (random.choice([-1, 1]) * random.uniform(0.3, 0.6) * width + width / 2, random.uniform(0.4, 0.7) * tall)
        other.draw(draw, None, np.array(shift) - other.joints[:, :2].mean(0))
    parts = Image.new("L", canvas.size, 0)
    person.draw(draw, ImageDraw.Draw(parts), -np.array([left, top]))
    _occluder(random, draw, ImageDraw.Draw(parts), width, tall)
    image = canvas.resize((width // FINE, tall // FINE), Image.Resampling.BOX)

    fine = person.joints[:, :2] - (left, top)  # continuous: a pixel's left edge is its index
    joints = np.column_stack([fine / FINE - 0.5, np.zeros(len(fine))])
    covered = np.asarray(parts)
    for joint, (x, y) in enumerate(np.floor(fine).astype(int)):
        inside = 0 <= x < width and 0 <= y < tall
        joints[joint, 2] = not inside or covered[y, x] not in person.own_parts(joint)
    return _photograph(random, image), joints


class Person:
    """A pose in space, seen from the front, projected; clothes; and how to draw them.

    joints  (14, 3) LSP's order; x right, y down in fine pixels, z towards the viewer
    """

    def __init__(self, random, height):
        self.random, self.height = random, height
        self.style = _clothes(random)
        size = {name: length * height * random.normal(1, 0.04) for name, length in PROPORTIONS.items()}
        self.size = size
        body = _pose(random, size)
        view = random.random()
        yaw = random.normal(0, 28) if view < 0.68 else random.normal(180, 22) if view < 0.84 else \
            random.choice([-90, 90]) + random.normal(0, 20)
        roll = random.normal(0, 12) if random.random() < 0.88 else random.uniform(-90, 90)
        turn = _rotation("z", roll) @ _rotation("y", yaw)
        # body: x to the person's left, y up, z forward -> image: x right, y down, z towards the viewer
        self.place = {name: (turn @ point) * (1, -1, 1) for name, point in body.items()}
        self.forward = turn @ (0, 0, 1) * (1, -1, 1)
        self.joints = np.array([self.place[name] for name in LSP.joints])

    def own_parts(self, joint):
        """Numbers of the parts that may lie over a joint without hiding it."""
        name = LSP.joints[joint]
        side, kind = name.split("_", 1) if name[1] == "_" else ("", name)
        own = {"ankle": ("lower_leg", "foot"), "knee": ("upper_leg", "lower_leg"), "hip": ("upper_leg",),
               "wrist": ("lower_arm",), "elbow": ("upper_arm", "lower_arm"), "shoulder": ("upper_arm",)}.get(kind)
        if own is None:
            return [self.PARTS.index(part) + 1 for part in ("head", "neck", "torso")]
        torso = [self.PARTS.index("torso") + 1] if kind in ("hip", "shoulder") else []
        return [self.PARTS.index(f"{side}_{part}") + 1 for part in own] + torso

    PARTS = ["head", "neck", "torso"] + [f"{side}_{part}" for side in "rl" for part in
                                         ("upper_arm", "lower_arm", "upper_leg", "lower_leg", "foot")]
    ENDS = {"upper_arm": ("shoulder", "elbow"), "lower_arm": ("elbow", "wrist"), "upper_leg": ("hip", "knee"),
            "lower_leg": ("knee", "ankle"), "foot": ("ankle", "toe")}

    def draw(self, draw, parts, shift):
        """Draw every part from the farthest to the nearest; `parts`, if given, takes each one's number."""
        ends = {f"{side}_{part}": (self.place[f"{side}_{a}"], self.place[f"{side}_{b}"])
                for side in "rl" for part, (a, b) in self.ENDS.items()}
        depth = {name: (a[2] + b[2]) / 2 for name, (a, b) in ends.items()}
        trunk = [self.place[f"{side}_{end}"] for side in "rl" for end in ("shoulder", "hip")]
        depth["torso"] = np.mean([point[2] for point in trunk])
        depth["neck"] = depth["torso"] - 1e-3 if self.forward[2] < 0 else depth["torso"] + 1e-3
        depth["head"] = self.place["head_top"][2] * 0.5 + self.place["neck"][2] * 0.5 + 0.01 * self.height
        for name in sorted(depth, key=depth.get):
            number = self.PARTS.index(name) + 1
            if name == "torso":
                self._torso(draw, parts, shift, number)
            elif name == "head":
                self._head(draw, parts, shift, number)
            elif name == "neck":
                base, top = self.place["neck"], self.place["neck"] * 0.55 + self.place["head_top"] * 0.45
                self._limb(draw, parts, base + (0, 0.02 * self.height, 0), top, WIDTHS["neck"], self.style["skin"],
                           shift, number)
            else:
                kind = name[2:]
                self._limb(draw, parts, *ends[name], WIDTHS[kind], self.style[kind], shift, number)
                if kind == "lower_arm":  # a hand
                    self._disc(draw, parts, self.place[f"{name[0]}_wrist"], 0.021, self.style["skin"], shift, number)

    def _limb(self, draw, parts, start, end, widths, colour, shift, number):
        outline = _capsule(start[:2] + shift, end[:2] + shift, *(w * self.height for w in widths))
        lit = _capsule(start[:2] + shift - 0.006 * self.height, end[:2] + shift - 0.006 * self.height,
                       *(0.68 * w * self.height for w in widths))
        _fill(draw, outline, _shade(colour, 0.78))
        _fill(draw, lit, colour)
        if parts:
            _fill(parts, outline, number)

    def _disc(self, draw, parts, centre, radius, colour, shift, number):
        disc = [(*(centre[:2] + shift), radius * self.height)]
        _fill(draw, (disc, None), colour)
        if parts:
            _fill(parts, (disc, None), number)

    def _torso(self, draw, parts, shift, number):
        r_shoulder, r_hip, l_shoulder, l_hip = (self.place[f"{side}_{end}"][:2] + shift
                                                for side in "rl" for end in ("shoulder", "hip"))
        h = self.height
        neck = self.place["neck"][:2] + shift
        discs = [(*r_shoulder, 0.034 * h), (*l_shoulder, 0.034 * h), (*r_hip, 0.05 * h), (*l_hip, 0.05 * h),
                 (*((r_shoulder + l_shoulder) / 2), 0.055 * h), (*((r_hip + l_hip) / 2), 0.055 * h)]
        outline = (discs, _hull(discs))
        colour, trousers = self.style["shirt"], self.style["upper_leg"]
        _fill(draw, outline, _shade(colour, 0.85))
        inner = [(x, y, 0.72 * r) for x, y, r in discs]
        _fill(draw, (inner, _hull(inner)), colour)
        belt = [(*r_hip, 0.046 * h), (*l_hip, 0.046 * h)]
        _fill(draw, (belt, _hull(belt)), _shade(trousers, 0.9))
        down = (r_hip + l_hip) / 2 - (r_shoulder + l_shoulder) / 2
        across = l_shoulder - r_shoulder
        if self.style["stripes"]:
            for t in np.linspace(0.15, 0.8, 5):
                a = r_shoulder + t * (r_hip - r_shoulder)
                b = l_shoulder + t * (l_hip - l_shoulder)
                draw.line([tuple(a), tuple(b)], fill=self.style["mark"], width=max(1, int(0.014 * h)))
        ahead = self.forward[:2] * 0.06 * h
        if self.forward[2] > 0.15:  # the front: an open collar and a row of buttons
            collar = [neck - 0.12 * across, neck + 0.12 * across, neck + 0.2 * down + ahead]
            draw.polygon([tuple(p) for p in collar], fill=self.style["skin"])
            for t in np.linspace(0.32, 0.85, 5):
                x, y = neck + t * down + ahead
                draw.ellipse([x - 0.008 * h, y - 0.008 * h, x + 0.008 * h, y + 0.008 * h], fill=self.style["mark"])
        elif self.forward[2] < -0.15:  # the back: a broad number panel
            middle = neck + 0.42 * down
            box = [middle + i * 0.26 * across + j * 0.17 * down for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            draw.polygon([tuple(p) for p in box], fill=self.style["mark"])
        if parts:
            _fill(parts, outline, number)

    def _head(self, draw, parts, shift, number):
        top, neck = self.place["head_top"][:2] + shift, self.place["neck"][:2] + shift
        h = self.height
        axis = top - neck
        length = max(np.hypot(*axis), 1e-6)
        centre = neck + axis * 0.62
        outline = _ellipse(centre, axis / length, 0.38 * max(length, 0.12 * h), 0.055 * h)
        draw.polygon(outline, fill=self.style["hair"])
        if parts:
            parts.polygon(outline, fill=number)
        ahead = self.forward
        if ahead[2] > -0.35:  # the face looks where the person faces
            face = centre + ahead[:2] * 0.024 * h - axis / length * 0.012 * h
            wide = 0.046 * h * (0.62 + 0.38 * max(ahead[2], 0))
            draw.polygon(_ellipse(face, axis / length, 0.3 * max(length, 0.12 * h), wide), fill=self.style["skin"])
            side = np.array([-axis[1], axis[0]]) / length
            for eye in (-1, 1):
                x, y = face + ahead[:2] * 0.02 * h + axis / length * 0.012 * h + side * (
                    eye * 0.019 * h * max(ahead[2], 0.2))
                draw.ellipse([x - 0.007 * h, y - 0.007 * h, x + 0.007 * h, y + 0.007 * h], fill=(25, 20, 20))
            a = face + ahead[:2] * 0.02 * h - axis / length * 0.026 * h
            draw.line([tuple(a - side * 0.015 * h), tuple(a + side * 0.015 * h)], fill=(140, 50, 50),
                      width=max(1, int(0.007 * h)))


def _pose(random, size):
    """Points of a body that faces +z with +x to its left and +y up; the pelvis is the origin."""
    kind = random.choice(["stand", "walk", "run", "reach", "squat", "bend"], p=[0.2, 0.22, 0.22, 0.2, 0.08, 0.08])
    lean = {"bend": random.uniform(25, 60), "run": random.normal(15, 7), "squat": random.normal(25, 8)}.get(
        kind, random.normal(3, 5))
    trunk = _rotation("z", random.normal(0, 6)) @ _rotation("x", lean) @ _rotation("y", random.normal(0, 10))
    body = {"neck": trunk @ (0, size["torso"], 0)}
    head = trunk @ _rotation("x", random.normal(-0.3 * lean, 10)) @ _rotation("z", random.normal(0, 9))
    body["head_top"] = body["neck"] + head @ (0, size["neck"] + size["head"], 0)
    phase = random.choice([-1, 1])
    for side, sign in (("r", -1), ("l", 1)):
        body[f"{side}_shoulder"] = body["neck"] + trunk @ (sign * size["shoulder"], -0.1 * size["torso"], 0)
        body[f"{side}_hip"] = np.array((sign * size["hip"], 0.0, 0.0))
        swing, spread, bend = _arm(random, kind, sign * phase)
        upper = trunk @ _direction(swing, spread, sign)
        lower = trunk @ _direction(swing + bend, spread * random.uniform(0.2, 1.0), sign)
        body[f"{side}_elbow"] = body[f"{side}_shoulder"] + size["upper_arm"] * upper
        body[f"{side}_wrist"] = body[f"{side}_elbow"] + size["lower_arm"] * lower
        swing, spread, bend = _leg(random, kind, -sign * phase)
        body[f"{side}_knee"] = body[f"{side}_hip"] + size["upper_leg"] * _direction(swing, spread, sign)
        lower = _direction(swing - bend, spread * 0.6, sign)
        body[f"{side}_ankle"] = body[f"{side}_knee"] + size["lower_leg"] * lower
        body[f"{side}_toe"] = body[f"{side}_ankle"] + size["foot"] * (
            _rotation("y", sign * random.uniform(0, 25)) @ _direction(swing - bend + 80, 0, sign))
    return body


def _arm(random, kind, ahead):
    """Degrees: swing forward, spread to the side, bend of the elbow."""
    if kind == "reach" and random.random() < 0.7 or random.random() < 0.12:
        return random.uniform(-10, 60), random.uniform(60, 165), random.uniform(0, 60)
    if kind == "run":
        return 35 * ahead + random.normal(0, 12), random.uniform(5, 30), random.uniform(60, 110)
    if kind == "walk":
        return 20 * ahead + random.normal(0, 10), random.uniform(3, 22), random.uniform(5, 45)
    return random.normal(12, 22), random.uniform(3, 45), random.uniform(0, 100)


def _leg(random, kind, ahead):
    """Degrees: swing forward, spread to the side, bend of the knee."""
    if kind == "run":
        return (35 * ahead + 12 + random.normal(0, 12), random.uniform(-2, 12),
                random.uniform(15, 60) if ahead > 0 else random.uniform(30, 95))
    if kind == "walk":
        return 18 * ahead + random.normal(3, 7), random.uniform(0, 12), random.uniform(2, 35)
    if kind == "squat":
        swing = random.uniform(45, 95)
        return swing, random.uniform(5, 35), swing + random.uniform(-10, 25)
    return random.normal(4, 8), random.uniform(0, 24), abs(random.normal(6, 8))


def _direction(swing, spread, sign):
    """A limb that hangs down, swung forward and spread to its side; degrees. Unit vector (3,)."""
    return _rotation("z", sign * spread) @ _rotation("x", -swing) @ np.array((0.0, -1.0, 0.0))


def _rotation(axis, degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array({"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                     "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


def _clothes(random):
    skin = random.choice([(241, 206, 178), (224, 172, 132), (198, 134, 90), (141, 85, 52), (96, 60, 40)])
    shirt, trousers, shoes, mark = (_colour(random) for _ in range(4))
    skin = tuple(int(c) for c in skin)
    bare_arms, bare_legs = random.random() < 0.6, random.random() < 0.35
    hair = random.choice([(30, 24, 20), (70, 45, 25), (120, 80, 40), (190, 150, 90), (110, 110, 110)])
    return {"skin": skin, "shirt": shirt, "upper_arm": shirt if random.random() < 0.75 else skin,
            "lower_arm": skin if bare_arms else shirt, "upper_leg": trousers,
            "lower_leg": skin if bare_legs else trousers, "foot": shoes, "hair": tuple(int(c) for c in hair),
            "mark": mark, "stripes": random.random() < 0.25}


def _colour(random, least=0.15, most=0.95):
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(random.random(), random.uniform(0, 0.9),
                                                           random.uniform(least, most)))


def _shade(colour, factor):
    return tuple(int(min(255, c * factor)) for c in colour)


def _background(random, width, tall):
    low, high = (np.array(_colour(random)) for _ in range(2))
    rows = np.linspace(0, 1, tall)[:, None, None]
    base = (low * (1 - rows) + high * rows) * np.ones((1, width, 1))
    coarse = random.normal(0, random.uniform(4, 28), (random.integers(3, 12), random.integers(3, 12), 3))
    coarse = np.stack([np.asarray(Image.fromarray(coarse[..., c].astype(np.float32)).resize(
        (width, tall), Image.Resampling.BICUBIC)) for c in range(3)], -1)
    canvas = Image.fromarray((base + coarse).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(random.integers(0, 9)):
        x, y = random.uniform(-0.2, 1.1) * width, random.uniform(-0.2, 1.1) * tall
        w, h = random.uniform(0.05, 0.5, 2) * (width, tall)
        kind, colour = random.integers(4), _colour(random)
        if kind == 0:
            draw.rectangle([x, y, x + w, y + h], fill=colour)
        elif kind == 1:
            draw.ellipse([x, y, x + w, y + h], fill=colour)
        else:  # sticks as long and thick as limbs
            start = np.array([x, y])
            end = start + random.uniform(-0.35, 0.35, 2) * tall
            _fill(draw, _capsule(start, end, *random.uniform(0.01, 0.03, 2) * tall), colour)
    return canvas


def _occluder(random, draw, parts, width, tall):
    """One figure in four stands behind something."""
    if random.random() < 0.75:
        return
    x, y = random.uniform(0, 1, 2) * (width, tall)
    w, h = random.uniform(0.08, 0.25) * width, random.uniform(0.06, 0.22) * tall
    shape = [x - w, y - h / 2, x + w, y + h / 2]
    name = "ellipse" if random.random() < 0.5 else "rectangle"
    getattr(draw, name)(shape, fill=_colour(random))
    getattr(parts, name)(shape, fill=255)


def _photograph(random, image):
    """Light, sharpness and grain of a camera."""
    image = ImageEnhance.Brightness(image).enhance(random.uniform(0.75, 1.2))
    image = ImageEnhance.Contrast(image).enhance(random.uniform(0.75, 1.2))
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.7)))
    pixels = np.asarray(image, np.float32)
    grain = random.normal(0, random.uniform(0, 7), pixels.shape)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def _capsule(start, end, start_radius, end_radius):
    """Discs and the polygon round them: a limb that tapers."""
    discs = [(*start, start_radius), (*end, end_radius)]
    return discs, _hull(discs)


def _hull(discs):
    """Convex outline of discs (x, y, radius), from the rims' points: a list of (x, y)."""
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    points = np.concatenate([np.column_stack([x + r * np.cos(angles), y + r * np.sin(angles)]) for x, y, r in discs])
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    chains = []
    for ordered in (points, points[::-1]):  # Andrew's monotone chain
        chain = []
        for point in ordered:
            while len(chain) > 1 and _cross(chain[-1] - chain[-2], point - chain[-2]) <= 0:
                chain.pop()
            chain.append(point)
        chains += chain[:-1]
    return [tuple(point) for point in chains]


def _cross(a, b):
    return a[0] * b[1] - a[1] * b[0]


def _fill(draw, shape, colour):
    discs, polygon = shape
    if polygon:
        draw.polygon(polygon, fill=colour)
    for x, y, r in discs:
        draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)


def _ellipse(centre, axis, along, across):
    """24 points of an ellipse turned so that `along` lies on `axis`."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    side = np.array([-axis[1], axis[0]])
    return [tuple(centre + along * math.cos(a) * axis + across * math.sin(a) * side) for a in angles]


if __name__ == "__main__":
    run(main)
