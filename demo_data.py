"""Draw articulated human figures into LSP's raw layout, for the six steps to run on without any download.

Writes  demo/raw/lsp_dataset/images/im0001.jpg ...  a person each, cropped as LSP's authors crop
        demo/raw/lsp_dataset/joints.mat             joints in image pixels; row 3: 1 = occluded or outside the image
Next    python lsp_data.py --raw-dir demo/raw --train-on lsp
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load ends in a line

import colorsys
import io
import os
import shutil
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from deeppose.claims import claimed
from deeppose.parallel import worker_map
from deeppose.settings import next_command, parse_settings
from deeppose.skeletons import LSP

RAW_DIR = "demo/raw"  # folder of the raw data; the figures go to its lsp_dataset/, in place of older figures
FIGURES = 1350        # 1 ... 1000000: figures to draw
SEED = 0              # 0 ... 4294967295: another seed, other figures; figure k does not depend on how many there are
WORKERS = 0           # 0 ... 61: processes that draw; 0 = one for each core

FIGURES_PER_TASK = 25
HEADER = b"MATLAB 5.0 MAT-file, figures drawn by demo_data.py"
SUPERSAMPLING = 3

# Three axes throughout: x to the image's right, y down, z towards the viewer, in heights of the person. At rest the
# person faces the viewer upright, so that x also points to the person's left. The camera looks along z from afar.

# pose: how often, spine's lean forward, then for either side of the body, in degrees: thigh forward, thigh outward,
# knee, upper arm forward, upper arm outward, upper arm turned inward, elbow. The sides are exchanged in half the cases.
POSES = {
    "stand":     (16, 2, (3, 5, 4, 2, 10, 10, 18), (0, 5, 4, 2, 10, 10, 18)),
    "akimbo":    (6, 2, (4, 8, 5, -15, 45, 75, 95), (0, 6, 5, -15, 45, 75, 95)),
    "walk":      (14, 4, (24, 2, 10, -22, 10, 10, 22), (-16, 2, 24, 24, 10, 10, 35)),
    "run":       (16, 10, (58, 3, 75, -42, 18, 15, 85), (-18, 2, 50, 35, 16, 25, 90)),
    "cheer":     (8, -2, (4, 9, 6, 10, 150, 0, 22), (0, 9, 6, 10, 150, 0, 22)),
    "surrender": (5, 0, (4, 7, 5, 0, 80, -85, 75), (0, 7, 5, 0, 80, -85, 75)),
    "throw":     (9, 8, (38, 8, 35, 0, 120, -60, 55), (-18, 10, 15, 45, 35, 10, 35)),
    "kick":      (6, -8, (65, 8, 20, -20, 50, 10, 25), (-6, 6, 14, 30, 55, 20, 30)),
    "star":      (6, 0, (2, 26, 8, 0, 105, 0, 15), (2, 26, 8, 0, 105, 0, 15)),
    "guard":     (6, 18, (30, 20, 45, 45, 25, 45, 80), (28, 20, 45, 45, 25, 45, 80)),
    "squat":     (5, 28, (80, 24, 105, 45, 20, 20, 50), (80, 24, 105, 45, 20, 20, 50)),
    "bent":      (3, 65, (18, 8, 25, 60, 10, 0, 15), (10, 8, 20, 60, 10, 0, 15)),
}
SPREAD = np.array([9, 5, 9, 16, 12, 22, 18.])
LOWEST, HIGHEST = np.array([[-40, -2, 0, -60, 4, -110, 3], [110, 55, 135, 170, 175, 100, 145.]])

# what lies further in front of a joint than this, in heights, hides it, unless it is a limb that ends in the joint
COVER = {"ankle": 0.045, "knee": 0.06, "hip": 0.09, "wrist": 0.035, "elbow": 0.042, "shoulder": 0.065, "neck": 0.08,
         "head_top": 0.09}

SKIN = np.array([[255, 224, 196], [241, 194, 155], [224, 172, 125], [198, 134, 88], [141, 85, 48], [92, 56, 34]])
HAIR = np.array([[30, 24, 20], [62, 40, 24], [104, 68, 38], [188, 150, 86], [142, 62, 30], [150, 146, 140]])
RINGS, SIDES = 9, 12


def main(argv=None):
    settings = parse_settings(globals(), argv)
    folder = Path(settings.raw_dir) / "lsp_dataset"
    with claimed(settings.raw_dir, "figures"):
        write_figures(folder, settings.figures, settings.seed, settings.workers)
    print(f"written: {folder}, {settings.figures} figures")
    print(next_command({"RAW_DIR": "data/raw"}, settings, "lsp_data.py --train-on lsp", ("raw_dir",)))  # its own


def write_figures(folder, count, seed, workers=0):
    """Draw figures into a folder, in LSP's layout: images/im0001.jpg ..., joints.mat.

    count    figures; figure k is the same whatever their number
    workers  processes; 0 = one for each core
    joints.mat holds joints (3, 14, count) float64: x, y in image pixels, centres at integers; 1 = occluded or outside
    Raises   UserError where the folder holds anything but figures drawn before, which are replaced
    """
    folder = Path(folder)
    if folder.exists() and not _drawn_here(folder):
        raise UserError(f"{os.path.realpath(folder)} holds files that demo_data.py did not draw; "
                        f"name another folder with --raw-dir")
    part, older = folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".older.part")
    for left in (part, older):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    (part / "images").mkdir(parents=True)
    starts = range(0, count, FIGURES_PER_TASK)
    tasks = [(part / "images", seed, range(start + 1, min(start + FIGURES_PER_TASK, count) + 1)) for start in starts]
    with worker_map(workers) as parallel, tqdm(total=count, desc="figures", leave=False, disable=None) as bar:
        joints = []
        for some in parallel(_write_images, tasks):
            joints += some
            bar.update(len(some))
    file = io.BytesIO()
    scipy.io.savemat(file, {"joints": np.stack(joints).T})  # (count, 14, 3) -> (3, 14, count)
    # the header's free text: SciPy's has the time of day, which would make each run's file another
    (part / "joints.mat").write_bytes(HEADER.ljust(116) + file.getvalue()[116:])
    if folder.exists():
        folder.rename(older)
    part.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def _drawn_here(folder):
    if (folder / "joints.mat").is_file():  # opening a FIFO would wait for ever
        with open(folder / "joints.mat", "rb") as file:
            return file.read(len(HEADER)) == HEADER
    return folder.is_dir() and not any(folder.iterdir())


def _write_images(task):
    """Draw the figures of one task; runs in a worker process. Returns a (14, 3) array for each."""
    folder, seed, numbers = task
    joints = []
    for number in numbers:
        image, positions = draw_figure(seed, number)
        image.save(folder / f"im{number:04d}.jpg", quality=92)
        joints.append(positions)
    return joints


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

    scene = [(quads * scale + place, colours, ends)]
    scene += [other_person(rng, size, scale) for _ in range(rng.choice(3, p=(0.62, 0.28, 0.10)))]
    scene += [single_object(rng, size, scale) for _ in range(rng.choice(4, p=(0.40, 0.35, 0.17, 0.08)))]
    quads, colours, ends = (np.concatenate(parts) for parts in zip(*scene))
    order = np.argsort(quads[..., 2].mean(1), kind="stable")  # far ones first
    quads, colours, ends = quads[order], colours[order], ends[order]
    painted = _paint(quads[..., :2], size)
    image = np.where(painted[..., None] > 0, np.vstack([[0, 0, 0], colours])[painted], background(rng, size))
    image = Image.fromarray(image.clip(0, 255).astype(np.uint8)).reduce(SUPERSAMPLING)
    joints = joints * scale + place
    occluded = _occluded(joints, scale, painted, quads, ends)
    return photograph(rng, image), np.column_stack([joints[:, :2], occluded])


def _paint(polygons, size):
    """Draw polygons over each other. polygons (M, 4, 2) image pixels; returns (h, w) supersampled: 0, or 1 + row."""
    picture = Image.new("I", tuple(int(s) * SUPERSAMPLING for s in size))
    draw = ImageDraw.Draw(picture)
    corners = ((polygons + 0.5) * SUPERSAMPLING - 0.5).reshape(len(polygons), 8)  # (M, 4, 2) -> (M, 8)
    for row, corner in enumerate(corners.tolist()):
        draw.polygon(corner, fill=row + 1)
    return np.asarray(picture)


def _occluded(joints_px, scale, painted, quads, ends):
    """Which joints are hidden or outside the image.

    joints_px  (14, 3) image pixels, as are quads (M, 4, 3)
    painted    (h, w) what `_paint` returns for the quads
    ends       (M, 14) bool, whether a quad's limb ends in the joint
    """
    height, width = painted.shape
    column, row = np.floor((joints_px[:, :2] + 0.5) * SUPERSAMPLING).astype(int).T
    outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    seen = painted[row.clip(0, height - 1), column.clip(0, width - 1)] - 1  # -1 is the background
    cover = [COVER[name.removeprefix("r_").removeprefix("l_")] for name in LSP.joints]
    covered = quads[seen, :, 2].max(1) > joints_px[:, 2] + np.array(cover) * scale
    return outside | (covered & (seen >= 0) & ~ends[seen, np.arange(len(seen))])


def person(rng):
    """A random person in a random pose, seen from a random side.

    Returns  quads (M, 4, 3), those that face the viewer, in heights; colours (M, 3); ends (M, 14) bool, whether a
             quad's limb ends in the joint; joints (14, 3)
    """
    pose = _pose(rng)
    seen_from = rng.choice(["front", "side", "back"], p=(0.67, 0.18, 0.15))
    yaw = {"front": rng.normal(0, 20), "side": rng.choice([-1, 1]) * rng.uniform(45, 105),
           "back": rng.normal(180, 18)}[seen_from]
    roll = rng.choice([rng.normal(0, 9), rng.uniform(-38, 38), rng.uniform(-180, 180)], p=(0.74, 0.19, 0.07))
    root = _turn("z", roll) @ _turn("x", rng.normal(4, 7)) @ _turn("y", yaw)
    joints, limbs = _body(rng, pose)
    joints = np.stack([joints[name] for name in LSP.joints]) @ root.T
    parts, ends = zip(*((part, [name in names.split() for name in LSP.joints]) for names, part in limbs))
    light = np.array([rng.uniform(-0.8, 0.8), -rng.uniform(0.3, 1), rng.uniform(0.5, 1)])
    quads, colours, part = _lit(parts, root, light / np.linalg.norm(light), rng.uniform(0.45, 0.75))
    return quads, colours, np.array(ends)[part], joints


def _pose(rng):
    """lean, twist and side bend of the spine, and (2, 7) angles of the right and left side as in POSES, degrees."""
    shares = np.array([pose[0] for pose in POSES.values()], float)
    _, lean, *sides = list(POSES.values())[rng.choice(len(POSES), p=shares / shares.sum())]
    angles = np.array(sides[::rng.choice([-1, 1])]) + rng.normal(size=(2, 7)) * SPREAD
    spine = np.array([lean, 0, 0]) + rng.normal(size=3) * (6, 10, 5)
    return spine, angles.clip(LOWEST, HIGHEST)


def _turn(axis, degrees):
    """Rotation matrix about an axis: x lifts what hangs down forwards, y turns the front to the right, z clockwise."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array({"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                     "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


