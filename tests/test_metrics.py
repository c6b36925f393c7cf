"""Metrics against numbers worked out by hand, by a reference of another form, and against a published method's scores
where those are at hand."""
import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deeppose.metrics import (
    diameters,
    distances,
    joint_hits,
    limb_hits,
    overall_mean,
    paired_bootstrap,
    part_means,
    pooled_error,
    pooled_mean,
    shared_name,
    standard_error,
    symmetric_joints,
    symmetric_limbs,
    symmetric_means,
    symmetric_weights,
)
from deeppose.reports import score
from deeppose.skeletons import LSP, Skeleton

SHARED = Path(__file__).parents[2] / "shared"
NAN = np.nan

# one stick of two joints, and a torso whose ends are means of two joints
STICKS = Skeleton(joints=("a", "b", "c", "d"), limbs={"stick": (("a",), ("b",)), "torso": (("a", "b"), ("c", "d"))},
                  paper_limbs=("stick",), groups={"ends": ("a", "b")}, diameter=("a", "d"))
POSE = np.array([[[0, 0], [10, 0], [0, 40], [10, 40]]], float)  # stick 10 long, torso 40, diameter sqrt(1700)


def poses(count=50, seed=0):
    return np.random.default_rng(seed).uniform(0, 100, (count, 14, 2))


def test_distances_by_hand():
    assert distances([[3, 4], [0, 0], [NAN, 0]], np.zeros((3, 2))).tolist()[:2] == [5, 0]
    assert np.isnan(distances([[NAN, 0]], [[0, 0]])).all()


def test_diameter_is_left_shoulder_to_right_hip():
    joints = np.full((2, 14, 2), NAN)
    joints[:, LSP.index("l_shoulder")] = 30, 40
    joints[0, LSP.index("r_hip")] = 0, 0
    np.testing.assert_array_equal(diameters(joints, LSP), [50, NAN])


def test_joint_hits_at_and_just_beyond_the_threshold():
    truth = np.zeros((1, 3, 2))
    predicted = np.array([[[2, 0], [0, np.nextafter(2, 3)], [1.2, 1.6]]])
    assert joint_hits(predicted, truth, [10], 0.2).tolist() == [[1, 0, 1]]


def test_float32_poses_are_compared_as_floats_not_integers():
    predicted = np.array([[[2.001, 0], [1.999, 0]]], np.float32)
    assert joint_hits(predicted, np.zeros((1, 2, 2), np.float32), np.array([10], np.float32), 0.2).tolist() == [[0, 1]]


def test_what_joint_hits_count():
    truth = np.zeros((3, 3, 2))
    truth[0, 1] = NAN
    truth[0, 2, 0] = NAN  # half a joint is none
    predicted = np.zeros((3, 3, 2))
    predicted[1, 0] = NAN
    predicted[1, 1, 1] = NAN
    predicted[1, 2] = np.inf
    hits = joint_hits(predicted, truth, [10, 10, NAN], 0.2)
    np.testing.assert_array_equal(hits, [[1, NAN, NAN], [0, 0, 0], [NAN, NAN, NAN]])


def test_a_reference_of_zero_asks_for_the_exact_place():
    assert joint_hits([[[0, 0], [1e-9, 0]]], np.zeros((1, 2, 2)), [0], 0.2).tolist() == [[1, 0]]


@pytest.mark.parametrize("first, second, strict, relaxed", [
    (5, 5, 1, 1),
    (np.nextafter(5, 6), 0, 0, 1),
    (0, np.nextafter(5, 6), 0, 1),
    (10, 0, 0, 1),
    (0, 10, 0, 1),
    (10, 1, 0, 0),
    (NAN, 0, 0, 0),
    (0, NAN, 0, 0),
])
def test_limb_of_length_ten(first, second, strict, relaxed):
    predicted = POSE.copy()
    predicted[0, 0, 1] -= first
    predicted[0, 1, 1] += second  # the other way, so that the torso's upper end moves by the difference
    assert limb_hits(predicted, POSE, STICKS)[0, 0] == strict
    assert limb_hits(predicted, POSE, STICKS, relaxed=True)[0, 0] == relaxed


