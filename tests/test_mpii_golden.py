"""PCKh as MPII's published tables have it: a small case by hand, and, where they are at hand, a published method's
scores on MPII's usual validation persons."""
import json
from pathlib import Path

import numpy as np
import pytest

from deeppose.reports import score
from mpii_data import MPII

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"


def test_totals_leave_out_pelvis_and_thorax_and_weigh_each_annotation_the_same():
    truth = np.zeros((4, 16, 2))
    predicted = truth.copy()
    predicted[:, [MPII.index("pelvis"), MPII.index("thorax")]] = 99  # wrong on everybody
    predicted[0, MPII.index("r_wrist")] = 5, 0  # half of a head
    predicted[1, MPII.index("r_wrist")] = 5, 0.1
    truth[1:, MPII.index("l_wrist")] = np.nan
    predicted[0, MPII.index("l_wrist")] = 0, 6
    scores = score(predicted, truth, [10, 10, 10, np.nan], MPII)
    known = scores["pckh@0.5"]  # of three persons: the fourth has no head
    assert (known["r_wrist"], known["l_wrist"], known["pelvis"]) == (pytest.approx(200 / 3), 0, 0)
    assert known["mean"] == pytest.approx(100 * (12 + 2 / 3) / 16)
    assert known["mean14"] == pytest.approx(100 * (12 + 2 / 3) / 14)
    assert known["total"] == pytest.approx(100 * (12 * 3 + 2) / (13 * 3 + 1))
    assert scores["pckh@0.5_symmetric"]["wrist"] == pytest.approx(100 / 3)
    assert {"pckh@0.5", "pckh@0.5_mean14", "pckh@0.5_total"} <= scores["standard_error"].keys()


@pytest.mark.skipif(not (GOLDEN / "mpii_scores.json").is_file(), reason="MPII's published predictions are not here")
def test_published_predictions_give_the_published_scores():
    golden = json.loads((GOLDEN / "mpii_scores.json").read_text())
    truth = np.load(GOLDEN / "mpii_val_truth.npz")
    assert golden["joints"] == list(MPII.joints)
    scores = score(np.load(GOLDEN / "mpii_val_predictions.npy"), truth["joints"], truth["head_sizes"], MPII)
    published = golden["pckh@0.5"]
    symmetric = published.pop("symmetric")
    assert scores["pckh@0.5"].pop("mean14") == pytest.approx(np.mean([published[name] for name in MPII.joints if name
                                                                      not in ("pelvis", "thorax")]), abs=0.001)
    published |= {"mean": published.pop("mean_of_16_joints"),
                  "total": published.pop("total_without_pelvis_thorax_pooled")}
    assert scores["pckh@0.5"] == pytest.approx(published, abs=0.001)
    assert scores["pckh@0.5_symmetric"] == pytest.approx(symmetric, abs=0.001)