def _body(rng, pose):
    """Bones, flesh and clothes of a person at rest before the camera.

    Returns  joint name -> (3,); limbs, for each the joints that it ends in and its tube: ring centres, half widths and
             half depths (RINGS, 3) and the colours (RINGS - 1, SIDES, 3) of the bands between the rings
    """
    (lean, twist, bend), angles = pose
    wear, girth = _clothes(rng), rng.uniform(0.85, 1.18)
    trunk, thigh, shin, upper_arm, forearm, shoulder, hip, head_height = rng.normal(1, 0.035, 8) * (
        0.285, 0.245, 0.243, 0.182, 0.148, 0.100, 0.060, 0.137)  # shoulder and hip: from the middle

    pelvis = _turn("x", -0.4 * lean)
    chest = _turn("y", twist) @ _turn("z", bend) @ _turn("x", -lean)
    head = _turn("y", twist + rng.normal(0, 14)) @ _turn("z", rng.normal(0.4 * bend, 6)) @ _turn(
        "x", -0.45 * lean + rng.normal(-4, 8))
    waist = -pelvis[:, 1] * trunk / 2
    shoulders = waist - chest[:, 1] * trunk / 2
    neck = shoulders - chest[:, 1] * 0.036
    joints = {"neck": neck, "head_top": neck - head[:, 1] * head_height}
    limbs = [("", _trunk(pelvis, chest, waist, trunk, girth, shoulder, wear)),
             ("neck", _tube(-chest, neck + chest[:, 1] * 0.02, 0.05, (0.03, 0.026, 0.026), [wear["skin"]])),
             *(("neck head_top", part) for part in _head(head, neck, head_height, wear))]

    for name, side, (forward, outward, knee, arm_forward, arm_outward, inward, elbow) in zip("rl", (-1, 1), angles):
        start = side * hip * pelvis[:, 0]
        upper = _turn("x", forward) @ _turn("z", -side * outward) @ _turn("y", side * rng.normal(8, 8))
        lower = upper @ _turn("x", -knee)
        foot = lower @ _turn("x", -rng.normal(6, 10))
        middle = start + upper[:, 1] * thigh
        end = middle + lower[:, 1] * shin
        joints |= {f"{name}_hip": start, f"{name}_knee": middle, f"{name}_ankle": end}
        wide = girth * wear["loose"]
        limbs += [(f"{name}_hip {name}_knee",
                   _tube(upper, start, thigh, (0.058 * wide, 0.05 * wide, 0.037 * wide), wear["thigh"])),
                  (f"{name}_knee {name}_ankle",
                   _tube(lower, middle, shin, (0.036 * girth, 0.039 * girth, 0.023), wear["shin"])),
                  (f"{name}_ankle", _tube(foot[:, [0, 2, 1]], end + foot @ (0, 0.016, -0.018), 0.085,
                                          (0.026, 0.026, 0.018), wear["foot"]))]

        lift = 0.022 * np.sin(np.radians(max(0, arm_outward - 60)))  # a raised arm takes the shoulder along
        start = shoulders + chest @ (side * (shoulder - lift / 2), -lift, 0)
        upper = chest @ _turn("x", arm_forward) @ _turn("z", -side * arm_outward) @ _turn("y", -side * inward)
        lower = upper @ _turn("x", elbow)
        hand = lower @ _turn("x", rng.normal(8, 12))
        middle = start + upper[:, 1] * upper_arm
        end = middle + lower[:, 1] * forearm
        joints |= {f"{name}_shoulder": start, f"{name}_elbow": middle, f"{name}_wrist": end}
        limbs += [(f"{name}_shoulder {name}_elbow",
                   _tube(upper, start, upper_arm, (0.036 * girth, 0.03 * girth, 0.025), wear["upper_arm"])),
                  (f"{name}_elbow {name}_wrist",
                   _tube(lower, middle, forearm, (0.025, 0.025 * girth, 0.017), wear["forearm"])),
                  (f"{name}_wrist", _tube(hand, end + hand[:, 1] * 0.02, 0.042, (0.018, 0.021, 0.014), [wear["hand"]]))]
    return joints, limbs


