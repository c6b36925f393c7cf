"""The joints of each dataset: names, mirror pairs, limbs and the lengths that its metrics refer to."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """joints: names in label order; left and right are the person's own.
    limbs: stick name -> its two ends, each the mean of one or two joints.
    paper_limbs: the eight sticks that Toshev & Szegedy (2014), table 1, score (upper and lower arms and legs).
    groups: joints that share a curve in plots.
    diameter: the two ends of the torso diagonal, the reference length of PDJ and of the cascade's windows.
    """
    joints: tuple
    limbs: dict
    paper_limbs: tuple
    groups: dict
    diameter: tuple

    @property
    def mirror(self):
        """Index of each joint's partner on the other side (itself where there is none)."""
        swapped = [name.replace("r_", "l_", 1) if name.startswith("r_") else
                   name.replace("l_", "r_", 1) if name.startswith("l_") else name for name in self.joints]
        return tuple(map(self.joints.index, swapped))

    def index(self, name):
        return self.joints.index(name)

    @property
    def halves(self):
        """Which joints belong to the upper and which to the lower half of the body, (2, J) bool."""
        lower = tuple(name.endswith(("ankle", "knee", "hip")) for name in self.joints)
        return tuple(not it for it in lower), lower

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


LSP = Skeleton(
    joints=("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow", "r_shoulder",
            "l_shoulder", "l_elbow", "l_wrist", "neck", "head_top"),
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
)

SKELETONS = {"lsp": LSP}
