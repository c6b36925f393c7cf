"""What stage 1's training can be told beyond its defaults, through the script."""
import csv
import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch

import lsp_data
import test_stage1 as step3
import train_stage1
from deeppose.distributed import Group
from deeppose.errors import Failure, UserError
from deeppose.persons import Persons
from deeppose.pixels import Pixels
from deeppose.settings import parse_settings
from deeppose.skeletons import LSP, Skeleton
from deeppose.validation import measure_of, scores_of
from networks.backbones import of_even_contrast
from networks.stage1 import NETWORKS, new_network
from tests import narrow
from tests.interruption import interrupt

STAGE1 = ["--backbone", narrow.NAME, "--weights", "none", "--input-size", "32", "--batch-size", "8",
          "--epochs", "2", "--device", "cpu"]  # three steps an epoch


@pytest.fixture(scope="module")
def data(raw_dir, tmp_path_factory):
    """Prepared figures: 24 to train on, 6 to validate, 10 to test."""
    folder = tmp_path_factory.mktemp("prepared")
    lsp_data.main(["--raw-dir", str(raw_dir), "--data-dir", str(folder), "--run-dir", str(folder / "runs"),
                   "--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30", "--validation-share", "0.2",
                   "--workers", "1"])
    return folder


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """A training of two epochs without any option."""
    folder = tmp_path_factory.mktemp("plain")
    train(data, folder)
    return folder


def train(data, folder, *flags):
    train_stage1.main(["--data-dir", str(data), "--checkpoint-dir", str(folder / "checkpoints"), "--run-dir",
                       str(folder / "runs"), *STAGE1, *flags])