def _trunk(pelvis, chest, waist, length, girth, shoulder, wear):
    """The trunk, from crotch to collar: its rings bend at the waist and turn from the pelvis's frame to the chest's."""
    heights = np.array([-0.2, -0.14, 0.0, 0.2, 0.42, 0.68, 0.88, 1.01, 1.1]) * length
    wide = np.array([0.02, 0.075, 0.098, 0.09, 0.084, 0.098, shoulder + 0.008, 0.085, 0.034]) * girth ** 0.7
    deep = np.array([0.02, 0.055, 0.072, 0.062, 0.06, 0.07, 0.066, 0.048, 0.032]) * girth
    share = (heights / length).clip(0, 1)[:, None]
    above = heights[:, None] - length / 2
    centres = waist - np.where(above > 0, chest[:, 1], pelvis[:, 1]) * above
    across = (1 - share) * pelvis[:, 0] + share * chest[:, 0]
    forwards = (1 - share) * pelvis[:, 2] + share * chest[:, 2]
    return centres, across * wide[:, None], forwards * deep[:, None], wear["trunk"]


def _tube(frame, start, length, radii, bands):
    """A limb with round ends, along the frame's second axis from `start`.

    radii  at the start, in the middle and at the end
    bands  8 colours along it, or one
    """
    first, middle, last = radii
    along = np.array([-first, -0.7 * first, 0, 0.25 * length, 0.5 * length, 0.75 * length, length, length + 0.7 * last,
                      length + last])[:, None]
    radius = np.array([0.05 * first, 0.7 * first, first, (first + middle) / 2, middle, (middle + last) / 2, last,
                       0.7 * last, 0.05 * last])[:, None]
    colours = np.broadcast_to(np.array(bands, float)[:, None], (RINGS - 1, SIDES, 3))
    return start + along * frame[:, 1], radius * frame[:, 0], radius * frame[:, 2], colours