def test_torso_ends_are_means_of_two_joints():
    predicted = POSE.copy()
    predicted[0, :2, 1] += 15, 25  # the mean moves by 20, half of the torso's 40
    assert limb_hits(predicted, POSE, STICKS).tolist() == [[0, 1]]
    predicted[0, 1, 1] += 0.01
    assert limb_hits(predicted, POSE, STICKS)[0, 1] == 0
    assert limb_hits(predicted, POSE, STICKS, relaxed=True)[0, 1] == 1
    assert limb_hits(predicted, POSE, STICKS, threshold=0.6)[0, 1] == 1


def test_limb_counts_where_all_its_joints_are_annotated():
    truth = POSE.repeat(3, 0)
    truth[0, 2] = NAN
    truth[1, 1, 0] = NAN
    np.testing.assert_array_equal(limb_hits(POSE.repeat(3, 0), truth, STICKS), [[1, NAN], [NAN, NAN], [1, 1]])


def test_limb_of_no_length():
    truth = np.zeros((2, 4, 2))
    predicted = truth.copy()
    predicted[1, 0, 0] = 1e-9
    for relaxed in (False, True):
        assert limb_hits(predicted, truth, STICKS, relaxed=relaxed)[:, 0].tolist() == [1, 0]


def test_perfect_prediction_scores_one():
    truth = poses()
    assert (part_means(joint_hits(truth, truth, diameters(truth, LSP), 0.05)) == 1).all()
    for relaxed in (False, True):
        assert (part_means(limb_hits(truth, truth, LSP, relaxed=relaxed)) == 1).all()


def test_a_shift_scores_the_share_of_persons_whose_reference_is_long_enough():
    truth = np.zeros((4, 14, 2))
    truth[:, LSP.index("l_shoulder"), 1] = 40, 50, 60, 100
    hits = joint_hits(truth + [6, 8], truth, diameters(truth, LSP), 0.2)  # an error of 10 everywhere
    np.testing.assert_array_equal(part_means(hits), 0.75)


def test_one_scale_for_both_frames_changes_nothing():
    truth, predicted = poses(), poses() + np.random.default_rng(1).normal(0, 8, (50, 14, 2))
    for scale in (0.25, 8):
        a = joint_hits(scale * predicted + 5, scale * truth + 5, scale * diameters(truth, LSP), 0.2)
        np.testing.assert_array_equal(a, joint_hits(predicted, truth, diameters(truth, LSP), 0.2))


def test_means_of_parts():
    hits = np.array([[1, 0, NAN], [1, NAN, NAN], [0, 1, NAN], [0, NAN, NAN]])
    np.testing.assert_array_equal(part_means(hits), [0.5, 0.5, NAN])
    hits[3, 0] = NAN
    assert part_means(hits)[0] == 2 / 3
    assert overall_mean(hits) == (2 / 3 + 1 / 2) / 2  # not 3 of 5
    assert np.isnan(overall_mean(np.full((3, 2), NAN)))
    assert np.isnan(part_means(np.empty((0, 2)))).all()


def test_persons_that_nothing_is_known_of_change_nothing():
    truth, predicted = poses(), poses(seed=1)
    unknown = np.concatenate([truth, np.full((7, 14, 2), NAN)]), np.concatenate([predicted, poses(7)])
    for hits in (lambda p, t: joint_hits(p, t, diameters(t, LSP), 0.5), lambda p, t: limb_hits(p, t, LSP)):
        few, more = hits(predicted, truth), hits(*unknown[::-1])
        np.testing.assert_array_equal(part_means(few), part_means(more))
        assert standard_error(few) == pytest.approx(standard_error(more), rel=1e-12)


