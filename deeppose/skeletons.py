"""What a person consists of: joints, mirror pairs, limbs, and the lengths that metrics refer to.

A skeleton travels with the data and with every checkpoint, as lists and dictionaries; nothing asks for it by name.
"""
import reprlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Skeleton:
    """joints: names in label order; left and right are the person's own. The rest may be empty, and what is measured
    with it is then left out.

    limbs: stick name -> its two ends, each the mean of one or two joints.
    paper_limbs: the eight sticks that Toshev & Szegedy (2014), table 1, score (upper and lower arms and legs).
    groups: joints that share a curve in plots.
    diameter: the two ends of the torso diagonal, the reference length of PDJ and of the cascade's windows.
    head: the two joints whose distance is the head's length.
    pairs: (right, left) joints that a mirror exchanges.
    lower: the joints of the body's lower half.
    unscored: joints that the data set's published means leave out.
    """
    joints: tuple
    limbs: dict = field(default_factory=dict)
    paper_limbs: tuple = ()
    groups: dict = field(default_factory=dict)
    diameter: tuple = ()
    head: tuple = ()
    pairs: tuple = ()
    lower: tuple = ()
    unscored: tuple = ()

    @property
    def mirror(self):
        """Index of each joint's partner on the other side (itself where there is none)."""
        partner = dict(self.pairs) | {left: right for right, left in self.pairs}
        return tuple(self.index(partner.get(name, name)) for name in self.joints)

    def side(self, names):
        """"right" or "left" where all the named joints are on that side, else "centre"."""
        for side, own in zip(("right", "left"), zip(*self.pairs)):
            if set(names) <= set(own):
                return side
        return "centre"

    def plain(self):
        """As lists and dictionaries, for JSON and checkpoints; `skeleton_of` reads them."""
        return {"joints": list(self.joints), "pairs": [list(pair) for pair in self.pairs],
                "limbs": {name: [list(end) for end in ends] for name, ends in self.limbs.items()},
                "paper_limbs": list(self.paper_limbs),
                "groups": {name: list(joints) for name, joints in self.groups.items()},
                "diameter": list(self.diameter), "head": list(self.head), "lower": list(self.lower),
                "unscored": list(self.unscored)}

    def index(self, name):
        return self.joints.index(name)

    @property
    def halves(self):
        """Which joints belong to the upper and which to the lower half of the body, (2, J) bool."""
        lower = tuple(name in self.lower for name in self.joints)
        return tuple(not it for it in lower), lower

    @property
    def scored(self):
        """Where the joints stand that published means count."""
        return [index for index, name in enumerate(self.joints) if name not in self.unscored]

    @property
    def paper_limb_indices(self):
        """Where the paper's limbs stand among all."""
        return [list(self.limbs).index(name) for name in self.paper_limbs]

    @property
    def limb_indices(self):
        """The joints at the ends of the paper's limbs: all but neck and head."""
        ends = {name for limb in self.paper_limbs for end in self.limbs[limb] for name in end}
        return tuple(index for index, name in enumerate(self.joints) if name in ends)

    @property
    def diameter_indices(self):
        return tuple(map(self.joints.index, self.diameter))


def skeleton_of(content):
    """A skeleton from what `plain` made. Raises ValueError, in words, where it is none."""
    def names(value, count=None):
        """count: how many; 0 = any number, none included; None = any number but none."""
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise ValueError(f"its skeleton holds {reprlib.repr(value)} where names of joints should be")
        if unknown := set(value) - set(joints):
            raise ValueError(f"its skeleton names {min(unknown)!r}, which is none of its joints")
        if count != 0 and len(value) != (count or max(1, len(value))):
            raise ValueError(f"its skeleton holds {len(value)} joints where there should be {count or 'some'}")
        return tuple(value)

    def named(key):
        if not isinstance(content[key], dict):
            raise ValueError(f"its skeleton's {key} are a {type(content[key]).__name__}")
        return content[key].items()

    def rows(key, value, count=None):
        if not isinstance(value, list) or count and len(value) != count:
            raise ValueError(f"its skeleton's {key} holds {reprlib.repr(value)}")
        return value

    if not isinstance(content, dict):
        raise ValueError(f"its skeleton is a {type(content).__name__}")
    content = {"unscored": []} | content  # which older ones lack
    fields = Skeleton.__dataclass_fields__.keys()
    if lacking := fields - content.keys():
        raise ValueError(f"its skeleton lacks {min(lacking)!r}")
    joints = content["joints"]
    if not isinstance(joints, list) or not joints or not all(isinstance(name, str) and name for name in joints) \
            or len(set(joints)) < len(joints):
        raise ValueError("its skeleton's joints are not a list of different names")
    pairs = tuple(names(pair, 2) for pair in rows("pairs", content["pairs"]))
    if len({name for pair in pairs for name in pair}) < 2 * len(pairs):
        raise ValueError("its skeleton pairs a joint with several others, or with itself")
    limbs = {name: tuple(names(end) for end in rows("limbs", ends, 2)) for name, ends in named("limbs")}
    paper_limbs = tuple(rows("paper_limbs", content["paper_limbs"]))
    if not all(isinstance(name, str) and name in limbs for name in paper_limbs):
        raise ValueError("its skeleton's paper_limbs are not among its limbs")
    return Skeleton(tuple(joints), limbs, paper_limbs, {name: names(group) for name, group in named("groups")},
                    diameter=names(content["diameter"], 2 * (content["diameter"] != [])),
                    head=names(content["head"], 2 * (content["head"] != [])), pairs=pairs,
                    lower=names(content["lower"], 0), unscored=names(content["unscored"], 0))


LSP = Skeleton(
    joints=("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow", "r_shoulder",
            "l_shoulder", "l_elbow", "l_wrist", "neck", "head_top"),
    pairs=tuple((f"r_{name}", f"l_{name}") for name in ("ankle", "knee", "hip", "wrist", "elbow", "shoulder")),
    limbs={
        "torso": (("r_shoulder", "l_shoulder"), ("r_hip", "l_hip")),
        "r_upper_leg": (("r_hip",), ("r_knee",)),
        "l_upper_leg": (("l_hip",), ("l_knee",)),
        "r_lower_leg": (("r_knee",), ("r_ankle",)),
        "l_lower_leg": (("l_knee",), ("l_ankle",)),
        "r_upper_arm": (("r_shoulder",), ("r_elbow",)),
        "l_upper_arm": (("l_shoulder",), ("l_elbow",)),
        "r_lower_arm": (("r_elbow",), ("r_wrist",)),
        "l_lower_arm": (("l_elbow",), ("l_wrist",)),
        "head": (("neck",), ("head_top",)),
    },
    paper_limbs=("r_upper_leg", "l_upper_leg", "r_lower_leg", "l_lower_leg",
                 "r_upper_arm", "l_upper_arm", "r_lower_arm", "l_lower_arm"),
    groups={"ankles": ("r_ankle", "l_ankle"), "knees": ("r_knee", "l_knee"), "hips": ("r_hip", "l_hip"),
            "wrists": ("r_wrist", "l_wrist"), "elbows": ("r_elbow", "l_elbow"),
            "shoulders": ("r_shoulder", "l_shoulder"), "head": ("neck", "head_top")},
    diameter=("l_shoulder", "r_hip"),
    head=("neck", "head_top"),
    lower=("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle"),
)

OLDER = {"lsp": LSP}  # dataset -> what checkpoints that do not hold their skeleton were trained on