def _ball(frame, centre, radii, colour):
    """An ellipsoid; radii along the frame's axes. `colour` is one, or one for each band and side."""
    turns = np.linspace(-np.pi / 2, np.pi / 2, RINGS)[:, None]
    return (centre - np.sin(turns) * radii[1] * frame[:, 1], np.cos(turns) * radii[0] * frame[:, 0],
            np.cos(turns) * radii[2] * frame[:, 2], np.broadcast_to(np.asarray(colour, float), (RINGS - 1, SIDES, 3)))


def _head(frame, neck, height, wear):
    """The head with its face to the frame's front; hair behind and on top. Returns a list of tubes."""
    radii = np.array([0.046, 0.066, 0.057]) * height / 0.137
    centre = neck + frame @ (0, radii[1] - height, 0.008)
    colours = np.empty((RINGS - 1, SIDES, 3))
    colours[:] = wear["hair"]
    colours[:5, 1:6] = colours[:3, [0, 6]] = colours[:2] = wear["skin"]  # face, jaw, chin and nape
    if wear["head"] == "cap":
        colours[5:] = wear["cap"]

    def feature(position, size, colour):
        return _ball(frame, centre + frame @ (radii * position), radii * size, colour)

    parts = [_ball(frame, centre, radii, colours),
             feature((-0.4, -0.1, 0.86), (0.17, 0.09, 0.1), (34, 26, 26)),  # eyes, nose, mouth
             feature((0.4, -0.1, 0.86), (0.17, 0.09, 0.1), (34, 26, 26)),
             feature((0, 0.16, 0.97), (0.13, 0.2, 0.14), wear["skin"] * 0.92),
             feature((0, 0.52, 0.8), (0.26, 0.07, 0.08), (150, 60, 58))]
    if wear["head"] == "long hair":
        parts.append(_tube(frame, centre + frame @ (0, 0, -0.03), 0.1, (0.044, 0.042, 0.03), [wear["hair"]]))
    if wear["head"] == "cap":
        parts.append(_tube(frame[:, [0, 2, 1]] * (1, 1, 0.25), centre + frame @ (0, -0.03, 0.035), 0.045,
                           (0.038, 0.038, 0.032), [wear["cap"] * 0.85]))
    return parts


