"""What the names of joints tell of a skeleton: sides, mirror pairs, the torso's diagonal, head, arms and legs."""
import re
from itertools import product

from .skeletons import Skeleton

SIDES = {"l": "left", "r": "right"}
SIDED = (  # how names tell a side, the first that fits; two names make a pair if they do it alike
    re.compile(r"(?i)(left|right)"),                      # left_hip, hipLeft
    re.compile(r"(?i)(?:^(l|r)(?=[^a-z])|(?<=[^a-z])(l|r)$)"),  # l_hip, L.hip, hip-l
    re.compile(r"(?:^(L|R)(?=[A-Z])|(?<=[a-z])(L|R)$)"),  # LHip, hipL
    re.compile(r"^(l|r)(?=[a-z])"),                       # lhip
)
LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
LOWER = {"hip", "knee", "ankle", "heel", "foot", "toe", "bigtoe", "smalltoe", "pelvis"}
HEAD_TOPS = ("headtop", "tophead", "topofhead")


def skeleton_from_names(joints, edges, pairs=(), diameter=(), head=()):
    """Make a skeleton of what is given, and of what the names tell where nothing is.

    joints    names
    edges     pairs of names: each a limb
    pairs     (right, left) names that a mirror exchanges; as the names tell if empty
    diameter  the two ends of the torso's diagonal; left shoulder and right hip if empty, where there are such
    head      neck and head top; likewise
    """
    known = {}  # (side, part) -> name
    for name in joints:
        _, side, part = _read(name)
        known.setdefault((side, part), name)
    limbs = {}
    for a, b in edges:
        if f"{b}-{a}" not in limbs:  # an edge may stand there both ways
            limbs[f"{a}-{b}"] = ((a,), (b,))
    return Skeleton(
        tuple(joints), limbs, _arms_and_legs(limbs, known),
        diameter=tuple(diameter) or _ends(known, ("left", "shoulder"), ("right", "hip")),
        head=tuple(head) or next(filter(None, (_ends(known, ("", "neck"), ("", top)) for top in HEAD_TOPS)), ()),
        pairs=tuple(pairs) or _pairs(joints),
        lower=tuple(name for name in joints if _read(name)[2] in LOWER))


def _pairs(joints):
    """(right, left) names that differ in their side alone."""
    sides = {"right": {}, "left": {}}
    for name in joints:
        how, side, part = _read(name)
        if side:
            sides[side].setdefault((how, part), name)
    return tuple((name, sides["left"][key]) for key, name in sides["right"].items() if key in sides["left"])


def _arms_and_legs(limbs, known):
    """The names of the eight limbs that Toshev & Szegedy score, where all are among the limbs; else none."""
    by_ends = {frozenset(a + b): name for name, (a, b) in limbs.items()}
    found = tuple(by_ends.get(frozenset((known.get((side, a)), known.get((side, b)))))
                  for (a, b), side in product(LIMBS, ("right", "left")))
    return found if all(found) else ()


def _ends(known, *ends):
    found = tuple(map(known.get, ends))
    return found if all(found) else ()


def _read(name):
    """How a joint's name tells its side (a number), the side ("" if none), and the part without it: lower-case letters
    and digits."""
    for how, pattern in enumerate(SIDED):
        if found := pattern.search(name):
            side = next(filter(None, found.groups())).lower()
            return how, SIDES.get(side, side), _letters(name[:found.start()] + name[found.end():])
    return None, "", _letters(name)


def _letters(name):
    return re.sub("[^a-z0-9]", "", name.lower())
