"""The six steps as a user runs them, on forty drawn figures: through, resumed, interrupted and run wrongly."""
import csv
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import generate_train_output
import lsp_data
import test_stage1 as step3
import test_stage2 as step6
import train_stage1
import train_stage2
from deeppose import arrays
from deeppose.distributed import Group
from deeppose.errors import Failure, UserError
from deeppose.persons import load_persons
from deeppose.report_files import notes_of
from deeppose.reports import score
from deeppose.skeletons import LSP
from deeppose.validation import spread_of
from networks.trained_stages import load_stages, run_with_confidence
from tests import narrow
from tests.interruption import interrupt

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ["demo_data", "demo", "lsp_data", "train_stage1", "test_stage1", "generate_train_output", "train_stage2",
           "test_stage2"]
PREPARE = ["--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30", "--validation-share", "0.2",
           "--workers", "1"]
STAGE1 = ["--backbone", narrow.NAME, "--weights", "none", "--input-size", "32", "--batch-size", "8",
          "--optimiser", "adam", "--learning-rate", "1e-3"]
STAGE2 = ["--crop-size", "67", "--width", "0.05", "--crops-per-image", "1", "--batch-size", "16",
          "--optimiser", "adam", "--learning-rate", "1e-3"]


def folders(script, folder):
    flags = []
    for name, place in (("DATA_DIR", "data"), ("CHECKPOINT_DIR", "checkpoints"), ("RUN_DIR", "runs")):
        if hasattr(script, name):
            flags += ["--" + name.lower().replace("_", "-"), str(folder / place)]
    return flags + (["--device", "cpu"] if hasattr(script, "DEVICE") else [])


def step(script, folder, *flags):
    script.main([*folders(script, folder), *flags])


@pytest.fixture(scope="module")
def trained(raw_dir, tmp_path_factory):
    """A folder in which all six steps have run."""
    folder = tmp_path_factory.mktemp("trained")
    step(lsp_data, folder, "--raw-dir", str(raw_dir), *PREPARE)
    step(train_stage1, folder, *STAGE1, "--epochs", "2")
    step(step3, folder)
    step(generate_train_output, folder)
    step(train_stage2, folder, *STAGE2, "--epochs", "1")
    step(step6, folder)
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    """The same, to spoil."""
    # links, not copies: scripts replace files, they never write into them
    return Path(shutil.copytree(trained, tmp_path / "copy", copy_function=os.link))


def weights(path):
    return torch.load(path, weights_only=True)["weights"]


def history(path):
    return torch.load(path, weights_only=True)["history"]


