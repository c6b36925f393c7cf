"""Four-legged animals, for data sets whose skeleton is no person's."""
import numpy as np

from .shapes import ball, lit, random_colour, tube, turn

JOINTS = ("nose", "withers", "tail", "left_front_knee", "right_front_knee", "left_front_foot", "right_front_foot",
          "left_hind_knee", "right_hind_knee", "left_hind_foot", "right_hind_foot")
EDGES = (("nose", "withers"), ("withers", "tail"),
         *((f"{side}_{end}_knee", f"{side}_{end}_foot") for side in ("left", "right") for end in ("front", "hind")),
         *(("withers", f"{side}_front_knee") for side in ("left", "right")),
         *(("tail", f"{side}_hind_knee") for side in ("left", "right")))

# what lies further in front of a joint than this hides it, as in body.COVER; in lengths of the animal
COVER = {"nose": 0.06, "withers": 0.13, "tail": 0.09, "front_knee": 0.06, "front_foot": 0.05, "hind_knee": 0.07,
         "hind_foot": 0.05}

COAT = np.array([[46, 38, 34], [92, 58, 36], [150, 100, 60], [196, 160, 116], [226, 220, 210], [128, 128, 132]])


def animal(rng, names=JOINTS):
    """A random animal, standing or going, seen mostly from a side; the same whichever joints are asked for.

    At rest it faces the viewer, like a person: x is its left, z its front.
    names    J of JOINTS
    Returns  quads (M, 4, 3), those that face the viewer, in lengths of the animal; colours (M, 3); ends (M, J) bool,
             whether a quad's limb ends in the joint; joints (J, 3)
    """
    yaw = rng.choice([-1, 1]) * (rng.uniform(45, 125) if rng.random() < 0.8 else rng.uniform(0, 180))
    root = turn("z", rng.normal(0, 6)) @ turn("x", rng.normal(10, 7)) @ turn("y", yaw)
    joints, limbs = _body(rng)
    joints = np.stack([joints[name] for name in names]) @ root.T
    parts, ends = zip(*((part, [name in ended.split() for name in names]) for ended, part in limbs))
    light = np.array([rng.uniform(-0.8, 0.8), -rng.uniform(0.3, 1), rng.uniform(0.5, 1)])
    quads, colours, part = lit(parts, root, light / np.linalg.norm(light), rng.uniform(0.45, 0.75))
    return quads, colours, np.array(ends)[part], joints


def _body(rng):
    """joint name -> (3,); limbs as `body.body` returns them."""
    length, girth, leg, neck = rng.uniform((0.46, 0.09, 0.30, 0.14), (0.56, 0.14, 0.52, 0.30))
    coat = COAT[rng.integers(len(COAT))] if rng.random() < 0.8 else random_colour(rng)
    patch = COAT[rng.integers(len(COAT))]
    spots = np.where(rng.random((8, 12, 1)) < rng.choice([0, 0.15, 0.4]), patch, coat)
    legs = np.where(np.arange(8)[:, None] < 4, coat, patch if rng.random() < 0.4 else coat)

    trunk = turn("x", -90 + rng.normal(0, 6))  # its second axis points to the rump
    chest = -trunk[:, 1] * length / 2
    rump = -chest
    joints = {"withers": chest + (0, -girth, 0) + trunk[:, 1] * 0.03, "tail": rump + (0, -0.6 * girth, 0)}
    centres, wide, deep, _ = tube(trunk, chest, length, np.array([1.05, 0.95, 0.9]) * girth, [coat])
    limbs = [("withers tail", (centres, wide * 0.85, deep, spots.astype(float)))]

    turned = turn("y", rng.normal(0, 22))
    up = turned @ turn("x", 180 - rng.uniform(20, 75))
    start = chest + (0, -0.4 * girth, 0)
    head = start + up[:, 1] * neck
    face = turned @ turn("x", rng.uniform(35, 85))
    skull = 0.3 * girth + rng.uniform(0.02, 0.05)
    nose = head + face[:, 1] * rng.uniform(0.13, 0.2)
    joints["nose"] = nose
    limbs += [("withers", tube(up, start, neck, (0.62 * girth, 0.45 * girth, 0.9 * skull), [coat])),
              ("nose", tube(face, head, np.linalg.norm(nose - head) - 0.02, (skull, 0.8 * skull, 0.55 * skull),
                            [coat, coat, coat, coat, coat, patch, patch, patch * 0.5])),
              *(("nose", tube(turned @ turn("z", side * -150), head + turned @ (side * 0.7 * skull, -0.6 * skull, 0),
                              0.05, (0.02, 0.016, 0.008), [patch * 0.8])) for side in (-1, 1)),
              *(("nose", ball(face, head + face @ (side * 0.75 * skull, 0.035, -0.5 * skull), np.full(3, 0.012),
                              (20, 16, 16))) for side in (-1, 1)),
              ("tail", tube(turn("z", rng.normal(0, 25)) @ turn("x", rng.uniform(-150, -20)), joints["tail"],
                            rng.uniform(0.1, 0.3), (0.022, 0.018, 0.012), [patch]))]

    stride = rng.uniform(0, 32)
    phase = rng.choice([-1, 1])
    for name, side in (("left", 1), ("right", -1)):
        for end, place, sign in (("front", chest + trunk[:, 1] * 0.04, side * phase), ("hind", rump, -side * phase)):
            swing = sign * stride + rng.normal(0, 7) + (12 if end == "hind" else 0)
            bend = abs(rng.normal(0, 12)) + (18 if end == "hind" else 4) + (rng.uniform(0, 50) if sign > 0 else 0)
            upper = turn("z", -side * rng.normal(4, 4)) @ turn("x", swing)
            lower = upper @ turn("x", -bend)
            hip = place + (side * 0.6 * girth, 0.35 * girth, 0)
            knee = hip + upper[:, 1] * 0.5 * leg
            foot = knee + lower[:, 1] * 0.5 * leg
            joints |= {f"{name}_{end}_knee": knee, f"{name}_{end}_foot": foot}
            thick = girth * (0.5 if end == "hind" else 0.4)
            limbs += [(f"{name}_{end}_knee", tube(upper, hip, 0.5 * leg, (thick, 0.7 * thick, 0.026), [coat])),
                      (f"{name}_{end}_knee {name}_{end}_foot",
                       tube(lower, knee, 0.5 * leg, (0.026, 0.021, 0.02), legs)),
                      (f"{name}_{end}_foot", ball(lower, foot + lower @ (0, 0.005, 0.012), (0.026, 0.018, 0.034),
                                                  coat * 0.35))]
    return joints, limbs