def _clothes(rng):
    """Colours of skin, hair and clothes; for limbs, 8 bands along each: 2 of the start cap, 4, 2 of the end cap."""
    skin = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.92, 1.0)
    shirt, trousers, shoes, extra, cap = (_colour(rng) for _ in range(5))
    sleeves = rng.choice([8, 4, 2], p=(0.35, 0.5, 0.15))
    legs = rng.choice([8, 5, 4], p=(0.5, 0.3, 0.2))
    dress = rng.random() < 0.12
    trousers = shirt if dress else trousers
    shirt_bands = np.repeat(shirt[None], RINGS - 1, axis=0)
    if rng.random() < 0.2:
        shirt_bands[::2] = extra
    trunk = np.repeat(shirt_bands[:, None], SIDES, axis=1)
    front = rng.choice(["mark", "open", "buttons", "bib"])
    if front == "mark":
        trunk[4:6, 2:5] = extra
    if front == "open":
        trunk[3:, 3] = trunk[5:, 2:5] = extra
    if front == "buttons":
        trunk[3:, 3] = np.where(shirt.mean() > 128, 0.45, 1.9) * shirt + 20
    if front == "bib":
        trunk[3:6, 2:5] = extra
    trunk[:3] = trousers
    trunk[7] = shirt * 0.8
    trunk[6:, 3] = trunk[7, 2:5] = skin
    socks = _colour(rng) if rng.random() < 0.6 else skin
    return {"skin": skin, "hair": HAIR[rng.integers(len(HAIR))], "cap": cap, "trunk": trunk.clip(0, 255),
            "head": rng.choice(["short hair", "long hair", "cap"], p=(0.5, 0.3, 0.2)),
            "loose": rng.uniform(0.95, 1.2),
            "upper_arm": np.where(np.arange(8)[:, None] < sleeves, shirt_bands, skin),
            "forearm": np.repeat([shirt if sleeves == 8 else skin], 8, axis=0), "hand": skin * 0.97,
            "thigh": np.where(np.arange(8)[:, None] < legs, trousers, skin),
            "shin": np.where(np.arange(8)[:, None] < 5, skin, socks) if legs < 8 else np.repeat([trousers], 8, axis=0),
            "foot": shoes * np.linspace(0.85, 1.1, 8)[:, None]}