def change(data, name, array):
    """Replace one array of step 1 as if step 1 had written it so."""
    arrays.save(data / f"{name}.npy", array)
    dataset = arrays.load_json(data / "dataset.json", "")
    dataset["digests"][name] = arrays.digest(array)
    arrays.save_json(data / "dataset.json", dataset)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_every_file_of_the_contract_is_there(trained):
    data = {p.name: np.load(p) for p in (trained / "data").glob("*.npy")}
    assert data["train_output.npy"].shape == (30, 14, 2) and np.isfinite(data["train_output.npy"]).all()
    assert data["deltas.npy"].shape == (14, 40, 2) and data["deltas.npy"].dtype == np.float32
    checkpoints = {p.name for p in (trained / "checkpoints").iterdir()}
    assert checkpoints == {"stage1.pt", "stage1_last.pt", *(f"stage2_{name}.pt" for name in LSP.joints)}
    for stage in (1, 2):
        scores = json.loads((trained / "runs" / f"stage{stage}.json").read_text())
        assert {"pck@0.2", "pdj", "pckh@0.5", "pcp_strict@0.5", "pcp_relaxed@0.5", "standard_error", "mean pose",
                "settings", "seed", "commit", "hardware", "seconds"} <= scores.keys()
        predicted = np.load(trained / "runs" / f"stage{stage}_predictions.npy")
        assert predicted.shape == (10, 14, 2)
        again = score(predicted, data["test_labels.npy"], data["test_head_sizes.npy"], LSP)
        assert scores["pck@0.2"] == pytest.approx(again["pck@0.2"], nan_ok=True)
        for picture in (f"stage{stage}.png", f"stage{stage}_pdj.png", f"stage{stage}_training.png"):
            with Image.open(trained / "runs" / picture) as image:
                image.load()
                assert min(image.size) > 200
    first = score(np.load(trained / "runs/stage1_predictions.npy"), data["test_labels.npy"],
                  data["test_head_sizes.npy"], LSP)
    assert "gain_over_stage1" in scores and scores["stage 1"]["pcp_strict@0.5"] == pytest.approx(
        first["pcp_strict@0.5"], nan_ok=True)
    with open(trained / "runs" / "stage1_training.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert not list(trained.rglob("*.part"))


def test_finished_joints_hold_half_precision_weights_and_settings_only(trained):
    checkpoint = torch.load(trained / "checkpoints" / "stage2_r_knee.pt", weights_only=True)
    assert {w.dtype for w in checkpoint["weights"].values()} == {torch.float16}
    assert checkpoint["settings"]["sigma"] == checkpoint["sigma"] == train_stage2.SIGMA
    assert "optimiser" not in checkpoint


def test_stage1_resumed_in_the_middle_of_an_epoch_ends_with_the_same_weights(trained, tmp_path, monkeypatch):
    for name in ("whole", "broken"):
        shutil.copytree(trained / "data", tmp_path / name / "data")
    more = [*STAGE1, "--epochs", "3", "--schedule", "cosine", "--average-decay", "0.9"]
    step(train_stage1, tmp_path / "whole", *more)

    interrupt(monkeypatch, train_stage1, epoch=3, batch=1)
    with pytest.raises(KeyboardInterrupt):
        step(train_stage1, tmp_path / "broken", *more)
    monkeypatch.undo()
    step(train_stage1, tmp_path / "broken", *more)  # the same command
    last = [torch.load(tmp_path / name / "checkpoints" / "stage1_last.pt", weights_only=True)
            for name in ("whole", "broken")]
    assert same(last[0]["model"], last[1]["model"]) and same(*(state["average"]["module"] for state in last))
    assert same(weights(tmp_path / "whole/checkpoints/stage1.pt"), weights(tmp_path / "broken/checkpoints/stage1.pt"))
    assert [r["loss"] for r in last[0]["history"]] == [r["loss"] for r in last[1]["history"]]


def test_stage2_resumes_a_joint_skips_finished_ones_and_ends_with_the_same_weights(copy, tmp_path, monkeypatch, capsys):
    for path in (copy / "checkpoints").glob("stage2_*"):
        path.unlink()
    whole = Path(shutil.copytree(copy, tmp_path / "whole", copy_function=os.link))
    more = [*STAGE2, "--epochs", "2", "--joints", "r_knee", "neck"]
    step(train_stage2, whole, *more)

    interrupt(monkeypatch, train_stage2, epoch=4)  # the second epoch of the second joint
    with pytest.raises(KeyboardInterrupt):
        step(train_stage2, copy, *more)
    last = copy / "checkpoints/stage2_neck_last.pt"
    state = torch.load(last, weights_only=True)
    del state["settings"]["missed"]  # as an older version left it
    torch.save(state, last)
    monkeypatch.undo()
    capsys.readouterr()
    step(train_stage2, copy, *more)
    assert "r_knee: finished already, skipped" in capsys.readouterr().out
    assert not last.exists()
    for name in ("r_knee", "neck"):
        assert same(*(weights(folder / f"checkpoints/stage2_{name}.pt") for folder in (whole, copy)))
        logs = [history(folder / f"checkpoints/stage2_{name}.pt") for folder in (whole, copy)]
        assert len(logs[0]) == 2 and [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]
    step(step6, copy)
    assert "stage 2 has no network for r_ankle, " in capsys.readouterr().out


def test_stage2_moves_only_joints_that_have_a_network(copy):
    for path in (copy / "checkpoints").glob("stage2_*"):
        if path.stem != "stage2_neck":
            path.unlink()
    step(step3, copy)
    step(step6, copy)
    before, after = (np.load(copy / "runs" / f"stage{s}_predictions.npy") for s in (1, 2))
    others = [j for j in range(14) if j != LSP.index("neck")]
    assert np.allclose(before[:, others], after[:, others], atol=1e-4)


def test_each_network_is_loaded_once(copy, monkeypatch):
    real, seen = torch.load, []

    def counted(path, **more):
        seen.append(Path(path).name)
        return real(path, **more)

    monkeypatch.setattr(torch, "load", counted)
    step(step6, copy)
    assert sorted(seen) == sorted(["stage1.pt", *(f"stage2_{name}.pt" for name in LSP.joints)])


def test_a_shared_network_and_a_third_stage(copy, capsys):
    with pytest.raises(UserError, match="each joint has a network of its own in .*, which goes before a shared one"):
        step(train_stage2, copy, *STAGE2, "--epochs", "1", "--shared-network")
    for path in (copy / "checkpoints").glob("stage2_*"):
        if path.stem != "stage2_neck":
            path.unlink()
    step(train_stage2, copy, *STAGE2, "--epochs", "1", "--shared-network")
    assert "note: neck: networks of their own in" in capsys.readouterr().out
    (copy / "checkpoints/stage2_neck.pt").unlink()
    step(generate_train_output, copy, "--stage", "2")
    assert np.load(copy / "data/train_output_stage2.npy").shape == (30, 14, 2)
    assert (copy / "data/error_model_stage2.npz").exists() and (copy / "data/deltas_stage2.npy").exists()
    step(train_stage2, copy, *STAGE2, "--epochs", "1", "--stage", "3", "--shared-network", "--errors", "gaussian")
    capsys.readouterr()
    step(step6, copy)
    assert "warning" not in (text := capsys.readouterr().out) and "stage 3 over stage 2" in text
    scores = json.loads((copy / "runs/stage3.json").read_text())
    assert {"gain_over_stage1", "gain_over_stage2", "stage 1", "stage 2"} <= scores.keys()


def test_networks_trained_on_another_stage_1_are_told_of(copy, capsys):
    step(train_stage1, copy, *STAGE1, "--epochs", "1", "--seed", "5", "--restart")
    step(step6, copy)
    assert "warning: stage 2 was trained on the output of other weights" in capsys.readouterr().out
    with pytest.raises(UserError, match="stage 1 in .* is not the one that made the output .* run again: python gen"):
        step(train_stage2, copy, *STAGE2, "--epochs", "1", "--restart")
    step(generate_train_output, copy)
    step(train_stage2, copy, *STAGE2, "--epochs", "1", "--joints", "neck")
    assert "neck: finished already, skipped" in (text := capsys.readouterr().out) and "--restart" in text
    step(train_stage2, copy, *STAGE2, "--epochs", "1", "--joints", "neck", "--restart")
    assert "trained with another --sigma or on other output, and a stage is used only where" in capsys.readouterr().out
    with pytest.raises(UserError, match="different output; run: python train_stage2.py --stage 2: it names"):
        step(step6, copy)


def test_data_prepared_anew_is_told_from_what_was_made_of_the_old(copy, raw_dir, capsys):
    step(lsp_data, copy, "--raw-dir", str(raw_dir), *PREPARE, "--seed", "9")
    step(step3, copy)
    assert "warning: " not in capsys.readouterr().out  # the same persons are tested on
    with pytest.raises(UserError, match="begun on other data; name another --checkpoint-dir, or run: the same command "
                                        "with --restart"):
        step(train_stage1, copy, *STAGE1, "--epochs", "2")
    with pytest.raises(UserError, match="made on other persons than .* run again: python generate_train_output.py"):
        step(train_stage2, copy, *STAGE2)
    step(generate_train_output, copy)
    assert "warning: stage 1 was trained on another split" in capsys.readouterr().out
    step(lsp_data, copy, "--raw-dir", str(raw_dir), *PREPARE, "--crop-size", "72")
    capsys.readouterr()
    step(generate_train_output, copy)
    assert "warning" not in capsys.readouterr().out  # the same split at another size


def test_the_flip_test_changes_predictions_and_follows_to_step_6(copy, monkeypatch, capsys):
    plain = np.load(copy / "runs/stage1_predictions.npy")
    step(step3, copy, "--flip-test")
    flipped = np.load(copy / "runs/stage1_predictions.npy")
    assert np.abs(flipped - plain).max() > 0.01
    begun = [*STAGE2, "--epochs", "2", "--joints", "l_knee"]
    with monkeypatch.context() as patch:
        interrupt(patch, train_stage2, epoch=2, batch=0)
        with pytest.raises(KeyboardInterrupt):
            step(train_stage2, copy, *begun, "--restart")
    step(generate_train_output, copy, "--flip-test")
    with pytest.raises(UserError, match="was begun on other output, with or without the flip test"):
        step(train_stage2, copy, *begun)
    (copy / "checkpoints/stage2_l_knee_last.pt").unlink()
    capsys.readouterr()
    step(train_stage2, copy, *STAGE2, "--epochs", "1", "--joints", "neck")
    assert "warning: neck was trained on other output of stage 1" in capsys.readouterr().out
    step(train_stage2, copy, *STAGE2, "--epochs", "1", "--joints", "neck", "--restart")
    for path in (copy / "checkpoints").glob("stage2_*"):
        if path.stem != "stage2_neck":
            path.unlink()
    step(step6, copy)
    ankle = LSP.index("r_ankle")
    assert np.allclose(np.load(copy / "runs/stage2_predictions.npy")[:, ankle], flipped[:, ankle], atol=1e-4)
    assert notes_of(json.loads((copy / "runs/stage2.json").read_text()))[0].endswith(", and mirrored.")
    step(train_stage1, copy, *STAGE1, "--epochs", "1", "--seed", "5", "--restart")
    with pytest.raises(UserError, match="run again: python generate_train_output.py --flip-test$"):
        step(train_stage2, copy, *STAGE2, "--restart")


@pytest.mark.parametrize("flags", [
    ["--rotation", "0"], ["--scale", "1", "1"], ["--shift", "0"], ["--flip", "0"], ["--colour", "0"],
    ["--dropout", "0"], ["--loss", "smooth_l1"], ["--optimiser", "sgd"], ["--optimiser", "adagrad"],
    ["--learning-rate", "2e-3"], ["--weight-decay", "0.1"], ["--warmup-epochs", "1"], ["--schedule", "constant"],
    ["--schedule", "step", "--step-epochs", "0.5"], ["--clip", "0.001"], ["--average-decay", "0.9"],
    ["--batch-size", "12"], ["--input-size", "48"], ["--seed", "1"], ["--backbone", "efficientnet_lite0"],
    ["--frozen-stages", "1"]], ids=" ".join)
def test_every_knob_of_stage_1_changes_what_is_learnt(trained, tmp_path, flags):
    shutil.copytree(trained / "data", tmp_path / "data")
    base = ["--epochs", "1", "--warmup-epochs", "0", *STAGE1]
    step(train_stage1, tmp_path, *base, *flags)
    changed = weights(tmp_path / "checkpoints/stage1.pt")
    reference = tmp_path.parent / "reference_of_stage_1"
    if not reference.exists():
        shutil.copytree(trained / "data", reference / "data")
        step(train_stage1, reference, *base)
    assert not same(changed, weights(reference / "checkpoints/stage1.pt"))


def test_a_data_set_can_come_several_times_a_pass():
    sources = np.array(["lspet", "lsp", "lsp"])
    assert train_stage1.times_of(sources, ()).tolist() == [1, 1, 1]
    assert train_stage1.times_of(sources, ("lsp=4",)).tolist() == [1, 4, 4]
    assert train_stage1.times_of(sources, ("lsp=4", "lspet=2")).tolist() == [2, 4, 4]
    for wrong in ("lsp", "lsp=0", "lsp=x", "mpii=2", "lsp=-1", "=3"):
        with pytest.raises(UserError, match="--oversample .*: expected one of lsp, lspet and how often"):
            train_stage1.times_of(sources, (wrong,))


def test_persons_who_come_several_times_are_seen_so_often(trained, tmp_path, capsys):
    shutil.copytree(trained / "data", tmp_path / "data")
    step(train_stage1, tmp_path, *STAGE1, "--epochs", "1", "--oversample", "lsp=3")
    assert "24 training (72 a pass) and 6 validation persons" in capsys.readouterr().out
    with pytest.raises(UserError, match="oversample"):  # steps are counted by them, and frozen ones would come again
        step(train_stage1, tmp_path, *STAGE1, "--epochs", "2", "--resume")
    with pytest.raises(UserError, match="stage1_last.pt is what an interrupted training goes on from; name the .pt"):
        step(train_stage1, tmp_path, *STAGE1, "--restart", "--weights", str(tmp_path / "checkpoints/stage1_last.pt"))


def test_a_training_has_ended_though_its_curves_can_not_be_drawn(trained, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise Failure("no space left")

    shutil.copytree(trained / "data", tmp_path / "data")
    monkeypatch.setattr("deeppose.course.training_curves", full)
    with pytest.raises(Failure, match="no space left"):
        step(train_stage1, tmp_path, *STAGE1, "--epochs", "1")
    monkeypatch.undo()
    capsys.readouterr()
    step(train_stage1, tmp_path, *STAGE1, "--epochs", "1")
    assert "finished already" in capsys.readouterr().out


def test_training_can_begin_with_a_trained_stage_1(trained, tmp_path, capsys):
    shutil.copytree(trained / "data", tmp_path / "data")
    begin = ["--weights", str(trained / "checkpoints/stage1.pt"), "--epochs", "1", "--learning-rate", "1e-9"]
    step(train_stage1, tmp_path, *STAGE1, *begin)
    before, after = (weights(folder / "checkpoints/stage1.pt") for folder in (trained, tmp_path))
    learnt = {key for key in before if "running" not in key and "num_batches" not in key}
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in learnt)
    assert "another split" not in capsys.readouterr().out
    change(tmp_path / "data", "train_split", np.roll(np.load(tmp_path / "data/train_split.npy"), 1))
    step(train_stage1, tmp_path, *STAGE1, *begin, "--restart")
    assert "was trained on another split" in capsys.readouterr().out
    with pytest.raises(UserError, match="of another network, or of an older version's: backbone.layer1.2"):
        step(train_stage1, tmp_path, *STAGE1, *begin, "--restart", "--backbone", narrow.DEEPER)


def test_with_compile_the_compiled_network_takes_the_training_steps(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "data", tmp_path / "data")
    seen = []

    class Compiled(torch.nn.Module):
        def __init__(self, network, **more):
            super().__init__()
            self.network = network

        def forward(self, images):
            seen.append(self.training)
            return self.network(images)

    monkeypatch.setattr(torch, "compile", Compiled)
    step(train_stage1, tmp_path, *STAGE1, "--epochs", "1", "--compile")
    assert seen == [True] * 3  # batches; validation is the network's own
    assert not any("network." in name for name in weights(tmp_path / "checkpoints/stage1.pt"))


def test_regression_with_a_likelihood_goes_through_the_steps(trained, tmp_path):
    shutil.copytree(trained / "data", tmp_path / "data")
    step(train_stage1, tmp_path, *STAGE1, "--epochs", "1", "--loss", "rle")
    checkpoint = torch.load(tmp_path / "checkpoints/stage1.pt", weights_only=True)
    assert checkpoint["kind"] == "regression" and checkpoint["network"]["loss"] == "rle"
    step(step3, tmp_path)
    assert np.load(tmp_path / "runs/stage1_predictions.npy").shape == (10, 14, 2)


@pytest.mark.parametrize("flags", [
    ["--rotation", "0"], ["--scale", "1", "1"], ["--flip", "0"], ["--colour", "0"], ["--dropout", "0"],
    ["--sigma", "1"], ["--errors", "gaussian"], ["--errors", "fixed"], ["--crops-per-image", "2"], ["--width", "0.06"],
    ["--crop-size", "99"], ["--loss", "smooth_l1"], ["--no-missed"], ["--seed", "1"]],
    ids=" ".join)
def test_every_knob_of_stage_2_changes_what_is_learnt(trained, tmp_path, flags):
    shutil.copytree(trained / "data", tmp_path / "data")
    base = ["--epochs", "1", "--joints", "l_elbow", *STAGE2]
    step(train_stage2, tmp_path, *base, *flags)
    # its weights may be those of epoch 0 in both
    changed, before = (history(folder / "checkpoints/stage2_l_elbow.pt")[0] for folder in (tmp_path, trained))
    assert (changed["loss"], changed["pdj_area"]) != (before["loss"], before["pdj_area"])


def test_a_cascade_that_does_not_help_on_validation_persons_moves_nothing(trained, tmp_path, capsys):
    shutil.copytree(trained / "data", tmp_path / "data")
    step(train_stage2, tmp_path, *STAGE2, "--epochs", "1", "--joints", "neck", "--optimiser", "sgd", "--clip", "1",
         "--learning-rate", "1000")
    assert "neck: no epoch was better on validation persons than stage 1" in capsys.readouterr().out
    checkpoint = torch.load(tmp_path / "checkpoints/stage2_neck.pt", weights_only=True)
    row = checkpoint["history"][0]
    assert row["pdj_area"] <= row["area_before"] and checkpoint["best_epoch"] == 0
    assert not checkpoint["weights"]["regressor.6.weight"].any()


def test_early_stop_best_by_and_collapse_warning(trained, tmp_path, capsys):
    shutil.copytree(trained / "data", tmp_path / "data")
    step(train_stage1, tmp_path, *STAGE1, "--epochs", "9", "--learning-rate", "1e-12", "--patience", "2",
         "--best-by", "pcp", "--collapse-epoch", "2", "--collapse-spread", "1000")
    text = capsys.readouterr().out
    assert "no better epoch for 2 epochs: stopped" in text and "best epoch" in text
    assert "warning: predictions spread only" in text
    assert "nearly one mean pose" not in text.split("epoch 2 ")[0]  # not before its epoch


class OnePose(torch.nn.Module):
    """A network that has collapsed."""
    loss_name = "mse"

    def forward(self, images):
        return torch.zeros(len(images), 14, 2)

    def joints(self, output):
        return output, None


def test_a_collapsed_network_has_no_spread(trained):
    persons = load_persons(trained / "data", "train", torch.device("cpu"))
    scores, spread = train_stage1.evaluate(OnePose(), persons, torch.arange(30), 32, 8, Group(0, 1, persons.device))
    assert spread == pytest.approx(0, abs=1e-5) and scores["validation_loss"] > 0


def test_a_joint_of_one_person_does_not_hide_a_collapse():
    generator = np.random.default_rng(0)
    truth = generator.normal(50, 20, (30, 4, 2))
    predicted = 50 + (truth - 50) * 0.1
    assert spread_of(predicted, truth) == pytest.approx(0.1)
    truth[1:, 0] = np.nan  # annotated on one person
    truth[:, 1] = truth[0, 1]  # as of whom everybody stands in one place
    assert spread_of(predicted, truth) == pytest.approx(0.1)
    assert np.isnan(spread_of(predicted[:1], truth[:1]))


def test_a_loss_that_is_not_finite_stops_the_run_with_the_place(trained, tmp_path):
    shutil.copytree(trained / "data", tmp_path / "data")
    with pytest.raises(UserError, match=r"loss is (nan|inf) in epoch \d+, batch \d+, at learning rate 1e\+06"):
        step(train_stage1, tmp_path, *STAGE1, "--epochs", "5", "--optimiser", "sgd", "--learning-rate", "1e6")


def test_resuming_another_network_is_refused(copy):
    with pytest.raises(UserError, match=r"other settings \(input_size 32 -> 48\)"):
        step(train_stage1, copy, *STAGE1, "--epochs", "2", "--input-size", "48", "--resume")
    step(train_stage2, copy, *STAGE2, "--joints", "neck")  # finished: nothing to refuse


@pytest.mark.parametrize("stages, script", [(1, "report.py"), (2, "generate_train_output.py")])
def test_after_stage_1_comes_what_the_preset_goes_on_with(copy, stages, script, capsys):
    (copy / "own.toml").write_text(f"stages = {stages}")
    step(step3, copy, "--preset", str(copy / "own.toml"))
    assert f"next: python {script} --preset " in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("script, missing, message", [
    (train_stage1, "data/dataset.json", "dataset.json not found; run: python lsp_data.py, or the step 1 of"),
    (train_stage1, "data/train_images.npy", "train_images.npy not found; run: python lsp_data.py"),
    (step3, "checkpoints/stage1.pt", "stage1.pt not found; run: python train_stage1.py"),
    (generate_train_output, "checkpoints/stage1.pt", "stage1.pt not found; run: python train_stage1.py"),
    (step3, "checkpoints", "the folder .*checkpoints not found; run: python train_stage1.py"),
    (train_stage2, "data/train_output.npy", "train_output.npy not found; run: python generate_train_output.py"),
    (train_stage2, "data/error_model.npz", "error_model.npz not found; run: python generate_train_output.py"),
    (step6, "checkpoints/stage2_*.pt", "no trained stage 2 in .*; run: python train_stage2.py"),
], ids=lambda value: value.__name__ if hasattr(value, "__name__") else None)
def test_what_is_missing_names_the_step_that_makes_it(copy, script, missing, message):
    for path in list(copy.glob(missing)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=message):
        step(script, copy)


@pytest.mark.parametrize("script, flags, message", [
    (train_stage1, ["--restart", "--backbone", "resnet19", "--weights", "none"], "no backbone named 'resnet19'"),
    (train_stage2, ["--joints", "nose"], "no joint named nose; there are: r_ankle"),
    (train_stage1, ["--resume", "--restart"], "give one of them"),
    (train_stage2, ["--stage", "3"], "output_stage2.npy not found; run: python generate_train_output.py --stage 2"),
    (generate_train_output, ["--stage", "3"], "no trained stage 3"),
])
def test_wrong_settings_are_told_in_words(copy, script, flags, message):
    with pytest.raises(UserError, match=message):
        step(script, copy, *flags)


def refuse(path):
    raise PermissionError(13, "Permission denied")


def test_a_broken_checkpoint_is_told_and_one_that_may_not_be_read_is_not_called_broken(copy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("deeppose.checkpoints.read_tensors", refuse)
        with pytest.raises(Failure, match=r"stage1.pt can't be read: Permission denied; see what"):
            step(step3, copy)
    (copy / "checkpoints/stage1.pt").unlink()
    (copy / "checkpoints/stage1.pt").write_bytes(b"half a file")
    with pytest.raises(Failure, match=r"stage1.pt can't be read .* run again: python train_stage1.py"):
        step(step3, copy)


def test_the_same_command_again_leaves_a_finished_stage_1_as_it_is(copy, capsys):
    before = (copy / "checkpoints/stage1.pt").read_bytes()
    step(train_stage1, copy, *STAGE1, "--epochs", "2")
    assert "stage1.pt: finished already, 2 epochs" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"other settings \(epochs 2 -> 3\); go on under these with --resume"):
        step(train_stage1, copy, *STAGE1, "--epochs", "3")
    assert (copy / "checkpoints/stage1.pt").read_bytes() == before
    (copy / "checkpoints/stage1_last.pt").unlink()
    with pytest.raises(UserError, match="stage1.pt is of another training; --restart replaces it when"):
        step(train_stage1, copy, *STAGE1, "--epochs", "2")
    assert (copy / "checkpoints/stage1.pt").read_bytes() == before


def test_a_finished_stage_1_can_be_trained_on_for_more_epochs(copy, capsys):
    with pytest.raises(UserError, match=r"\(weights none -> imagenet\), which can't be changed on the way"):
        step(train_stage1, copy, *STAGE1, "--epochs", "3", "--resume", "--weights", "imagenet")
    step(train_stage1, copy, *STAGE1, "--epochs", "3", "--resume")
    rows = history(copy / "checkpoints/stage1.pt")
    assert len(rows) == 3
    capsys.readouterr()
    step(train_stage1, copy, *STAGE1, "--epochs", "3", "--resume", "--best-by", "loss")  # which stays of its epoch
    best = max(rows, key=lambda row: row["pdj"])  # the first of those
    lowest = best["validation_loss"] == min(row["validation_loss"] for row in rows)
    assert f"best epoch {best['epoch']}{' by validation loss' if lowest else ', by an earlier --best-by'}: " in \
        capsys.readouterr().out


def test_resuming_what_patience_ended_trains_no_epoch_more(trained, tmp_path):
    shutil.copytree(trained / "data", tmp_path / "data")
    flags = [*STAGE1, "--epochs", "9", "--learning-rate", "1e-12", "--patience", "1"]
    step(train_stage1, tmp_path, *flags)
    epochs = len(history(tmp_path / "checkpoints/stage1_last.pt"))
    assert epochs < 9
    step(train_stage1, tmp_path, *flags, "--resume")
    assert len(history(tmp_path / "checkpoints/stage1_last.pt")) == epochs


def test_training_goes_on_where_the_system_can_not_tell_memory(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "data", tmp_path / "data")
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    step(train_stage1, tmp_path, *STAGE1, "--epochs", "1")
    step(generate_train_output, tmp_path)
    step(train_stage2, tmp_path, *STAGE2, "--epochs", "1", "--joints", "neck")
    for stage in (1, 2):
        with open(tmp_path / f"runs/stage{stage}_training.csv", newline="") as file:
            assert [row["memory_mib"] for row in csv.DictReader(file)] == ["nan"]


def without(data, joint):
    labels = np.load(data / "train_labels.npy")
    labels[np.load(data / "train_split.npy") == 1, LSP.index(joint)] = np.nan
    change(data, "train_labels", labels)


def test_where_no_validation_person_can_be_scored_it_is_said_before_the_first_epoch(trained, tmp_path):
    shutil.copytree(trained / "data", tmp_path / "data")
    without(tmp_path / "data", "r_hip")
    with pytest.raises(UserError, match="--best-by pdj: no validation person has the joints .* choose another"):
        step(train_stage1, tmp_path, *STAGE1, "--epochs", "1")
    assert not list((tmp_path / "checkpoints").glob("*.pt"))
    step(train_stage1, tmp_path, *STAGE1, "--epochs", "1", "--best-by", "loss")
    assert (tmp_path / "checkpoints/stage1.pt").exists()


def test_stage_2_says_which_joint_can_not_be_scored(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "data", tmp_path / "data")
    monkeypatch.setattr(train_stage2, "refined_scores", lambda *_: {"pdj": float("nan"), "area": float("nan")})
    with pytest.raises(UserError, match="neck: no validation person has it and l_shoulder and r_hip annotated"):
        step(train_stage2, tmp_path, *STAGE2, "--joints", "neck")
    assert not list((tmp_path / "checkpoints").glob("*.pt"))


def test_restarting_a_joint_keeps_its_network_until_the_next_is_finished(copy, monkeypatch):
    final = copy / "checkpoints/stage2_neck.pt"
    before = final.read_bytes()
    interrupt(monkeypatch, train_stage2, epoch=2)
    flags = [*STAGE2, "--epochs", "2", "--joints", "neck"]
    with pytest.raises(KeyboardInterrupt):
        step(train_stage2, copy, *flags, "--restart")
    monkeypatch.undo()
    assert final.read_bytes() == before and final.with_name("stage2_neck_last.pt").exists()
    step(train_stage2, copy, *flags)  # goes on with it
    assert len(history(final)) == 2 and not final.with_name("stage2_neck_last.pt").exists()


def test_a_pose_does_not_depend_on_who_else_is_looked_at(copy):
    persons = load_persons(copy / "data", "test", torch.device("cpu"))
    stages = load_stages(copy / "checkpoints", persons, torch.device("cpu"))
    stages[1].usual_side *= 4  # so that pixels are averaged
    rows = torch.arange(len(persons.crops))
    together = run_with_confidence(stages, persons, rows)[0][1]
    for row in rows:
        alone = run_with_confidence(stages, persons, rows[row:row + 1])[0][1]
        assert torch.allclose(alone[0], together[row], atol=1e-3)


def test_a_joints_file_under_anothers_name_is_told(copy):
    path = copy / "checkpoints/stage2_r_knee.pt"
    path.unlink()
    shutil.copy(copy / "checkpoints/stage2_neck.pt", path)
    with pytest.raises(UserError, match="stage2_r_knee.pt holds the stage-2 network of neck; put the file right"):
        step(step6, copy)


@pytest.mark.parametrize("name", ["stage1", "stage2_neck"])
def test_networks_whose_weights_are_no_numbers_are_not_scored(copy, name):
    path = copy / f"checkpoints/{name}.pt"
    checkpoint = torch.load(path, weights_only=True)
    next(iter(checkpoint["weights"].values())).fill_(torch.nan)
    path.unlink()
    torch.save(checkpoint, path)
    with pytest.raises(Failure, match=rf"{name}.pt holds weights that are not finite numbers"):
        step(step6, copy)


@pytest.mark.parametrize("key", ["network", "weights", "input_size", "dataset", "split", "settings", "history"])
@pytest.mark.parametrize("value", [None, 3.5, True])
def test_a_stage_1_that_lacks_something_is_told(copy, key, value):
    path = copy / "checkpoints/stage1.pt"
    checkpoint = torch.load(path, weights_only=True)
    if value is None:
        del checkpoint[key]
    else:
        checkpoint[key] = value
    path.unlink()
    torch.save(checkpoint, path)
    with pytest.raises(Failure, match=rf"stage1.pt is .*'{key}'.*; run again: python train_stage1.py"):
        step(step3, copy)


def test_a_network_trained_where_test_persons_were_training_persons_is_told_of(copy, raw_dir, capsys):
    step(lsp_data, copy, "--raw-dir", str(raw_dir), *PREPARE, "--lsp-train-images", "25")
    step(step3, copy)
    assert "stage1.pt was trained on another split of the data: test persons" in capsys.readouterr().out
    assert json.loads((copy / "runs/stage1.json").read_text())["other_split"] is True
    step(step6, copy)
    told = [line for line in capsys.readouterr().out.splitlines() if "was trained on another split" in line]
    assert len(told) == 2 and "stage2_" in told[1]


def test_what_initial_weights_have_seen_is_carried_on(trained, copy, capsys):
    begun = torch.load(copy / "checkpoints/stage1.pt", weights_only=True)
    torch.save(begun | {"split": "another", "test_set": "another"}, copy / "begun.pt")
    step(train_stage1, copy, *STAGE1, "--weights", str(copy / "begun.pt"), "--restart")
    told = torch.load(copy / "checkpoints/stage1.pt", weights_only=True)
    assert told["seen"] == [["another", "another"]] and told["split"] == begun["split"]
    assert "begun.pt was trained on another split of the persons" in capsys.readouterr().out
    step(step3, copy)
    assert "stage1.pt was trained on another split of the data: test persons" in capsys.readouterr().out
    assert json.loads((copy / "runs/stage1.json").read_text())["other_split"] is True
    # nor are those held out here unknown to it, whatever it was trained on last
    step(generate_train_output, copy)
    assert "stage 1 was trained on another split of the persons: those held out here" in capsys.readouterr().out
    step(train_stage2, copy, *STAGE2, "--epochs", "1", "--joints", "neck", "--restart")
    assert "the stages before were trained on another split of the persons" in capsys.readouterr().out
    (copy / "checkpoints/stage1.pt").rename(copy / "again.pt")
    step(train_stage1, copy, *STAGE1, "--weights", str(copy / "again.pt"), "--restart")
    assert "again.pt was trained on another split of the persons" in capsys.readouterr().out


def test_networks_whose_windows_differ_by_rounding_make_one_stage(copy):
    paths = sorted((copy / "checkpoints").glob("stage2_*.pt"))
    for factor, refused in ((1 + 1e-6, False), (1.01, True)):
        checkpoint = torch.load(paths[0], weights_only=True)
        paths[0].unlink()
        torch.save(checkpoint | {"smallest_diameter": factor * checkpoint["smallest_diameter"]}, paths[0])
        if refused:
            with pytest.raises(UserError, match="it names those to train anew, with --restart --joints NAMES"):
                step(step6, copy)
        else:
            step(step6, copy)


def test_a_later_stage_trained_on_another_split_is_told_of(copy, capsys):
    for path in sorted((copy / "checkpoints").glob("stage2_*.pt"))[:2]:
        checkpoint = torch.load(path, weights_only=True)
        path.unlink()
        torch.save(checkpoint | {"split": "another", "test_set": "another"}, path)
    step(step6, copy)
    assert capsys.readouterr().out.count("was trained on another split of the data: test persons") == 1
    scores = json.loads((copy / "runs/stage2.json").read_text())
    assert scores["other_split"] is True and scores["flip_test"] is False
    step(generate_train_output, copy, "--stage", "2")
    told = capsys.readouterr().out
    assert "stage 2 was trained on another split of the persons" in told and "stage 1 was" not in told


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_lists_every_constant_and_importing_does_nothing(name, capsys):
    script = importlib.import_module(name)
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    constants = re.findall(r"^([A-Z][A-Z0-9_]*)(?:: [^=]+)? = .*  # .", Path(script.__file__).read_text(), re.MULTILINE)
    assert len(constants) >= 4
    for constant in constants:
        assert re.search("--" + constant.lower().replace("_", "-") + r"[ ,\n]", text), constant


def test_from_a_shell_a_mistake_is_one_line_and_status_2(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "test_stage1.py")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "lsp_data.py" in done.stderr


def test_a_network_of_other_joints_is_refused_and_an_older_one_without_a_skeleton_loads(copy, capsys):
    path = copy / "checkpoints/stage1.pt"
    checkpoint = torch.load(path, weights_only=True)
    path.unlink()
    skeleton = checkpoint.pop("skeleton")
    torch.save(checkpoint, path)
    step(step3, copy)  # LSP's, as older checkpoints were
    checkpoint["dataset"] = "horses"
    torch.save(checkpoint, path)
    with pytest.raises(Failure, match="stage1.pt is broken: it does not tell its joints"):
        step(step3, copy)
    checkpoint["skeleton"] = skeleton
    torch.save(checkpoint, path)
    step(step3, copy)  # the same joints, whatever the data set is called
    checkpoint["skeleton"] = skeleton | {"joints": skeleton["joints"][::-1]}
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match="was trained on horses, with other joints than those of lsp; name another"):
        step(step3, copy)