def last(folder, name="stage1_last.pt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def interrupted(monkeypatch, data, folder, *flags):
    """Train, and stop after the second epoch's second step."""
    with monkeypatch.context() as patch:
        interrupt(patch, train_stage1, epoch=2, batch=2)
        with pytest.raises(KeyboardInterrupt):
            train(data, folder, *flags)


class Scalars:
    """In place of TensorBoard's writer: a line a scalar in a file of its own, as it has."""

    def __init__(self, folder, purge_step):
        assert purge_step == 0
        self.path = folder / f"events.out.tfevents.{len(list(folder.iterdir()))}"
        self.path.touch()

    def add_scalar(self, tag, value, step):
        with open(self.path, "a") as file:
            print(tag, value, step, file=file)

    def flush(self):
        pass

    close = flush


def test_scores_between_the_epochs_ends_are_kept_once_however_often_it_was_interrupted(data, plain, tmp_path,
                                                                                             monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Scalars))
    flags = ["--every", "2", "--training-persons", "9", "--tensorboard"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(data, whole, *flags)
    interrupted(monkeypatch, data, broken, *flags)
    assert [row["step"] for row in rows_of(broken / "runs/stage1_steps.csv")] == ["2", "3", "4"]
    train(data, broken, *flags)  # the same command

    rows = rows_of(whole / "runs/stage1_steps.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("1", "3"), ("2", "4"), ("2", "6")]
    assert rows == rows_of(broken / "runs/stage1_steps.csv")
    epochs = rows_of(whole / "runs/stage1_training.csv")
    names = ["validation_loss", "pdj", "pcp", "training_loss", "training_pdj", "training_pcp", "loss"]
    assert list(rows[0]) == ["epoch", "step", *names]
    for step, epoch in zip(rows[1::2], epochs, strict=True):
        assert [step[name] for name in names] == [epoch[name] for name in names]
    assert len({row["validation_loss"] for row in rows}) == len({row["training_loss"] for row in rows}) == 4

    events = [sorted((folder / "runs/tensorboard").iterdir()) for folder in (whole, broken)]
    assert len(events[0]) == len(events[1]) == 1
    lines = events[0][0].read_text().splitlines()
    assert lines == events[1][0].read_text().splitlines() and len(lines) == 2 * 6 + 2 * 7
    assert f"validation/pdj {float(rows[0]['pdj'])} 2" in lines and f"loss {float(rows[1]['loss'])} 3" in lines
    assert {line.split()[0] for line in lines} == {"loss", *(f"{of}/{name}" for of in ("validation", "training")
                                                             for name in ("loss", "pdj", "pcp"))}
    # to be looked at changes nothing that is learnt
    assert all(map(torch.equal, last(plain)["model"].values(), last(whole)["model"].values()))
    assert "training_pdj" not in rows_of(plain / "runs/stage1_training.csv")[0]
    assert not (plain / "runs/stage1_steps.csv").exists()
    train(data, whole, "--restart", "--epochs", "1")  # what it says is of an earlier training
    assert not (whole / "runs/stage1_steps.csv").exists()


def test_without_tensorboard_it_is_said_before_anything_is_done(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="--tensorboard needs TensorBoard, .*; run: pip install tensorboard"):
        train(data, tmp_path, "--tensorboard")
    assert not list(tmp_path.iterdir())


def test_frozen_convolutions_are_as_loaded_until_their_step(data, tmp_path):
    flags = ["--optimiser", "adamw", "--weight-decay", "0.1", "--frozen-steps", "3"]
    torch.manual_seed(0)
    network = new_network("regression", 14, 32, {"backbone": narrow.NAME})
    start = {name: value.clone() for name, value in network.named_parameters()}
    train(data, tmp_path, *flags, "--epochs", "1")
    first = last(tmp_path)["model"]
    held = {name for name in start if torch.equal(start[name], first[name])}
    assert held == {name for name in start if name.startswith("backbone.")} and held < start.keys()
    train(data, tmp_path, *flags, "--resume")
    second = last(tmp_path)["model"]
    assert not any(torch.equal(start[name], second[name]) for name in start)


def test_alexnets_convolutions_are_those_before_its_wide_layers():
    network = new_network("regression", 3, 64, {"backbone": "alexnet"})
    names = {name for name, value in network.named_parameters() if any(value is it for it in network.convolutions())}
    assert names == {f"backbone.features.{place}.{of}" for place in (0, 3, 6, 8, 10) for of in ("weight", "bias")}


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0", "alexnet_bn"])
def test_convolutions_go_before_the_rest_so_that_older_trainings_can_be_gone_on_with(backbone):
    for kind in ["regression"] if backbone == "alexnet_bn" else NETWORKS:
        network = new_network(kind, 3, 64, {"backbone": backbone, "loss": "rle" if kind == "regression" else "mse"})
        convolutions = network.convolutions()
        assert list(map(id, convolutions)) == list(map(id, network.parameters()))[:len(convolutions)]


def test_an_older_training_is_gone_on_with_by_the_same_command(data, plain, tmp_path, monkeypatch):
    interrupted(monkeypatch, data, tmp_path)
    state = last(tmp_path)
    for name in ("backbone_rate", "frozen_steps", "global_contrast", "every", "training_persons", "tensorboard"):
        del state["settings"][name]
    del state["steps"]
    first, second = state["optimiser"]["param_groups"]
    state["optimiser"]["param_groups"] = [{**second, "params": first["params"] + second["params"]}]
    torch.save(state, tmp_path / "checkpoints/stage1_last.pt")
    train(data, tmp_path)
    assert all(map(torch.equal, last(plain)["model"].values(), last(tmp_path)["model"].values()))


def test_global_contrast_is_part_of_the_network_that_a_checkpoint_gives(data, tmp_path):
    train(data, tmp_path, "--global-contrast", "--epochs", "1")
    checkpoint = last(tmp_path, "stage1.pt")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    older = {name: value for name, value in checkpoint.items() if name != "global_contrast"}
    for content, expected in ((checkpoint, of_even_contrast(images)), (older, images)):
        network, seen = NETWORKS["regression"].from_checkpoint(content), []
        network.backbone.conv1.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        network(images)
        assert torch.equal(seen[0], expected)
    with pytest.raises(Failure, match="its global_contrast is 3; train it again"):
        NETWORKS["regression"].from_checkpoint({**checkpoint, "global_contrast": 3})
    begun = tmp_path / "checkpoints/stage1.pt"
    with pytest.raises(UserError, match="stage1.pt was trained with --global-contrast; set the same"):
        train(data, tmp_path / "other", "--weights", str(begun), "--epochs", "1")
    train(data, tmp_path / "other", "--weights", str(begun), "--epochs", "1", "--global-contrast")
    step3.main(["--data-dir", str(data), "--checkpoint-dir", str(tmp_path / "checkpoints"), "--run-dir",
                str(tmp_path / "runs"), "--device", "cpu"])
    assert np.isfinite(np.load(tmp_path / "runs/stage1_predictions.npy")).all()


def test_even_contrast_leaves_no_gain_and_no_offset():
    images = torch.tensor([[[[1.0, 3.0]], [[1.0, 3.0]]], [[[5.0, 5.0]], [[5.0, 5.0]]]])  # (2, 2, 1, 2)
    expected = [[[[-1.0, 1.0]], [[-1.0, 1.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]]
    assert of_even_contrast(images).tolist() == expected
    images = torch.rand(2, 3, 8, 8)
    assert torch.allclose(of_even_contrast(images * 0.5 + 3), of_even_contrast(images), atol=1e-5)


def persons(skeleton, crops, pixels):
    count = len(crops)
    joints = torch.full((count, len(skeleton.joints), 2), (crops.shape[1] - 1) / 2)
    return Persons(crops, joints, np.full(count, np.nan, np.float32), np.zeros(count, bool), np.full(count, "x"),
                   skeleton, 1.5, {"dataset": "x"}, pixels=pixels)


def first_batch(it, *flags):
    settings = parse_settings(vars(train_stage1), ["--input-size", "64", "--rotation", "0", "--shift", "0", "--colour",
                                                   "0", *flags])
    return next(train_stage1.batches(it, [torch.arange(len(it.crops))], torch.Generator().manual_seed(0), settings))


def test_each_process_has_a_training_person_to_score():
    it = persons(LSP, torch.zeros(8, 96, 96, 3, dtype=torch.uint8), Pixels(3, 8, (0.0,) * 3, (1.0,) * 3))
    it.held_out[4:] = True
    group = Group(0, 2, torch.device("cpu"))
    for count, scored in ((0, 0), (2, 2), (9, 4)):
        settings = parse_settings(vars(train_stage1), ["--training-persons", str(count)])
        assert len(train_stage1.rows_of(it, settings, group)["scored"]) == scored
    with pytest.raises(UserError, match="--training-persons 1 leaves a process without one; take more"):
        train_stage1.rows_of(it, parse_settings(vars(train_stage1), ["--training-persons", "1"]), group)


def test_a_mirrored_person_has_left_and_right_exchanged():
    it = persons(LSP, torch.zeros(8, 96, 96, 3, dtype=torch.uint8), Pixels(3, 8, (0.0,) * 3, (1.0,) * 3))
    it.joints_px = torch.rand(8, 14, 2, generator=torch.Generator().manual_seed(0)) * 60 + 18
    plain, mirrored = (first_batch(it, "--scale", "1", "1", "--flip", flip)[1] for flip in "01")
    assert torch.allclose(mirrored, plain[:, LSP.mirror] * torch.tensor([-1.0, 1.0]), atol=1e-5)


def test_windows_may_be_larger_than_what_is_stored_and_are_grey_there():
    """As the boxes of the TensorFlow line, 1.2 to 2 times the joints' own."""
    white = torch.full((8, 96, 96, 3), 255, dtype=torch.uint8)
    images, joints = first_batch(persons(LSP, white, Pixels(3, 8, (100.0,) * 3, (50.0,) * 3)), "--scale", "2", "2")
    inside = images[:, :, 9:-9, 9:-9]  # the crop is 1.5 boxes of the window's 2: 48 of its 64 pixels
    assert not images[:, :, :7].any() and not images[..., -7:].any() and torch.allclose(inside, torch.tensor(3.1))
    assert joints.abs().max() < 1e-6
    images, _ = first_batch(persons(LSP, white, Pixels(3, 8, (100.0,) * 3, (50.0,) * 3)), "--scale", "1.2", "2")
    shares = (images[:, 0] > 1).float().mean((1, 2))
    assert shares.min() >= 0.55 and shares.max() <= 1 and len(shares.unique()) > 4


def test_depth_of_sixteen_bits_is_augmented_in_its_one_channel():
    depth = torch.from_numpy(np.full((8, 96, 96, 1), 40000, np.uint16).view(np.int16))
    it = persons(LSP, depth, Pixels(1, 16, (30000.0,), (5000.0,)))
    images, _ = first_batch(it)
    assert images.shape == (8, 1, 64, 64) and torch.allclose(images[:, 0, 20:40, 20:40], torch.tensor(2.0))
    images, _ = first_batch(it, "--colour", "0.3")
    assert images.shape == (8, 1, 64, 64) and images[:, 0, 32, 32].std() > 0.1


HORSE = Skeleton(("nose", "tail", "hoof"), limbs={"back": (("nose",), ("tail",))})
SNAIL = Skeleton(("head", "tail", "shell"))


def test_scores_of_skeletons_without_torso_and_limbs_by_hand():
    truth = np.array([[[0, 0], [10, 0], [np.nan, np.nan]], [[0, 0], [0, 10], [5, 5]]])
    predicted = np.array([[[0, 2], [10, 2.1], [0, 0]], [[0, 6], [0, 10], [5, 5]]])
    # at 0.1 of a box of 20 pixels: nose and tail are right on one of two, the hoof on the one who has it
    assert scores_of(predicted, truth, HORSE, 20.0) == pytest.approx({"pck_box": 100 * (0.5 + 0.5 + 1) / 3, "pcp": 50})
    assert scores_of(predicted, truth, SNAIL, 20.0) == pytest.approx({"pck_box": 100 * 2 / 3})
    assert list(scores_of(np.zeros((1, 14, 2)), np.zeros((1, 14, 2)), LSP, 20.0)) == ["pdj", "pcp"]
    assert [measure_of(name, LSP) for name in ("pdj", "pcp", "loss")] == ["pdj", "pcp", "validation_loss"]
    assert [measure_of(name, HORSE) for name in ("pdj", "pcp", "loss")] == ["pck_box", "pcp", "validation_loss"]
    with pytest.raises(UserError, match="--best-by pcp: the skeleton has no limbs; choose pdj or loss"):
        measure_of("pcp", SNAIL)


def test_a_skeleton_without_torso_chooses_its_epoch_by_the_box_and_says_so(data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "data")
    dataset = json.loads((data / "dataset.json").read_text())
    dataset["skeleton"] = Skeleton(LSP.joints).plain()
    dataset["prepare"] = "python own_data.py"
    (tmp_path / "data/dataset.json").write_text(json.dumps(dataset))
    train(tmp_path / "data", tmp_path, "--epochs", "1")
    printed = capsys.readouterr().out
    assert "note: without a torso diameter --best-by pdj is pck_box: PCK at 0.1 of the box" in printed
    assert "by validation pck_box" in printed
    row = rows_of(tmp_path / "runs/stage1_training.csv")[0]
    assert "pck_box" in row and not {"pdj", "pcp"} & row.keys()
    with pytest.raises(UserError, match="--best-by pcp: the skeleton has no limbs"):
        train(tmp_path / "data", tmp_path, "--restart", "--best-by", "pcp")