def _colour(rng, liveliest=1):
    """A random colour, (3,) float in 0 ... 255, of at most the given saturation."""
    return 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1.4, 1.6) * liveliest, rng.beta(2.4, 1.4)))


def _surface(parts):
    """The quads between the rings of tubes. Returns quads (M, 4, 3), normals (M, 3) outwards, colours (M, 3)."""
    centres, wide, deep, colours = (np.stack(arrays) for arrays in zip(*parts))
    turns = 2 * np.pi * (np.arange(SIDES) - 0.5) / SIDES  # side 3 looks forward, side 0 to the left
    rings = (centres[:, :, None] + np.cos(turns)[:, None] * wide[:, :, None]
             + np.sin(turns)[:, None] * deep[:, :, None])  # (P, RINGS, SIDES, 3)
    after = np.roll(rings, -1, axis=2)
    quads = np.stack([rings[:, :-1], after[:, :-1], after[:, 1:], rings[:, 1:]], axis=3)  # (P, RINGS-1, SIDES, 4, 3)
    normals = np.cross(quads[..., 2, :] - quads[..., 0, :], quads[..., 3, :] - quads[..., 1, :])
    middles = (centres[:, :-1] + centres[:, 1:])[:, :, None] / 2
    outwards = ((quads.mean(3) - middles) * normals).sum(-1, keepdims=True)
    normals *= np.where(outwards < 0, -1, 1) / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)
    return quads.reshape(-1, 4, 3), normals.reshape(-1, 3), colours.reshape(-1, 3)


def _lit(parts, root, light, ambient):
    """What the viewer sees of tubes turned by `root`.

    Returns  quads (M, 4, 3) that face the viewer; their shaded colours (M, 3); the part that each belongs to (M,) int
    """
    quads, normals, colours = _surface(parts)
    normals = normals @ root.T
    shade = ambient + (1.15 - ambient) * (normals @ light).clip(0)
    facing, = np.nonzero(normals[:, 2] > 0)
    return quads[facing] @ root.T, (colours * shade[:, None])[facing], facing // ((RINGS - 1) * SIDES)