def test_standard_error_by_hand():
    # persons' means 1, 0, 0.5, 0.5: variance 1/6 (of 3 degrees of freedom) over 4 persons
    hits = np.array([[1, 1], [0, 0], [1, 0], [0, 1]], float)
    assert standard_error(hits) == pytest.approx(np.sqrt(1 / 6 / 4))
    assert np.isnan(standard_error(hits[:1]))
    assert np.isnan(standard_error(np.full((4, 2), NAN)))


def test_standard_error_against_resampled_persons():
    generator = np.random.default_rng(3)
    skill = generator.uniform(0.2, 0.9, (300, 1))  # joints of one person go together
    hits = (generator.uniform(size=(300, 6)) < skill).astype(float)
    hits[generator.uniform(size=hits.shape) < [0.6, 0.1, 0, 0, 0.3, 0]] = NAN
    brute = np.std([overall_mean(hits[generator.integers(300, size=300)]) for _ in range(4000)])
    assert standard_error(hits) == pytest.approx(brute, rel=0.05)
    independent = np.sqrt(np.nanvar(hits) / (~np.isnan(hits)).sum())
    assert standard_error(hits) > 1.2 * independent


def test_bootstrap_of_a_gain():
    generator = np.random.default_rng(5)
    before = (generator.uniform(size=(400, 5)) < 0.6).astype(float)
    after = np.maximum(before, generator.uniform(size=before.shape) < 0.2)
    before[:100, 1] = after[:100, 1] = NAN
    gain, (low, high) = paired_bootstrap(before, after)
    assert gain == pytest.approx(overall_mean(after) - overall_mean(before))
    assert 0 < low < gain < high
    # gains of one person add up linearly, so the interval is close to that of their standard error
    assert high - low == pytest.approx(2 * 1.96 * standard_error(after - before), rel=0.08)
    back, (low_back, high_back) = paired_bootstrap(after, before)
    assert (back, low_back, high_back) == pytest.approx((-gain, -high, -low))
    assert paired_bootstrap(before, after, seed=1)[1] != (low, high)
    assert paired_bootstrap(before, after) == (gain, (low, high))


def test_bootstrap_of_equals_and_of_nothing():
    hits = (np.random.default_rng(0).uniform(size=(30, 4)) < 0.5).astype(float)
    assert paired_bootstrap(hits, hits) == (0, (0, 0))
    gain, interval = paired_bootstrap(np.full((3, 2), NAN), np.full((3, 2), NAN))
    assert np.isnan([gain, *interval]).all()


def test_bootstrap_refuses_different_truths():
    with pytest.raises(ValueError, match="same truth"):
        paired_bootstrap(np.ones((2, 2)), np.array([[1, 1], [1, NAN]]))


# thirteen persons and their scores, worked out by loops over the definitions

JOINTS = ("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder",
          "l_elbow", "l_wrist", "neck", "head_top")
LIMBS = {
    "torso": ("r_shoulder l_shoulder", "r_hip l_hip"), "r_upper_leg": ("r_hip", "r_knee"),
    "l_upper_leg": ("l_hip", "l_knee"), "r_lower_leg": ("r_knee", "r_ankle"), "l_lower_leg": ("l_knee", "l_ankle"),
    "r_upper_arm": ("r_shoulder", "r_elbow"), "l_upper_arm": ("l_shoulder", "l_elbow"),
    "r_lower_arm": ("r_elbow", "r_wrist"), "l_lower_arm": ("l_elbow", "l_wrist"), "head": ("neck", "head_top")}
FIGURE = {  # the diameter, l_shoulder to r_hip, is 50 long, the head 20, each limb of arms and legs 20 or 40
    "r_ankle": (40, 180), "r_knee": (40, 140), "r_hip": (40, 100), "l_hip": (64, 100), "l_knee": (64, 140),
    "l_ankle": (64, 180), "r_wrist": (14, 100), "r_elbow": (14, 80), "r_shoulder": (14, 60), "l_shoulder": (70, 60),
    "l_elbow": (70, 80), "l_wrist": (70, 100), "neck": (42, 50), "head_top": (42, 30)}
MISSING = (NAN, NAN)
BOX_SIDE = 100


