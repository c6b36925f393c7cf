"""People: bones, flesh, clothes and poses."""
import numpy as np

from deeppose.skeletons import LSP

from .shapes import RINGS, SIDES, ball, lit, random_colour, tube, turn

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
         "head_top": 0.09, "head": 0.09, "hand": 0.03, "thorax": 0.08, "spine": 0.09, "pelvis": 0.1}

SKIN = np.array([[255, 224, 196], [241, 194, 155], [224, 172, 125], [198, 134, 88], [141, 85, 48], [92, 56, 34]])
HAIR = np.array([[30, 24, 20], [62, 40, 24], [104, 68, 38], [188, 150, 86], [142, 62, 30], [150, 146, 140]])


def person(rng, names=LSP.joints):
    """A random person in a random pose, seen from a random side.

    names    J joints, of those that `body` tells: LSP's fourteen, pelvis (between the hips), spine (the waist), thorax
             (between the shoulders), head (its middle), r_hand and l_hand. The person is the same whichever are asked
    Returns  quads (M, 4, 3), those that face the viewer, in heights; colours (M, 3); ends (M, J) bool, whether a
             quad's limb ends in the joint; joints (J, 3)
    """
    pose = random_pose(rng)
    seen_from = rng.choice(["front", "side", "back"], p=(0.67, 0.18, 0.15))
    yaw = {"front": rng.normal(0, 20), "side": rng.choice([-1, 1]) * rng.uniform(45, 105),
           "back": rng.normal(180, 18)}[seen_from]
    roll = rng.choice([rng.normal(0, 9), rng.uniform(-38, 38), rng.uniform(-180, 180)], p=(0.74, 0.19, 0.07))
    root = turn("z", roll) @ turn("x", rng.normal(4, 7)) @ turn("y", yaw)
    joints, limbs = body(rng, pose)
    joints = np.stack([joints[name] for name in names]) @ root.T
    parts, ends = zip(*((part, [name in ended.split() for name in names]) for ended, part in limbs))
    light = np.array([rng.uniform(-0.8, 0.8), -rng.uniform(0.3, 1), rng.uniform(0.5, 1)])
    quads, colours, part = lit(parts, root, light / np.linalg.norm(light), rng.uniform(0.45, 0.75))
    return quads, colours, np.array(ends)[part], joints


def random_pose(rng):
    """lean, twist and side bend of the spine, and (2, 7) angles of the right and left side as in POSES, degrees."""
    shares = np.array([pose[0] for pose in POSES.values()], float)
    _, lean, *sides = list(POSES.values())[rng.choice(len(POSES), p=shares / shares.sum())]
    angles = np.array(sides[::rng.choice([-1, 1])]) + rng.normal(size=(2, 7)) * SPREAD
    spine = np.array([lean, 0, 0]) + rng.normal(size=3) * (6, 10, 5)
    return spine, angles.clip(LOWEST, HIGHEST)