def other_person(rng, size, scale):
    """Somebody partly in the picture, mostly behind. Returns quads (M, 4, 3) in image pixels, colours, ends (False)."""
    quads, colours, ends, joints = person(rng)
    behind = rng.random() < 0.85
    nearest, farthest = (0.30, 0.60) if behind else (0.50, 0.65)
    aside = rng.choice([-1, 1]) * rng.uniform(nearest, farthest)
    place = np.array([*(size * (0.5 + aside, rng.uniform(0.35, 0.60))), scale * (-3 if behind else 3)])
    middle = (joints.min(0) + joints.max(0)) / 2
    return (quads - middle) * scale * rng.uniform(0.6, 1) + place, colours * rng.uniform(0.7, 1), ends & False


def single_object(rng, size, scale):
    """A ball, stick, bar or box, before the person or behind. Returns quads (M, 4, 3), colours, ends (False)."""
    colour = _colour(rng) if rng.random() < 0.6 else SKIN[rng.integers(len(SKIN))]
    place = np.append(rng.uniform(0, 1, 2) * size, scale * (2 if rng.random() < 0.45 else -2))
    kind = rng.choice(["ball", "stick", "bar", "box"], p=(0.25, 0.40, 0.20, 0.15))
    if kind == "ball":
        part = _ball(np.eye(3), place, np.full(3, rng.uniform(0.025, 0.06)) * scale, colour)
    else:
        angle, length, thickness = {
            "stick": (rng.uniform(-180, 180), rng.uniform(0.2, 0.5), rng.uniform(0.012, 0.035)),
            "bar": (rng.choice([0, 90]) + rng.normal(0, 4), 4, rng.uniform(0.008, 0.025)),  # across the picture
            "box": (90 + rng.normal(0, 5), rng.uniform(0.2, 0.5), rng.uniform(0.06, 0.14))}[kind]
        frame = _turn("z", angle)
        place[1] = size[1] * rng.uniform(0.85, 1.1) if kind == "box" else place[1]
        length, thickness = length * scale, thickness * scale
        part = _tube(frame, place - frame[:, 1] * length / 2, length, (thickness,) * 3, [colour])
    quads, colours, _ = _lit([part], np.eye(3), np.array([-0.4, -0.6, 0.7]), 0.6)
    return quads, colours, np.zeros((len(quads), len(LSP.joints)), bool)


def background(rng, size):
    """What lies behind: a backdrop over a ground, both mottled, with boards, posts, lines and bushes.

    Returns  (h, w, 3) float, supersampled; not clipped
    """
    detail = rng.choice([1, 2, 3], p=(0.4, 0.3, 0.3))  # drawn small and enlarged it is out of focus
    width, height = (int(s) * detail for s in size)
    horizon = rng.uniform(0.3, 0.95) * height
    above, below, ground = (_colour(rng, 0.55) for _ in range(3))
    if rng.random() < 0.35:
        above, below, ground = np.array([rng.normal((120, 160, 215), 25), rng.normal((200, 215, 230), 20),
                                         rng.normal((95, 130, 60), 25)])  # sky over grass
    y = np.arange(height)[:, None] / horizon
    rows = np.where(y < 1, above + (below - above) * y.clip(0, 1), ground * (0.75 + 0.25 * y))
    picture = Image.fromarray(np.repeat(rows[:, None].clip(0, 255).astype(np.uint8), width, axis=1))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 9)):
        colour = tuple((below + (_colour(rng, 0.8) - below) * rng.uniform(0.2, 1)).clip(0, 255).astype(int).tolist())
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
    canvas = (int(size[0]) * SUPERSAMPLING, int(size[1]) * SUPERSAMPLING)
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


if __name__ == "__main__":
    run(main)
