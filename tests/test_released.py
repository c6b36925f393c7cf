"""The model that the project ships, on figures that it has never seen anything like."""
from pathlib import Path

import numpy as np
import pytest
import torch

import lsp_data
from deeppose.checkpoints import load_checkpoint
from deeppose.metrics import diameters, joint_hits, overall_mean
from deeppose.persons import load_persons
from deeppose.testing import mean_pose
from networks.trained_stages import load_stage1

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(CHECKPOINTS / "released/stage1.pt", "")


def test_it_finds_the_joints_of_drawn_figures(raw_dir, tmp_path, checkpoint):
    lsp_data.main(["--raw-dir", str(raw_dir), "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "runs"),
                   "--train-on", "lsp", "--lsp-train-images", "10", "--workers", "1"])
    persons = load_persons(tmp_path, "test", torch.device("cpu"))
    stage1 = load_stage1(CHECKPOINTS / "released", persons, torch.device("cpu"))
    truth, rows = persons.truth, torch.arange(len(persons.crops))
    pose = stage1.predict(persons, rows, flip_test=True).numpy()
    rate, chance = (overall_mean(joint_hits(poses, truth, diameters(truth, persons.skeleton), 0.2))
                    for poses in (pose, mean_pose(tmp_path, len(rows))))
    assert rate > 0.4 and rate > chance + 0.15  # photographs taught it; on 200 figures it has 67%, a mean pose 22%
    heights = [np.median(pose[:, persons.skeleton.index(name), 1]) for name in ("head_top", "neck", "r_hip", "r_ankle")]
    assert heights == sorted(heights)


def test_it_is_small_and_its_card_tells_its_scores(checkpoint):
    assert (CHECKPOINTS / "released/stage1.pt").stat().st_size < 25e6
    assert {value.dtype for value in checkpoint["weights"].values() if value.is_floating_point()} == {torch.float16}
    card = (CHECKPOINTS / "README.md").read_text(encoding="utf-8")
    for scores in checkpoint["scores"].values():
        row = " | ".join(f"{scores[name]:.1f}" for name in ("pck@0.2_mean", "pck@0.2_mean12", "pckh@0.5_mean",
                                                            "pcp_strict@0.5_mean10", "pcp_strict@0.5_mean8"))
        assert row in card
    assert checkpoint["provenance"]["commit"] in card and not checkpoint["provenance"]["commit"].endswith("dirty")