def shifted(pose, dx, dy):
    return {name: (x + dx, y + dy) for name, (x, y) in pose.items()}


def mirrored(pose):
    sides = {"r": "l", "l": "r"}
    return {name: pose[sides[name[0]] + name[1:] if name[1] == "_" else name] for name in pose}


def thirteen():
    """Predicted pose, true pose and head size of each person, with what they are there for."""
    knot = FIGURE | {"r_wrist": FIGURE["r_elbow"], "l_ankle": FIGURE["l_knee"], "l_shoulder": FIGURE["r_hip"]}
    small = {name: (x / 2, y / 2) for name, (x, y) in FIGURE.items()}
    return [
        (FIGURE, FIGURE, 20),  # perfect
        (shifted(FIGURE, 6, 8), FIGURE, 20),  # every error is 10: 0.2 diameters, 0.5 heads, half of the short limbs
        (shifted(FIGURE, 6, 8.001), FIGURE, 20),  # just beyond
        (mirrored(FIGURE), FIGURE, 20),  # left and right swapped
        (FIGURE | {"r_wrist": MISSING, "neck": (42, NAN), "l_hip": MISSING}, FIGURE, 20),  # predictions missing
        (shifted(FIGURE, 3, 4), FIGURE | {"r_ankle": MISSING, "l_wrist": (70, NAN), "head_top": MISSING}, NAN),
        (shifted(FIGURE, 0, 9), FIGURE | {"l_shoulder": MISSING}, 18),  # no diameter, no torso; 9 = 0.5 heads
        (knot, knot, 20),  # limbs and a diameter of no length, exactly right
        (shifted(knot, 0.5, 0), knot, 20),  # and not exactly
        (FIGURE | {"l_elbow": (70, 99), "r_knee": (40, 165), "head_top": (62, 30),  # relaxed PCP forgives these;
                   "r_shoulder": (14, 85), "l_shoulder": (70, 35)}, FIGURE, 40),  # the torso's end stays where it was
        (shifted(small, 0, 5), small, 10.5),  # 0.2 of a diameter of 25; half of half as long limbs
        (FIGURE, dict.fromkeys(FIGURE, MISSING), NAN),  # of whom nothing is known
        (dict.fromkeys(FIGURE, MISSING), FIGURE, 20)]  # for whom nothing is predicted


def is_known(point):
    return not math.isnan(point[0]) and not math.isnan(point[1])


def length(a, b):
    return math.hypot(a[0] - b[0], a[1] - b[1])


def joint_table(persons, reference, threshold):
    """Of each person each joint's hit: True, False, or None where it does not count."""
    rows = []
    for predicted, truth, head in persons:
        limit = threshold * reference(truth, head)
        row = []
        for name in JOINTS:
            if math.isnan(limit) or not is_known(truth[name]):
                row.append(None)
            else:
                row.append(is_known(predicted[name]) and length(predicted[name], truth[name]) <= limit)
        rows.append(row)
    return rows


def end_of(pose, names):
    points = [pose[name] for name in names.split()]
    return sum(x for x, y in points) / len(points), sum(y for x, y in points) / len(points)


def limb_table(persons, relaxed):
    rows = []
    for predicted, truth, _ in persons:
        row = []
        for first, second in LIMBS.values():
            (a, b), (p, q) = [[end_of(pose, end) for end in (first, second)] for pose in (truth, predicted)]
            if not (is_known(a) and is_known(b)):
                row.append(None)
            elif not (is_known(p) and is_known(q)):
                row.append(False)
            elif relaxed:
                row.append((length(a, p) + length(b, q)) / 2 <= length(a, b) / 2)
            else:
                row.append(length(a, p) <= length(a, b) / 2 and length(b, q) <= length(a, b) / 2)
        rows.append(row)
    return rows


def rate(rows, part, weights):
    """Percent of the persons on whom a part counts; None where it counts on nobody."""
    counted = [(weight, row[part]) for weight, row in zip(weights, rows) if row[part] is not None]
    if not counted:
        return None
    return 100 * sum(weight for weight, hit in counted if hit) / sum(weight for weight, _ in counted)


