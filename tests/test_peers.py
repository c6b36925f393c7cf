"""The benchmark beside MediaPipe, with a stand-in for it: whose joints are whose, and what a missed person costs."""
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from deeppose.errors import Failure
from deeppose.skeletons import LSP

STAND_IN = """
import json, sys
print(json.dumps({"version": "none"}), flush=True)
for line in sys.stdin:
    poses = [None if "missed" in path else [[n, 2 * n + len(path)] for n in range(33)] for path in json.loads(line)]
    print(json.dumps({"poses": poses, "seconds": 0.5}), flush=True)
"""


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    yield importlib.import_module("peers")
    for name in ("peers", "lsp_run"):
        sys.modules.pop(name, None)


def test_landmarks_become_lsps_joints_and_a_missed_person_is_wrong(peers, monkeypatch):
    monkeypatch.setattr(peers, "usable_cores", lambda: 2)
    side = peers.MediaPipe(sys.executable, 1, LSP)
    side.command = [sys.executable, "-c", STAND_IN]
    with side:
        poses, seconds = side(["a", "missed", "abc"])
    assert seconds == 1.0 and np.isnan(poses[1]).all()
    for name, landmark in (("l_shoulder", 11), ("r_shoulder", 12), ("l_wrist", 15), ("r_ankle", 28)):
        assert poses[[0, 2], LSP.index(name)].tolist() == [[landmark, 2 * landmark + 1], [landmark, 2 * landmark + 3]]
    assert np.isnan(poses[0, [LSP.index("neck"), LSP.index("head_top")]]).all()

    truth = np.where(np.isnan(poses), 0, poses)
    truth[1] = truth[0]
    found = peers.scores(poses, truth, LSP, np.array([True, False, True]))
    for metric in ("pck@0.2", "pdj 0.50", "pcp_strict@0.5"):
        assert found[metric] == pytest.approx(100 * 2 / 3) and found[f"{metric}, of whom all find"] == 100
    assert set(found["pck@0.2, joints"]) == set(LSP.joints) - {"neck", "head_top"}
    assert peers.rates([4, 2], [(2, 3), (1, 3)]) == {
        "images a second": 2, "milliseconds of a core": 1000, "turns, images a second": [2, 2]}


def test_what_ends_is_told(peers):
    side = peers.MediaPipe(sys.executable, 1, LSP)
    side.command = [sys.executable, "-c", "raise SystemExit('no model')"]
    with pytest.raises(Failure, match="MediaPipe ended: no model"):
        side.__enter__()
    assert all(worker.poll() is not None for worker in side.workers)
