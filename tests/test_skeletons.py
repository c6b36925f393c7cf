"""A skeleton as it travels: to plain lists and back, its mirror, its sides."""
import json

import pytest

from deeppose.skeletons import LSP, Skeleton, skeleton_of

HAND = Skeleton(joints=("wrist", "thumb", "little"), pairs=(), limbs={"first": (("wrist",), ("thumb",))},
                paper_limbs=(), groups={"all": ("wrist", "thumb", "little")}, diameter=("thumb", "little"),
                head=("wrist", "thumb"), lower=())


@pytest.mark.parametrize("skeleton", [LSP, HAND], ids=["lsp", "hand"])
def test_there_and_back_through_json(skeleton):
    assert skeleton_of(json.loads(json.dumps(skeleton.plain()))) == skeleton


def test_mirror_pairs_exchange_and_the_middle_stays():
    assert [LSP.joints[k] for k in LSP.mirror[:3]] == ["l_ankle", "l_knee", "l_hip"]
    assert all(LSP.mirror[LSP.mirror[k]] == k for k in range(14)) and LSP.mirror[12:] == (12, 13)
    assert HAND.mirror == (0, 1, 2)


def test_a_limb_is_on_the_side_of_all_its_joints():
    assert LSP.side(["r_hip", "r_knee"]) == "right" and LSP.side(["l_wrist"]) == "left"
    assert LSP.side(["r_hip", "l_hip"]) == LSP.side(["neck"]) == LSP.side(["neck", "r_hip"]) == "centre"
    assert HAND.side(["thumb"]) == "centre"


def test_halves_are_what_the_skeleton_says():
    upper, lower = LSP.halves
    assert [name for name, it in zip(LSP.joints, lower) if it] == list(LSP.lower)
    assert all(a != b for a, b in zip(upper, lower))