def mean_rate(rows, parts, weights=None):
    rates = [rate(rows, part, weights or [1] * len(rows)) for part in parts]
    rates = [found for found in rates if found is not None]
    return sum(rates) / len(rates)


def pooled_rate(rows, parts, weights=None):
    counted = [(weight, row[part]) for weight, row in zip(weights or [1] * len(rows), rows) for part in parts
               if row[part] is not None]
    return 100 * sum(weight for weight, hit in counted if hit) / sum(weight for weight, _ in counted)


def symmetric_rates(names, rows, weights=None):
    """Left and right averaged where both count, by their names without r_ and l_."""
    found, weights = {}, weights or [1] * len(rows)
    for part, name in enumerate(names):
        found.setdefault(name.removeprefix("r_").removeprefix("l_"), []).append(rate(rows, part, weights))
    known = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: sum(values) / len(values) for name, values in known.items()}


def mean_of_six(rows, parts, weights=None):
    rates = symmetric_rates(LIMBS, rows, weights)
    return sum(rates.values()) / len(rates)


def error_of_mean(rows, parts, mean=mean_rate):
    """Over persons, by how much the mean changes as one of them weighs a little more or less than the others."""
    counted = [i for i, row in enumerate(rows) if any(row[part] is not None for part in parts)]
    squares = 0
    for person in counted:
        up, down = ([1 + step * (i == person) for i in range(len(rows))] for step in (1e-5, -1e-5))
        squares += ((mean(rows, parts, up) - mean(rows, parts, down)) / 2e-5) ** 2
    return math.sqrt(squares * len(counted) / (len(counted) - 1))


def reference_scores(persons):
    def diameter(truth, head):
        return length(truth["l_shoulder"], truth["r_hip"])

    scores, errors, everything = {}, {}, range(len(JOINTS))
    ends = [i for i, name in enumerate(JOINTS) if name not in ("neck", "head_top")]
    arms_and_legs = [i for i, name in enumerate(LIMBS) if name not in ("torso", "head")]

    def part(metric, names, rows, symmetric=True, **means):
        once = [1] * len(rows)
        scores[metric] = {name: rate(rows, i, once) for i, name in enumerate(names)}
        for mean, parts in means.items():
            scores[metric][mean] = mean_rate(rows, parts)
            errors[metric if mean == "mean" else f"{metric}_{mean}"] = error_of_mean(rows, parts)
        if symmetric:
            scores[f"{metric}_symmetric"] = symmetric_rates(names, rows)

    part("pck@0.2", JOINTS, joint_table(persons, diameter, 0.2), mean=everything, mean12=ends)
    scores["pdj"] = {text: mean_rate(joint_table(persons, diameter, float(text)), everything) for text in
                     ("0.05", "0.10", "0.15", "0.20", "0.25", "0.30", "0.35", "0.40", "0.45", "0.50")}
    heads = joint_table(persons, lambda truth, head: head, 0.5)
    part("pckh@0.5", JOINTS, heads, mean=everything)
    scores["pckh@0.5"]["total"] = pooled_rate(heads, everything)
    errors["pckh@0.5_total"] = error_of_mean(heads, everything, pooled_rate)
    for kind in ("strict", "relaxed"):
        rows = limb_table(persons, kind == "relaxed")
        part(f"pcp_{kind}@0.5", LIMBS, rows, mean10=range(len(LIMBS)), mean8=arms_and_legs)
        scores[f"pcp_{kind}@0.5_symmetric"]["mean6"] = mean_of_six(rows, range(len(LIMBS)))
        errors[f"pcp_{kind}@0.5_symmetric_mean6"] = error_of_mean(rows, range(len(LIMBS)), mean_of_six)
    for fraction in (0.05, 0.1, 0.2):
        part(f"pck_box@{fraction}", JOINTS, joint_table(persons, lambda truth, head: BOX_SIDE, fraction),
             symmetric=fraction == 0.1, mean=everything)
    return scores | {"standard_error": errors, "persons": len(persons)}