def body(rng, pose):
    """Bones, flesh and clothes of a person at rest before the camera.

    Returns  joint name -> (3,); limbs, for each the joints that it ends in and its tube: ring centres, half widths and
             half depths (RINGS, 3) and the colours (RINGS - 1, SIDES, 3) of the bands between the rings
    """
    (lean, twist, bend), angles = pose
    wear, girth = _clothes(rng), rng.uniform(0.85, 1.18)
    trunk, thigh, shin, upper_arm, forearm, shoulder, hip, head_height = rng.normal(1, 0.035, 8) * (
        0.285, 0.245, 0.243, 0.182, 0.148, 0.100, 0.060, 0.137)  # shoulder and hip: from the middle

    pelvis = turn("x", -0.4 * lean)
    chest = turn("y", twist) @ turn("z", bend) @ turn("x", -lean)
    head = turn("y", twist + rng.normal(0, 14)) @ turn("z", rng.normal(0.4 * bend, 6)) @ turn(
        "x", -0.45 * lean + rng.normal(-4, 8))
    waist = -pelvis[:, 1] * trunk / 2
    shoulders = waist - chest[:, 1] * trunk / 2
    neck = shoulders - chest[:, 1] * 0.036
    joints = {"pelvis": np.zeros(3), "spine": waist, "thorax": shoulders, "neck": neck,
              "head": neck - head[:, 1] * head_height / 2, "head_top": neck - head[:, 1] * head_height}
    limbs = [("pelvis spine thorax", _trunk(pelvis, chest, waist, trunk, girth, shoulder, wear)),
             ("neck", tube(-chest, neck + chest[:, 1] * 0.02, 0.05, (0.03, 0.026, 0.026), [wear["skin"]])),
             *(("neck head head_top", part) for part in _head(head, neck, head_height, wear))]

    for name, side, (forward, outward, knee, arm_forward, arm_outward, inward, elbow) in zip("rl", (-1, 1), angles):
        start = side * hip * pelvis[:, 0]
        upper = turn("x", forward) @ turn("z", -side * outward) @ turn("y", side * rng.normal(8, 8))
        lower = upper @ turn("x", -knee)
        foot = lower @ turn("x", -rng.normal(6, 10))
        middle = start + upper[:, 1] * thigh
        end = middle + lower[:, 1] * shin
        joints |= {f"{name}_hip": start, f"{name}_knee": middle, f"{name}_ankle": end}
        wide = girth * wear["loose"]
        limbs += [(f"{name}_hip {name}_knee",
                   tube(upper, start, thigh, (0.058 * wide, 0.05 * wide, 0.037 * wide), wear["thigh"])),
                  (f"{name}_knee {name}_ankle",
                   tube(lower, middle, shin, (0.036 * girth, 0.039 * girth, 0.023), wear["shin"])),
                  (f"{name}_ankle", tube(foot[:, [0, 2, 1]], end + foot @ (0, 0.016, -0.018), 0.085,
                                          (0.026, 0.026, 0.018), wear["foot"]))]

        lift = 0.022 * np.sin(np.radians(max(0, arm_outward - 60)))  # a raised arm takes the shoulder along
        start = shoulders + chest @ (side * (shoulder - lift / 2), -lift, 0)
        upper = chest @ turn("x", arm_forward) @ turn("z", -side * arm_outward) @ turn("y", -side * inward)
        lower = upper @ turn("x", elbow)
        hand = lower @ turn("x", rng.normal(8, 12))
        middle = start + upper[:, 1] * upper_arm
        end = middle + lower[:, 1] * forearm
        joints |= {f"{name}_shoulder": start, f"{name}_elbow": middle, f"{name}_wrist": end,
                   f"{name}_hand": end + hand[:, 1] * 0.045}
        limbs += [(f"{name}_shoulder {name}_elbow",
                   tube(upper, start, upper_arm, (0.036 * girth, 0.03 * girth, 0.025), wear["upper_arm"])),
                  (f"{name}_elbow {name}_wrist",
                   tube(lower, middle, forearm, (0.025, 0.025 * girth, 0.017), wear["forearm"])),
                  (f"{name}_wrist {name}_hand",
                   tube(hand, end + hand[:, 1] * 0.02, 0.042, (0.018, 0.021, 0.014), [wear["hand"]]))]
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
        return ball(frame, centre + frame @ (radii * position), radii * size, colour)

    parts = [ball(frame, centre, radii, colours),
             feature((-0.4, -0.1, 0.86), (0.17, 0.09, 0.1), (34, 26, 26)),  # eyes, nose, mouth
             feature((0.4, -0.1, 0.86), (0.17, 0.09, 0.1), (34, 26, 26)),
             feature((0, 0.16, 0.97), (0.13, 0.2, 0.14), wear["skin"] * 0.92),
             feature((0, 0.52, 0.8), (0.26, 0.07, 0.08), (150, 60, 58))]
    if wear["head"] == "long hair":
        parts.append(tube(frame, centre + frame @ (0, 0, -0.03), 0.1, (0.044, 0.042, 0.03), [wear["hair"]]))
    if wear["head"] == "cap":
        parts.append(tube(frame[:, [0, 2, 1]] * (1, 1, 0.25), centre + frame @ (0, -0.03, 0.035), 0.045,
                           (0.038, 0.038, 0.032), [wear["cap"] * 0.85]))
    return parts


def _clothes(rng):
    """Colours of skin, hair and clothes; for limbs, 8 bands along each: 2 of the start cap, 4, 2 of the end cap."""
    skin = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.92, 1.0)
    shirt, trousers, shoes, extra, cap = (random_colour(rng) for _ in range(5))
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
    socks = random_colour(rng) if rng.random() < 0.6 else skin
    return {"skin": skin, "hair": HAIR[rng.integers(len(HAIR))], "cap": cap, "trunk": trunk.clip(0, 255),
            "head": rng.choice(["short hair", "long hair", "cap"], p=(0.5, 0.3, 0.2)),
            "loose": rng.uniform(0.95, 1.2),
            "upper_arm": np.where(np.arange(8)[:, None] < sleeves, shirt_bands, skin),
            "forearm": np.repeat([shirt if sleeves == 8 else skin], 8, axis=0), "hand": skin * 0.97,
            "thigh": np.where(np.arange(8)[:, None] < legs, trousers, skin),
            "shin": np.where(np.arange(8)[:, None] < 5, skin, socks) if legs < 8 else np.repeat([trousers], 8, axis=0),
            "foot": shoes * np.linspace(0.85, 1.1, 8)[:, None]}
