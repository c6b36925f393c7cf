"""The demo's six steps on a few figures in each data set's layout, irregularities included."""
import json
from pathlib import Path

import numpy as np
import pytest

import demo
from deeppose.settings import parse_settings
from deeppose.steps import run_steps
from tests import narrow

SMALLER = {"train_stage1": ["--backbone", narrow.NAME, "--input-size", 32, "--batch-size", 16],
           "train_stage2": ["--width", 0.02, "--crops-per-image", 1, "--shared-network"]}


def steps(*flags):
    return demo.steps(parse_settings(vars(demo), list(map(str, flags))))


@pytest.mark.parametrize("name, joints, channels, dtype", [
    ("mpii", 16, 3, np.uint8), ("lip", 16, 3, np.uint8), ("k2hpd", 15, 1, np.uint16), ("coco", 11, 3, np.uint8)])
def test_six_steps_on_figures_in_each_layout(tmp_path, monkeypatch, undrawn, name, joints, channels, dtype):
    share = 0.3 if name in ("mpii", "lip") else 0.5  # of K2HPD's two films one; COCO's ten are enough to calibrate on
    made = [(module, [*flags, *SMALLER.get(module.__name__, []), *["--workers", 1] * hasattr(module, "WORKERS")])
            for module, flags in steps("--dataset", name, "--train-figures", 20, "--test-figures", 4,
                                       "--validation-share", share, "--stage1-epochs", 1, "--stage2-epochs", 1)]
    # slower than all the rest
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **more: Path(path).touch())
    run_steps(made, tmp_path, 0, "cpu")
    images = np.load(tmp_path / "data/test_images.npy", mmap_mode="r")
    assert images.shape[-1] == channels and images.dtype == dtype
    predicted = np.load(tmp_path / "runs/stage2_predictions.npy")
    assert predicted.shape == (len(images), joints, 2) and np.isfinite(predicted).all()
    scores = json.loads((tmp_path / "runs/stage2.json").read_text())
    assert 0 <= scores["pck_box@0.1"]["mean"] <= 100 and {"stage 1", "mean pose"} <= scores.keys()
    assert ("calibration_error" in scores.get("confidence", {})) == (name == "coco")
    assert ("pckh@0.5" in scores) == (name in ("mpii", "lip"))  # the others have no heads
