"""Metrics against numbers worked out by hand, and against a published method's scores where those are at hand."""
import io
import json
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
    standard_error,
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
    assert scores.keys() - golden.keys() == {"standard_error", "persons"}
    for metric, rates in golden.items():
        assert metric == "pckh@0.5" or scores[metric].keys() - {"mean12"} == rates.keys()
        for part, rate in rates.items():
            assert scores[metric][part] == pytest.approx(rate, abs=0.00051), (metric, part)  # golden has 3 decimals
    assert scores["pck@0.2"]["mean12"] == pytest.approx(82.23, abs=0.01)