def scores_of(persons):
    predicted, truth = (np.array([[person[side][name] for name in JOINTS] for person in persons], float)
                        for side in (0, 1))
    return score(predicted, truth, [head for *_, head in persons], LSP, box_side=BOX_SIDE)


def test_every_score_of_thirteen_persons_is_that_of_the_definitions():
    persons = thirteen()
    scores, known = scores_of(persons), reference_scores(persons)
    assert scores.pop("left_out") == {
        "PDJ, PCK of 2 of 13 persons": "their l_shoulder or r_hip is not annotated",
        "PCKh of 2 of 13 persons": "their head size is not known"}
    assert scores.keys() == known.keys() and scores.pop("persons") == known.pop("persons") == 13
    for metric, rates in known.items():
        assert list(scores[metric]) == list(rates)
        assert scores[metric] == pytest.approx(rates, abs=1e-4 if metric == "standard_error" else 1e-9), metric


def test_some_of_their_scores_by_hand():
    """Counted on paper, so that neither the metrics nor the reference above stands alone."""
    scores = scores_of(thirteen())
    # of 11 persons with a diameter 4 are wrong: just beyond, a missing neck, not exact at a diameter of 0, not there
    assert scores["pck@0.2"]["neck"] == pytest.approx(100 * 7 / 11)
    # and the wrist of the swapped one, where the neck is right; a wrist is missing as well
    assert scores["pck@0.2"]["r_wrist"] == pytest.approx(100 * 6 / 11)
    # of 11 with a head size 3 are wrong: just beyond, a missing neck, no prediction
    assert scores["pckh@0.5"]["neck"] == pytest.approx(100 * 8 / 11)
    # of 12 with a right lower arm 5 are wrong: just beyond, swapped, a missing wrist, not exact at no length, not there
    assert scores["pcp_strict@0.5"]["r_lower_arm"] == pytest.approx(100 * 7 / 12)
    forgiven = scores_of(thirteen()[9:10])  # the elbow is 19 of 20 away, the wrist not at all
    assert (forgiven["pcp_strict@0.5"]["l_lower_arm"], forgiven["pcp_relaxed@0.5"]["l_lower_arm"]) == (0, 100)
    # of 11 with a left lower arm 4 are wrong: just beyond, swapped, the elbow, not there; beside 7 of 12 right ones
    assert scores["pcp_strict@0.5_symmetric"]["lower_arm"] == pytest.approx(100 * (7 / 12 + 7 / 11) / 2)
    # at 0.1 of a box of 100 an error of 10 is right, 10.001 is not: of 12 known necks 3 are wrong, as with heads
    assert scores["pck_box@0.1"]["neck"] == pytest.approx(100 * 9 / 12)


def test_parts_and_their_names():
    assert symmetric_joints(LSP) == {"ankle": (0, 5), "knee": (1, 4), "hip": (2, 3), "wrist": (6, 11), "elbow": (7, 10),
                                     "shoulder": (8, 9), "neck": (12,), "head_top": (13,)}
    assert symmetric_limbs(LSP) == {"torso": (0,), "upper_leg": (1, 2), "lower_leg": (3, 4), "upper_arm": (5, 6),
                                    "lower_arm": (7, 8), "head": (9,)}
    assert symmetric_joints(STICKS) == symmetric_limbs(STICKS) == {}  # it has no mirror pairs
    # limbs pair by their ends, whatever they are called; one that only one side has stands alone
    horse = Skeleton(joints=("left_ear", "right_ear", "left_hoof", "right_hoof", "nose"),
                     pairs=(("right_ear", "left_ear"), ("right_hoof", "left_hoof")),
                     limbs={"one": (("nose",), ("left_ear",)), "two": (("right_ear",), ("nose",)),
                            "r_leg": (("nose",), ("right_hoof",)), "ears": (("left_ear",), ("right_ear",))})
    assert symmetric_limbs(horse) == {"one/two": (0, 1), "r_leg": (2,), "ears": (3,)}
    assert symmetric_joints(horse) == {"ear": (0, 1), "hoof": (2, 3), "nose": (4,)}
    clash = Skeleton(joints=("r_eye", "l_eye", "eye"), pairs=(("r_eye", "l_eye"),))
    assert symmetric_joints(clash) == {"r_eye/l_eye": (0, 1), "eye": (2,)}


