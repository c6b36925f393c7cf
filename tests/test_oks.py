"""Object keypoint similarity by hand; the average precision where pycocotools is installed, and its absence."""
import importlib.util
import math
import sys

import numpy as np
import pytest

from deeppose import oks
from deeppose.errors import Failure

NAN = np.nan
SIGMAS = [0.05, 0.1]
needs_pycocotools = pytest.mark.skipif(importlib.util.find_spec("pycocotools") is None,
                                       reason="pycocotools is not installed")


def facts(count, **changed):
    return {"image_id": [f"{row // 2}.jpg" for row in range(count)], "area": [40_000.0] * count,
            "bbox": [[0, 0, 200, 400]] * count, "sigmas": SIGMAS} | changed


def pose(*points):
    return np.array([points], float)


def test_similarity_by_hand():
    """A person of 100 px squared: a joint's spread is 2 sigma times 100 px, 10 px and 20 px here."""
    truth = pose((50, 50), (80, 20))
    for predicted, by_hand in ((truth, 1), (truth + (6, 8), (math.exp(-0.5) + math.exp(-1 / 8)) / 2),
                               (pose((50, 50), (80, NAN)), 0.5), (pose((NAN, NAN), (80, 20)), 0.5),
                               (pose((50, 50), (1e6, 20)), 0.5)):
        assert oks.similarities(predicted, truth, [1e4], SIGMAS) == pytest.approx([by_hand], abs=1e-12)
    assert oks.similarities(truth + (12, 16), truth, [4e4], SIGMAS) == pytest.approx(  # twice as large, twice as far
        oks.similarities(truth + (6, 8), truth, [1e4], SIGMAS))


def test_joints_that_are_not_annotated_do_not_count():
    truth = np.concatenate([pose((50, 50), (NAN, NAN)), pose((NAN, 3), (NAN, NAN))])
    assert oks.similarities(np.zeros((2, 2, 2)) + (56, 58), truth, [1e4, 1e4], SIGMAS) == pytest.approx(
        [math.exp(-0.5), NAN], nan_ok=True)
    assert oks.scores(truth[:1], truth[:1], facts(1))["mean"] == 100
    assert math.isnan(oks.scores(truth[1:], truth[1:], facts(1))["mean"])


def test_without_pycocotools_the_similarity_stands_alone(monkeypatch):
    for name in ("pycocotools", "pycocotools.coco", "pycocotools.cocoeval"):
        monkeypatch.setitem(sys.modules, name, None)
    truth = pose((50, 50), (80, 20))
    assert oks.scores(truth, truth, facts(1)) == {"mean": 100}


@pytest.mark.parametrize("wrong", [{"area": [1.0]}, {"sigmas": [0.1]}, {"bbox": [[1, 2]] * 2}, {"image_id": None},
                                   {"area": ["large", "small"]}, {"ignored": {"image_id": ["0.jpg"]}}])
def test_facts_of_other_persons_are_told(wrong):
    with pytest.raises(Failure, match="does not tell image_id, area and bbox of 2 test persons and sigmas of 2 joints"):
        oks.scores(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), facts(2, **wrong))
    with pytest.raises(Failure, match='dataset.json\'s "coco"'):
        oks.scores(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), {})


@needs_pycocotools
def test_average_precision_by_hand(capsys):
    """Four persons in two images, the spread 20 px and 40 px: one exact, one at a similarity of 0.6, one far off, one
    exact but ranked below the one far off."""
    truth = np.zeros((4, 2, 2)) + np.array([0, 300, 600, 900])[:, None, None]
    truth[:, 1] += 50
    predicted, near = truth.copy(), math.sqrt(-2 * math.log(0.6))
    predicted[1] += np.array([[20 * near, 0], [0, 40 * near]])
    predicted[2] += 5000
    given = facts(4)
    assert oks.similarities(predicted, truth, given["area"], SIGMAS) == pytest.approx([1, 0.6, 0, 1], abs=1e-9)
    found = oks.scores(predicted, truth, given, [0.9, 0.8, 0.7, 0.6])
    assert found["mean"] == pytest.approx(65) and list(found) == ["mean", *oks.STATISTICS]
    # at 0.5: right, right, wrong, right: precision 1 up to a recall of 2/4, 3/4 up to 3/4: 51 and 25 of 101 recalls
    assert found["AP@0.5"] == pytest.approx(100 * (51 + 25 * 0.75) / 101)
    # at 0.75 right, wrong, wrong, right: 1 up to a recall of 1/4, 2/4 up to 2/4
    assert found["AP@0.75"] == pytest.approx(100 * (26 + 25 * 0.5) / 101)
    assert (found["AR@0.5"], found["AR@0.75"]) == (75, 50)
    assert math.isnan(found["AP medium"]) and found["AR large"] == found["AR"]  # all are larger than 96 x 96 pixels
    assert capsys.readouterr().out == ""


@needs_pycocotools
@pytest.mark.parametrize("crowd", [0, 1])
def test_a_prediction_on_what_is_ignored_counts_neither_way(crowd):
    truth = np.zeros((4, 2, 2)) + np.array([0, 300, 600, 900])[:, None, None]
    predicted = truth.copy()
    predicted[0] += 5000  # where the second image, not the first, has somebody without keypoints
    predicted[2] += 5000
    ignored = {"image_id": ["1.jpg"], "area": [1e4], "bbox": [[5500, 5500, 200, 200]], "iscrowd": [crowd]}
    found = oks.scores(predicted, truth, facts(4, ignored=ignored), [0.9, 0.8, 0.9, 0.8])
    # wrong, ignored, right, right: a precision of 2/3 up to a recall of 2/4
    assert found["AP"] == pytest.approx(100 * 51 * (2 / 3) / 101) and found["AR"] == 50
    # with wrong in its place 2/4
    assert oks.scores(predicted, truth, facts(4), [0.9, 0.8, 0.9, 0.8])["AP"] == pytest.approx(100 * 51 / 2 / 101)


@needs_pycocotools
def test_missing_predictions_and_nobody_have_an_average_precision():
    truth = np.zeros((2, 2, 2)) + np.array([0, 300])[:, None, None]
    predicted = truth.copy()
    predicted[1] = NAN
    found = oks.scores(predicted, truth, facts(2))
    assert found["AR"] == 50 and found["mean"] == 50
    assert math.isnan(oks.scores(truth[:0], truth[:0], facts(0, bbox=np.zeros((0, 4))))["AP"])


@needs_pycocotools
def test_a_joint_that_is_missing_from_predictions_hides_no_mistake():
    """Nobody has the second joint: whether it is predicted makes no difference, and a wrong pose still counts."""
    truth = np.stack([np.arange(8.0) * 100, np.zeros(8)], 1)[:, None].repeat(2, 1)
    truth[:, 1] = NAN
    predicted = np.nan_to_num(truth) + np.array([0, 5000] * 4)[:, None, None]
    without = predicted.copy()
    without[:, 1] = NAN
    given = facts(8, image_id=[f"{row}.jpg" for row in range(8)])
    assert oks.scores(predicted, truth, given) == pytest.approx(oks.scores(without, truth, given), nan_ok=True)
    assert 0 < oks.scores(without, truth, given, [0.1, 0.9] * 4)["AP"] < 50
