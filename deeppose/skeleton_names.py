"""What the names of joints tell of a skeleton: sides, mirror pairs, the torso's diagonal, head, arms and legs."""
import re
import unicodedata
from itertools import product

from .skeletons import Skeleton

SIDES = {"l": "left", "r": "right"}
SIDED = (  # how names tell a side; two names make a pair if they do it alike
    re.compile(r"(?i)(left|right)"),                      # left_hip, hipLeft
    re.compile(r"(?i)(?:^(l|r)(?=[\W\d_])|(?<=[\W\d_])(l|r)$)"),  # l_hip, L.hip, hip-l
    re.compile(r"(?:^(L|R)(?=[A-Z])|(?<=[a-z])(L|R)$)"),  # LHip, hipL
    re.compile(r"^(l|r)(?=[a-z])"),                       # lhip
)
WEAK = len(SIDED) - 1  # counts only where no other does: rear_left_hoof begins with an r, and so does rump
NO_SIDE = re.compile("[a-z](left|right)|^[lrLR][0-9]+$")  # cleft, upright; L5, a vertebra
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
        known.setdefault(_read(name), name)
    limbs = {}
    for a, b in edges:
        if f"{b}-{a}" not in limbs:  # an edge may stand there both ways
            limbs[f"{a}-{b}"] = ((a,), (b,))
    return Skeleton(
        tuple(joints), limbs, _arms_and_legs(limbs, known),
        diameter=tuple(diameter) or _ends(known, ("left", "shoulder"), ("right", "hip")),
        head=tuple(head) or next(filter(None, (_ends(known, ("", "neck"), ("", top)) for top in HEAD_TOPS)), ()),
        pairs=tuple(pairs) or _pairs(joints),
        lower=tuple(name for name in joints if _read(name)[1] in LOWER))


def _pairs(joints):
    """(right, left) names that differ in their sides alone: in all of them, where they tell several, as the left corner
    of the left eye does."""
    places = {}
    for name in joints:
        how, sides, part = _sides(name)
        if sides:
            places.setdefault((how, part, sides), name)
    other = {"right": "left", "left": "right"}
    mirrored = ((name, places.get((how, part, tuple(map(other.get, sides))))) for (how, part, sides), name
                in places.items() if sides[0] == "right")
    return tuple((name, partner) for name, partner in mirrored if partner)


def alone(skeleton):
    """The joints whose names seem to tell a side and that have no partner in a mirror."""
    paired = {name for pair in skeleton.pairs for name in pair}
    return [name for name in skeleton.joints if name not in paired and not NO_SIDE.search(name)
            and min(_sides(name)[0], default=WEAK) < WEAK]


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
    """The side that a joint's name tells first, "" if none, and the part without sides."""
    _, sides, part = _sides(name)
    return sides[0] if sides else "", part


def _sides(name):
    """How a joint's name tells its sides, numbers of SIDED; the sides; and the part without them, lower-case letters
    of any script and digits."""
    found = []
    for how, pattern in enumerate(SIDED):
        if how == WEAK and found:
            break
        for match in pattern.finditer(name):
            if not any(start < match.end() and match.start() < end for start, end, *_ in found):
                side = next(filter(None, match.groups())).lower()
                found.append((*match.span(), how, SIDES.get(side, side)))
    rest = "".join(letter for place, letter in enumerate(name)
                   if not any(start <= place < end for start, end, *_ in found))
    found.sort()
    return tuple(how for *_, how, _ in found), tuple(side for *_, side in found), _letters(rest)


def _letters(name):
    return "".join(letter for letter in unicodedata.normalize("NFC", name).casefold()
                   if unicodedata.category(letter)[0] in "LMN")