@pytest.mark.parametrize("right, left, name", [
    ("r_ankle", "l_ankle", "ankle"), ("right_hand", "left_hand", "hand"), ("hand_right", "hand_left", "hand"),
    ("right_hip-right_knee", "left_hip-left_knee", "hip-knee"), ("RHip", "LHip", "Hip"), ("r_2", "l_2", "2"),
    ("rightFrontPaw", "leftFrontPaw", "FrontPaw"), ("r", "l", "r/l"), ("port", "starboard", "port/starboard")])
def test_what_two_names_share(right, left, name):
    assert shared_name(right, left) == name


def test_left_and_right_are_averaged_as_rates_and_where_only_one_counts_it_stands_alone():
    hits = np.array([[1, 0, NAN, 1], [1, NAN, NAN, 1], [0, NAN, NAN, 0]])
    parts = {"hand": (0, 1), "foot": (2, 3)}
    assert symmetric_means(hits, parts) == pytest.approx({"hand": (2 / 3 + 0) / 2, "foot": 2 / 3})
    weights = symmetric_weights(hits, parts)
    np.testing.assert_allclose(weights, [1 / 4, 1 / 4, 0, 1 / 2])
    assert overall_mean(hits, weights) == pytest.approx((1 / 3 + 2 / 3) / 2)
    nothing = np.full((3, 4), NAN)
    assert np.isnan([overall_mean(nothing, symmetric_weights(nothing, parts)), pooled_mean(nothing),
                     standard_error(nothing, symmetric_weights(nothing, parts)), pooled_error(nothing)]).all()


def test_a_pooled_mean_weighs_annotations_and_a_plain_one_joints():
    hits = np.array([[1, 0], [1, NAN], [1, NAN]])
    assert (pooled_mean(hits), overall_mean(hits)) == (3 / 4, 1 / 2)
    # each person's hits less 3/4: -1/2, 1/4, 1/4, over 4 annotations
    assert pooled_error(hits) == pytest.approx(math.sqrt(3 / 2 * (1 / 4 + 1 / 16 + 1 / 16)) / 4)


@pytest.mark.skipif(not (SHARED / "golden").is_dir(), reason="the published predictions and the raw LSP are not here")
def test_published_predictions_give_the_published_scores():
    from scipy.io import loadmat
    with zipfile.ZipFile(SHARED / "data" / "lsp_dataset.zip") as archive:
        name, = (n for n in archive.namelist() if n.endswith("joints.mat"))
        joints = loadmat(io.BytesIO(archive.read(name)))["joints"]  # (3, 14, 2000)
    truth = joints[:2].transpose(2, 1, 0)[1000:]
    predicted = np.load(SHARED / "golden" / "lsp_test_predictions.npy")
    head_sizes = distances(truth[:, LSP.index("neck")], truth[:, LSP.index("head_top")])
    scores = score(predicted, truth, head_sizes, LSP)
    golden = json.loads((SHARED / "golden" / "scores.json").read_text())
    assert {key for key in scores.keys() - golden.keys() if not key.endswith("_symmetric")} == {"standard_error",
                                                                                                "persons"}
    for metric, rates in golden.items():
        assert metric == "pckh@0.5" or scores[metric].keys() - {"mean12"} == rates.keys()
        for part, rate in rates.items():
            assert scores[metric][part] == pytest.approx(rate, abs=0.00051), (metric, part)  # golden has 3 decimals
    assert scores["pck@0.2"]["mean12"] == pytest.approx(82.23, abs=0.01)
