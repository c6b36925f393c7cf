"""Two processes on the CPU against one: the same training, every joint once, one voice."""
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import generate_train_output
import lsp_data
import train_stage1
import train_stage2
from deeppose import arrays
from deeppose.distributed import Group
from deeppose.skeletons import LSP

ROOT = Path(__file__).resolve().parents[1]
# nothing random, and nothing that depends on how a batch is cut
STAGE1 = ["--backbone", "resnet18", "--weights", "none", "--input-size", "32", "--batch-size", "9", "--epochs", "2",
          "--optimiser", "sgd", "--learning-rate", "0.01", "--freeze-batchnorm", "--dropout", "0", "--rotation", "0",
          "--scale", "1", "1", "--shift", "0", "--flip", "0", "--colour", "0"]
STAGE2 = ["--crop-size", "67", "--width", "0.02", "--crops-per-image", "1", "--batch-size", "32", "--epochs", "1"]


def flags(script, folder, *more):
    given = []
    for name, place in (("DATA_DIR", "data"), ("CHECKPOINT_DIR", "checkpoints"), ("RUN_DIR", "runs")):
        if hasattr(script, name):
            given += ["--" + name.lower().replace("_", "-"), str(folder / place)]
    return [*given, "--device", "cpu", *more]


def torchrun(script, folder, *more):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(ROOT / f"{script.__name__}.py"), *flags(script, folder, *more)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared(raw_dir, tmp_path_factory):
    """Data of step 1 in which some joints are missing, so that processes count different numbers of them."""
    folder = tmp_path_factory.mktemp("prepared")
    lsp_data.main(["--raw-dir", str(raw_dir), "--no-use-lspe", "--crop-size", "64", "--lsp-train-images", "30",
                   "--validation-share", "0.2", "--workers", "1", "--data-dir", str(folder / "data"), "--run-dir",
                   str(folder / "runs")])
    labels, held_out = (arrays.load(folder / f"data/train_{name}.npy") for name in ("labels", "split"))
    labels[(np.random.default_rng(0).random(labels.shape[:2]) < 0.3) & (held_out == 0)[:, None]] = np.nan
    arrays.save(folder / "data/train_labels.npy", labels)
    return folder


@pytest.fixture(scope="module")
def both(prepared, tmp_path_factory):
    """Folders with stage 1 trained by one process and by two, and what the two printed."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(prepared / "data", folder / "data")
    train_stage1.main(flags(train_stage1, folders[0], *STAGE1))
    return *folders, torchrun(train_stage1, folders[1], *STAGE1)


def log(folder, stage=1):
    with open(folder / f"runs/stage{stage}_training.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_as_one_does(both):
    one, two, _ = both
    for mine, theirs in zip(log(one), log(two), strict=True):
        for column in ("loss", "validation_loss", "pdj", "pcp", "learning_rate"):
            assert float(theirs[column]) == pytest.approx(float(mine[column]), rel=1e-4), column
    networks = [torch.load(folder / "checkpoints/stage1_last.pt", weights_only=True)["model"] for folder in (one, two)]
    moved = 0
    for name, value in networks[0].items():
        assert torch.allclose(value, networks[1][name], atol=1e-4), name
        moved += name == "head.3.bias" and value.any()
    assert moved


def test_the_first_process_alone_speaks_and_states_batch_and_rate(both):
    text = both[2]
    assert text.count("epoch 1 ") == 1 and text.count("next: ") == 1
    assert "2 processes, batches of 9 persons in all, learning rate 0.01 as set" in text


def test_two_processes_resume(both, tmp_path):
    one, two, _ = both
    shutil.copytree(two, tmp_path / "more")
    more = ["--epochs", "3", "--resume"]
    torchrun(train_stage1, tmp_path / "more", *STAGE1, *more)
    train_stage1.main(flags(train_stage1, one, *STAGE1, *more))
    assert len(log(tmp_path / "more")) == 3
    assert float(log(tmp_path / "more")[2]["loss"]) == pytest.approx(float(log(one)[2]["loss"]), rel=1e-4)


def test_joints_are_dealt_out_and_trained_once_each(both):
    _, two, _ = both
    generate_train_output.main([flag for flag in flags(generate_train_output, two)])
    text = torchrun(train_stage2, two, *STAGE2)
    assert "2 processes; the first, whose epochs these are, trains r_ankle, r_hip, " in text
    assert text.count("joint ") == 7
    assert sorted(row["joint"] for row in log(two, 2)) == sorted(LSP.joints)
    assert {path.stem for path in (two / "checkpoints").glob("stage2_*")} == {f"stage2_{name}" for name in LSP.joints}


def test_shares_and_joints_cover_everything_once():
    groups = [Group(rank, 3, torch.device("cpu")) for rank in range(3)]
    rows = torch.arange(11)
    assert torch.equal(torch.cat([group.share(rows) for group in groups]), rows)
    assert sorted(sum((group.own(list(range(14))) for group in groups), [])) == list(range(14))
