"""Films of persons before a depth camera: poses that change a little from frame to frame, distances in millimetres."""
import numpy as np

from .body import body, random_pose
from .scene import paint
from .shapes import surface, turn

SIZE = (256, 212)          # half of Kinect v2's sides
FOCAL_PX = 183.0           # likewise
FARTHEST_MM = 4500.0       # nothing is measured beyond
FRAMES_PER_POSE = 8
SHADOW_PX = 4              # the light comes from beside the camera


def film(seed, number, frames):
    """Draw one film: a person who moves, before a wall, on a floor, beside a few boxes.

    frames   how many; frame k is the same whatever their number
    Yields   depth (212, 256) uint16, millimetres, 0 = not measured; joint name -> (2,) image pixels, of all the joints
             that `body.body` tells
    """
    rng = np.random.default_rng((seed, number))
    height = rng.uniform(1450, 1950)  # mm, of the person
    lens = rng.uniform(750, 1150)     # mm, of the camera over the floor
    nearest = max(1500, 1.1 * height * FOCAL_PX / SIZE[1])
    moves = _moves(rng, nearest)
    behind = _room(rng, lens)
    dress = int(rng.integers(2 ** 32))
    for frame in range(frames):
        pose, (yaw, roll, pitch, aside, distance) = next(moves)
        joints, limbs = body(np.random.default_rng(dress), pose)  # the same person each time
        root = turn("z", roll) @ turn("x", pitch) @ turn("y", yaw)
        quads, normals, _ = surface([part for _, part in limbs])
        quads, normals = quads @ root.T * height, normals @ root.T
        place = np.array([aside, lens - quads[..., 1].max(), -distance])  # the lowest point stands on the floor
        quads = quads + place
        joints = {name: _seen(joint @ root.T * height + place) for name, joint in joints.items()}
        facing = (normals * quads.mean(1)).sum(1) < 0  # the camera is the origin and looks along -z
        depth, person = _before(behind, quads[facing])
        yield _measured(np.random.default_rng((seed, number, frame)), depth, person), joints


def _moves(rng, nearest):
    """Yields pose, see `random_pose`, and yaw, roll, pitch (degrees), place aside and distance (mm), frame by frame."""
    def key():
        spine, angles = random_pose(rng)
        distance = rng.uniform(nearest, 3500)
        return spine, angles, np.array([rng.normal(0, 25), rng.normal(0, 5), rng.normal(3, 4),
                                        rng.normal(0, 0.12) * distance, distance])
    before = key()
    while True:
        after = key()
        after[2][3:] = before[2][3:] + 0.3 * (after[2][3:] - before[2][3:])  # a step or two, not through the room
        for frame in range(FRAMES_PER_POSE):
            share = frame / FRAMES_PER_POSE
            share = share * share * (3 - 2 * share)
            spine, angles, stance = (first + share * (last - first) for first, last in zip(before, after))
            yield (spine, angles), stance
        before = after


def _seen(points):
    """Where the camera sees points (..., 3), mm: (..., 2) image pixels, centres at integers."""
    return points[..., :2] / -points[..., 2:] * FOCAL_PX + (np.array(SIZE) - 1) / 2


def _room(rng, lens):
    """A wall, a floor and boxes: (212, 256) float, mm."""
    column, row = (np.arange(size) - (size - 1) / 2 for size in SIZE)
    wall = rng.uniform(3700, 4800) / (1 + rng.normal(0, 0.15) * column / FOCAL_PX)
    floor = FOCAL_PX * lens / row.clip(0.1)
    room = np.minimum(wall[None], floor[:, None])
    for _ in range(rng.integers(0, 4)):
        distance = rng.uniform(2600, 4000)
        left, width, height = rng.uniform(-1, 1) * distance * 0.7, rng.uniform(250, 900), rng.uniform(300, 1500)
        (first, top), (last, bottom) = (np.round(_seen(np.array([x, y, -distance]))).astype(int).clip(0, SIZE)
                                        for x, y in ((left, lens - height), (left + width, lens)))
        box = room[top:bottom, first:last]
        np.minimum(box, distance, out=box)
    return room


def _before(behind, quads):
    """What is nearer: the surface of quads (M, 4, 3), mm, or what lies behind (212, 256).

    Returns  depth (212, 256) float, mm; where the quads are seen (212, 256) bool
    """
    quads = quads[np.argsort(quads[..., 2].mean(1), kind="stable")]  # far ones first
    corners, depths = _seen(quads), -quads[..., 2]
    painted = paint(corners, SIZE, 1)
    row, column = np.nonzero(painted)
    shown = painted[row, column] - 1
    # the plane through a quad's diagonals; never beyond the quad's own depths, as one seen from its edge is steep
    pixels = np.concatenate([corners, depths[..., None]], axis=2)  # (M, 4, 3)
    x, y, z = np.cross(pixels[:, 2] - pixels[:, 0], pixels[:, 3] - pixels[:, 1]).T
    steep = np.abs(z) < 1e-9
    slope = np.stack([x, y], axis=1) * np.where(steep, 0, -1 / np.where(steep, 1, z))[:, None]
    away = np.stack([column, row], axis=1) - corners.mean(1)[shown]
    surface_mm = depths.mean(1)[shown] + (slope[shown] * away).sum(1)
    depth = behind.copy()
    depth[row, column] = surface_mm.clip(depths.min(1)[shown], depths.max(1)[shown])
    nearer = depth < behind
    return np.where(nearer, depth, behind), (painted > 0) & nearer


def _measured(rng, depth, person):
    """What the camera tells: noise, nothing beyond its range, at edges and in the person's shadow. uint16, mm."""
    noisy = depth + rng.normal(size=depth.shape) * (1.5 + 1.5e-6 * depth ** 2 / 2)
    edge = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        step = np.abs(np.diff(depth, axis=axis)) > 120
        edge |= np.pad(step, [(0, 1 - axis), (0, axis)])
    shadow = np.zeros(depth.shape, bool)
    shadow[:, SHADOW_PX:] = person[:, :-SHADOW_PX]
    lost = (edge & (rng.random(depth.shape) < 0.6)) | (shadow & ~person) | (rng.random(depth.shape) < 0.002)
    return np.where(lost | (noisy > FARTHEST_MM), 0, noisy.round()).astype(np.uint16)
