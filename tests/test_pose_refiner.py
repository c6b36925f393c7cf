"""The cascade's network that sees a person again: its windows, what it is told, its training, and the scripts after."""
import importlib
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import calibrate
import generate_train_output
import lsp_data
import predict
import test_stage2 as step6
import train_stage1
import train_stage2
from deeppose.cascade import PoseData
from deeppose.crops import make_windows, sample_windows, to_window
from deeppose.error_model import ErrorModel, PoseErrorSampler
from deeppose.errors import Failure, UserError
from deeppose.inference import look_again, pose_squares, torso_turns, turned
from deeppose.persons import load_persons
from deeppose.settings import parse_settings
from deeppose.skeletons import LSP, Skeleton
from deeppose.stored_crops import to_image_px
from networks.integral import IntegralNet
from networks.one_graph import OneGraph
from networks.pose_refiner import BEYOND, PoseRefiner, begun_as
from networks.trained_stages import PoseStage, calibration_of, load_stages, run_with_confidence
from tests import narrow
from tests.interruption import interrupt
from tests.test_own_skeleton import prepare

MIRROR, CPU = torch.tensor(LSP.mirror), torch.device("cpu")
STAGE1 = ["--network", "integral", "--backbone", narrow.NAME, "--weights", "none", "--input-size", "32",
          "--epochs", "1", "--batch-size", "8", "--loss", "smooth_l1", "--optimiser", "adam", "--learning-rate", "1e-3",
          "--warmup-epochs", "0"]
REFINER = ["--network", "pose_refiner", "--backbone", narrow.NAME, "--crop-size", "32", "--sigma", "1.25",
           "--crops-per-image", "1", "--epochs", "1", "--batch-size", "12", "--loss", "smooth_l1", "--optimiser",
           "adamw", "--learning-rate", "1e-3"]


def step(script, folder, *flags):
    places = [word for name, place in (("DATA_DIR", "data"), ("CHECKPOINT_DIR", "checkpoints"), ("RUN_DIR", "runs"))
              if hasattr(script, name) for word in ("--" + name.lower().replace("_", "-"), str(folder / place))]
    script.main([*places, "--device", "cpu", *flags])


@pytest.fixture(scope="module")
def begun(raw_dir, tmp_path_factory):
    """A folder with a trained stage 1, its output with the flip test, and nothing more."""
    folder = tmp_path_factory.mktemp("begun")
    lsp_data.main(["--data-dir", str(folder / "data"), "--run-dir", str(folder / "runs"), "--raw-dir", str(raw_dir),
                   "--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30", "--validation-share", "0.4",
                   "--workers", "1"])
    step(train_stage1, folder, *STAGE1)
    step(generate_train_output, folder, "--flip-test")
    return folder


@pytest.fixture
def copy(begun, tmp_path):
    return Path(shutil.copytree(begun, tmp_path / "copy"))


def final(folder):
    return torch.load(folder / "checkpoints/stage2_shared.pt", weights_only=True)


def change(folder, **facts):
    torch.save(final(folder) | facts, folder / "checkpoints/stage2_shared.pt")


def poses(count, seed=0):
    return torch.rand(count, 14, 2, generator=torch.Generator().manual_seed(seed)) * 40 + 30


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_untrained_it_is_stage_1_on_its_window_and_then_hears_what_it_is_told(backbone):
    torch.manual_seed(0)
    first = IntegralNet(backbone, channels=8).eval()
    first.global_contrast = True
    refiner = begun_as(first, heatmap_weight=3.0).eval()
    assert refiner.arguments == first.arguments | {"heatmap_weight": 3.0, "told_sigma": 0.03}
    images, told = torch.randn(2, 3, 64, 64), torch.rand(2, 14, 2) - 0.5
    assert torch.equal(first(images), refiner(images, told))
    torch.nn.init.normal_(refiner.told.weight)
    assert not torch.equal(first(images), refiner(images, told))
    assert torch.equal(refiner(images, told + 9), first(images))  # a pose beyond the window is not there
    again = PoseRefiner.from_checkpoint({"network": refiner.arguments, "weights": refiner.state_dict(),
                                         "global_contrast": True})
    assert torch.equal(again(images, told), refiner(images, told))


def test_a_window_shows_the_same_of_a_person_turned_anyhow():
    """A scene turned about its middle with its person: the window turns along."""
    upright = poses(1) - 49.5
    upright[:, LSP.index("neck")] = 0  # whatever stands out, some joint is where the others' middle is not
    degrees, ticks = torch.tensor([0.0, 37.0, -120.0, 180.0]), torch.arange(100) - 49.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    places = turned(torch.stack([x, y], 2).view(1, -1, 2).expand(4, -1, 2), -degrees)  # of the upright scene
    crops = (127 + 60 * (places[..., 0] / 9).sin() + 60 * (places[..., 1] / 7).cos()).view(4, 100, 100, 1)
    crops = crops.round().to(torch.uint8).expand(-1, -1, -1, 3).contiguous()
    joints = turned(upright.expand(4, -1, -1), degrees) + 49.5
    assert torch.allclose((torso_turns(joints, LSP) - torso_turns(joints[:1], LSP) - degrees + 180) % 360,
                          torch.full((4,), 180.0), atol=1e-2)
    windows = make_windows(*pose_squares(joints, LSP, 1.2, 1.0))
    told = to_window(joints, windows)
    assert torch.allclose(told, told[:1].expand_as(told), atol=1e-4)
    assert torch.allclose((told.amax(1) - told.amin(1)).amax(1), torch.full((4,), 1 / 1.2), atol=1e-4)
    torso = [told[:, LSP.index(name)] for name in ("r_shoulder", "l_shoulder", "r_hip", "l_hip")]
    up = torso[0] + torso[1] - torso[2] - torso[3]
    assert up[:, 0].abs().max() < 1e-4 and (up[:, 1] < 0).all()
    images = sample_windows(crops, torch.arange(4), windows, 48)
    inside = (images[0] != 0).all(0)
    assert (images - images[:1])[:, :, inside].abs().quantile(0.99) < 0.1 < images.std()  # but for interpolation
    _, sides, turns = pose_squares(joints, LSP, 1.2, 1.0, upright=False)
    assert not turns.any() and not torch.allclose(sides, sides[:1].expand(4), atol=1e-2)


def test_windows_have_a_floor_and_a_skeleton_without_torso_is_not_turned():
    spot = torch.full((2, 14, 2), 5.0)
    centres, sides, turns = pose_squares(spot, LSP, 1.5, 4.0)
    assert centres.tolist() == [[5, 5]] * 2 and sides.tolist() == [12, 12] and turns.tolist() == [0, 0]
    assert not torso_turns(poses(3), Skeleton(tuple("abcdefghijklmn"))).any()


def test_with_the_flip_test_a_mirrored_person_gets_the_mirrored_pose():
    torch.manual_seed(0)
    network = PoseRefiner("resnet18", channels=8).eval()
    torch.nn.init.normal_(network.told.weight)
    images, joints = torch.randn(2, 3, 64, 64), poses(2)
    windows, reach = make_windows(torch.full((2, 2), 49.5), torch.full((2,), 90.0)), torch.tensor([0.0, 9.0])
    mirrored = joints[:, MIRROR] * torch.tensor([-1.0, 1.0]) + torch.tensor([99.0, 0.0])
    with torch.inference_mode():
        (found, sure), (other, also), (plain, _) = (
            look_again(network, *given, reach, MIRROR, flip) for *given, flip in (
                (images, windows, joints, True), (images.flip(3), windows, mirrored, True),
                (images, windows, joints, False)))
    assert torch.allclose(other[:, MIRROR, 0], 99 - found[..., 0], atol=1e-2) and (plain - found).abs().max() > 0.1
    assert torch.allclose(other[:, MIRROR, 1], found[..., 1], atol=1e-2) and torch.allclose(also[:, MIRROR], sure)


def test_a_joint_that_hardly_moves_goes_half_the_way():
    class Fixed(torch.nn.Module):
        def forward(self, images, told):
            return told + torch.tensor([[0.1, 0.0]] * 7 + [[0.3, 0.0]] * 7)

        def joints(self, output):
            return output, output[..., 0]

    joints = poses(2)
    windows = make_windows(torch.full((2, 2), 49.5), torch.full((2,), 100.0))  # it says 10 pixels, and 30
    moved = look_again(Fixed(), torch.zeros(2, 3, 8, 8), windows, joints, torch.tensor([20.0, 9.0]), MIRROR)[0] - joints
    assert torch.allclose(moved[..., 0], torch.tensor([[5.0] * 7 + [30] * 7, [10] * 7 + [30] * 7]), atol=1e-4)
    assert torch.allclose(moved[..., 1], torch.zeros(2, 14), atol=1e-4)


def test_errors_come_a_whole_person_at_once_and_turn_with_the_torso():
    residuals = np.zeros((3, 14, 2), np.float32)
    residuals[:, :, 0] = [[1], [2], [3]]
    residuals[0, 5] = np.nan
    model = ErrorModel(residuals, residuals[1], np.zeros((14, 2, 2)), 0.01, False, "", "", "", "", False)
    sampler = PoseErrorSampler(model, torch.tensor([0.0, 90.0, 0.0]), "cpu")
    errors = sampler.draw_poses(torch.full((300,), 90.0), torch.Generator().manual_seed(0))
    whole = errors.round(decimals=3)[:, [joint for joint in range(14) if joint != 5]]
    assert (whole == whole[:, :1]).all() and len(whole[:, 0].unique(dim=0)) == 3
    assert {tuple(row) for row in whole[:, 0].abs().tolist()} == {(0, 1), (2, 0), (0, 3)}  # the second stood turned
    first = whole[:, 0, 1] == 1
    assert errors[first, 5].isfinite().all() and (errors[first, 5].abs().amax(1) > 1.5).all()  # another person's


def test_who_is_found_turned_over_turns_others_over():
    pose = poses(1)
    residual = 2 * (pose.mean(1, keepdim=True) - pose)  # turned by 180 degrees about the middle
    model = ErrorModel(residual.numpy(), residual[0].numpy(), np.zeros((14, 2, 2)), 0.01, False, "", "", "", "", False)
    other = turned(pose, torch.tensor([50.0]))
    sampler = PoseErrorSampler(model, torso_turns(pose, LSP), "cpu")
    found = other + sampler.draw_poses(torso_turns(other, LSP), torch.Generator().manual_seed(0))
    assert torch.allclose(found, 2 * other.mean(1, keepdim=True) - other, atol=1e-3)


def test_where_a_joint_is_not_annotated_its_prediction_stands_for_it():
    truth, found = poses(3), poses(3, seed=1)
    truth[1, 4] = torch.nan
    data = SimpleNamespace(persons=SimpleNamespace(joints_px=truth, skeleton=LSP), annotated=~truth.isnan().any(-1),
                           poses_px=found, diameters=torch.ones(3),
                           sampler=SimpleNamespace(draw_poses=lambda turns, generator: torch.zeros(len(turns), 14, 2)))
    data.known = partial(PoseData.known, data)
    simulated = PoseData.simulated(data, torch.tensor([1, 2]), None)
    assert torch.equal(simulated[0, 4], found[1, 4]) and simulated.isfinite().all()
    simulated[0, 4] = torch.nan
    assert torch.equal(simulated.nan_to_num(9), truth[1:].nan_to_num(9))


def test_training_windows_stand_round_the_simulated_pose(begun):
    flags = ["--crop-size", "64", "--sigma", "1.25", "--rotation", "0", "--scale", "1", "1", "--shift", "0", "--colour",
             "0"]
    persons = load_persons(begun / "data", "train", CPU)
    data, leaning = (PoseData(persons, begun / "data", 2, 1.25, upright, 0.3) for upright in (True, False))
    rows = torch.from_numpy(np.flatnonzero(~persons.held_out))

    def drawn(*more, data=data):
        settings = parse_settings(vars(train_stage2), [*REFINER, *flags, *more])
        generator = torch.Generator().manual_seed(0)
        return next(train_stage2.pose_batches(data, [rows], torch.zeros(2), generator, settings))

    (images, told, truth), (mirrored, told_mirrored, truth_mirrored) = drawn("--flip", "0"), drawn("--flip", "1")
    extent = told.amax(1) - told.amin(1)
    assert torch.allclose(extent.amax(1), torch.full((len(rows),), 0.8), atol=1e-4)
    assert (torso_turns(told, LSP).abs() < 1e-2).all() and (torso_turns(truth, LSP).abs() > 1).any()
    sides = data.squares(data.simulated(rows, torch.Generator().manual_seed(0)))[1]
    errors = (told - truth) * (sides / data.diameters[rows])[:, None, None]  # diameters, turned
    residuals, held = torch.from_numpy(data.errors.residuals), data.held_out
    turns = torso_turns(data.persons.joints_px[held].where(data.annotated[held, :, None], data.poses_px[held]), LSP)
    assert torch.equal(data.sampler.residuals.nan_to_num(9), turned(residuals, -turns).nan_to_num(9))
    known = residuals.norm(dim=2)
    assert all((known - error).abs().amax(1).min() < 1e-3 for error in errors.norm(dim=2))
    assert torch.allclose(mirrored.flip(3), images, atol=1e-4)
    for plain, other in ((told, told_mirrored), (truth, truth_mirrored)):
        assert torch.allclose(other[:, MIRROR] * torch.tensor([-1.0, 1.0]), plain, atol=1e-4)
    _, noisy, same = drawn("--flip", "0", "--told-noise", "0.05", "--untold", "0.5")
    silent = (noisy == BEYOND).all((1, 2))
    assert torch.equal(same, truth) and 0 < silent.sum() < len(rows)
    assert 0.04 < (noisy - told)[~silent].std() < 0.06
    _, kept, _ = drawn("--flip", "0", data=leaning)
    assert (torso_turns(kept, LSP).abs() > 1).any()


def test_scripts_after_it_agree_and_a_third_stage_follows(copy, raw_dir, capsys):
    step(train_stage2, copy, *REFINER, "--heatmap-weight", "0.5")
    checkpoint = final(copy)
    row = checkpoint["history"][0]
    assert checkpoint["network"]["heatmap_weight"] == 0.5 and checkpoint["network"]["backbone"] == narrow.NAME
    assert checkpoint["kind"] == "pose_refiner" and checkpoint["flip_test"] and row["joint"] == "shared"
    assert {"pdj", "pdj_before", "pdj_area", "area_before", "outside"} <= row.keys()
    change(copy, best_epoch=1)  # whether it was better or not
    step(generate_train_output, copy, "--stage", "2")
    step(train_stage2, copy, "--stage", "3", "--crop-size", "67", "--width", "0.05", "--crops-per-image", "1",
         "--epochs", "1", "--joints", "neck")
    step(calibrate, copy)
    capsys.readouterr()
    step(step6, copy)
    assert "warning" not in (text := capsys.readouterr().out) and "stage 3 over stage 2" in text
    scores = json.loads((copy / "runs/stage3.json").read_text())
    assert "confidence" in scores and "confidence" in scores["stage 2"]

    persons = load_persons(copy / "data", "test", CPU)
    stages, rows = load_stages(copy / "checkpoints", persons, CPU), torch.arange(10)
    (first, second, third), (own, other, last) = run_with_confidence(stages, persons, rows)
    assert not torch.equal(first, second) and not torch.equal(own, other) and last.shape == (10, 14)
    sure = stages[0].predict_with_confidence(persons, rows, True)[1]
    alone, both = (stages[1].refine_with_confidence(persons, rows, first, before)[1] for before in (None, sure))
    assert torch.allclose(both, (alone * sure).sqrt()) and not torch.allclose(both, alone)
    boxes = np.load(copy / "data/test_boxes.npy").astype(float)
    expected = to_image_px(np.load(copy / "runs/stage3_predictions.npy").astype(float), boxes, persons.crop_size)
    looks = [*(str(raw_dir / "lsp_dataset/images" / name) for name in persons.dataset["test"]["image"]),
             "--checkpoint-dir", str(copy / "checkpoints"), "--passes", "1", "--doubt", "0", "--threads", "1",
             "--no-overlays"]
    predict.main([*looks, "--out", str(copy / "out")])
    predict.main([*looks, "--out", str(copy / "one"), "--stages", "1"])
    found, alone = (json.loads((copy / name / "predictions.json").read_text())["images"] for name in ("out", "one"))
    away = np.abs(np.array([image["persons"][0]["joints"] for image in alone])
                  - to_image_px(first.double().numpy(), boxes, persons.crop_size))
    assert np.quantile(away, 0.8) < 0.01
    capsys.readouterr()
    predict.main([*looks, "--out", str(copy / "plain"), "--no-flip-test"])
    assert "stage 2 expects the flip test, which is made nevertheless" in capsys.readouterr().out
    with pytest.raises(UserError, match="no trained stage 4"):
        predict.main([*looks, "--out", str(copy / "none"), "--stages", "4"])
    with torch.no_grad():
        graphed = OneGraph(stages)(persons.crops)  # what is exported
    assert np.quantile((graphed[0] - third).abs(), 0.8) < 1e-3 and np.quantile((graphed[1] - last).abs(), 0.8) < 1e-3
    away = np.abs(np.array([image["persons"][0]["joints"] for image in found]) - expected)
    assert np.quantile(away, 0.8) < 0.01  # maps learnt in an epoch have several peaks, which rounding chooses from
    confidence = np.array([image["persons"][0]["confidence"] for image in found])
    assert np.quantile(np.abs(confidence - last.numpy()), 0.8) < 1e-3


def test_after_a_regression_it_gives_the_first_confidence(copy, raw_dir):
    flags = ["--restart", "--network", "regression", "--weights", "none", "--backbone", "efficientnet_lite0"]
    step(train_stage1, copy, *STAGE1, *flags)
    step(generate_train_output, copy)
    with pytest.raises(UserError, match="is no integral network; name other --weights"):
        step(train_stage2, copy, *REFINER)
    step(train_stage2, copy, *REFINER, "--weights", "none")
    change(copy, best_epoch=1)
    step(calibrate, copy)
    stages = load_stages(copy / "checkpoints", None, CPU)
    assert [found.fingerprint for found in stages[0].calibrations] == [stages[1].fingerprint]
    photo = raw_dir / "lsp_dataset/images/im0031.jpg"
    predict.main([str(photo), "--checkpoint-dir", str(copy / "checkpoints"), "--out", str(copy / "out"), "--doubt", "1",
                  "--threads", "1", "--no-overlays"])  # parts are searched
    person = json.loads((copy / "out/predictions.json").read_text())["images"][0]["persons"][0]
    assert all(0 < value < 1 for value in person["confidence"])


def test_it_begins_with_a_file_that_is_a_stage_1_or_another_refiner(copy, capsys):
    standing = [*REFINER, "--learning-rate", "1e-12", "--warmup-epochs", "0", "--weights"]
    stage1, other = torch.load(copy / "checkpoints/stage1.pt", weights_only=True), copy / "other.pt"
    begun = stage1["weights"]
    torch.save(stage1 | {"global_contrast": True}, other)
    step(train_stage2, copy, *standing, str(other))
    assert final(copy)["global_contrast"]
    change(copy, weights={name: value + 1 if name == "told.weight" else value
                          for name, value in final(copy)["weights"].items()})
    (copy / "checkpoints/stage2_shared.pt").rename(other)
    step(train_stage2, copy, *standing, str(other), "--restart")
    weights = final(copy)["weights"]
    assert final(copy)["global_contrast"]
    assert torch.allclose(weights["heatmaps.0.weight"].float(), begun["heatmaps.0.weight"].float(), atol=1e-3)
    assert weights["told.weight"].float().mean() > 0.99
    with pytest.raises(UserError, match="can't begin this network: .* told.weight is none here"):
        step(train_stage1, copy, *STAGE1, "--restart", "--weights", str(other))
    assert "another split" not in capsys.readouterr().out
    change(copy, history=[], settings={name: value for name, value in final(copy)["settings"].items()
                                       if name not in ("told_noise", "untold")})  # released, and older
    log = (copy / "runs/stage2_training.csv").read_text()
    step(train_stage2, copy, *standing, str(other))
    assert "finished already, skipped" in (told := capsys.readouterr().out) and "other settings" not in told
    assert (copy / "runs/stage2_training.csv").read_text() == log


def test_both_stages_are_released_in_half_precision_with_scores_and_a_confidence(copy, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    release = importlib.import_module("release")
    kept, data = copy / "released", ["--data-dir", str(copy / "data")]
    flags = ["--folder", str(copy), "--release-dir", str(kept), "--device", "cpu"]
    release.main([*flags, "--stages", "1"])
    assert f"run: python calibrate.py --checkpoint-dir {kept} {' '.join(data)}" in capsys.readouterr().out
    shutil.copy(kept / "stage1.pt", copy / "checkpoints/stage1.pt")
    step(generate_train_output, copy, "--flip-test")
    step(train_stage2, copy, *REFINER)
    change(copy, best_epoch=1)
    (copy / "checkpoints/stage2_shared_last.pt").write_bytes(b"")
    release.main(flags)
    calibrate.main(["--checkpoint-dir", str(kept), *data])
    assert "not all calibrated" in capsys.readouterr().out
    persons = load_persons(copy / "data", "test", CPU)
    stages = load_stages(kept, persons, CPU)
    assert sorted(path.name for path in kept.glob("*.pt")) == ["stage1.pt", "stage2_shared.pt"] and len(stages) == 2
    assert calibration_of(stages, True) and calibration_of(stages[:1], False)
    first, second = (torch.load(kept / name, weights_only=True) for name in ("stage1.pt", "stage2_shared.pt"))
    assert first["scores"].keys() == {"flip test", "plain"} and second["scores"].keys() == {"flip test"}
    assert second["history"] == [] and second["weights"]["told.weight"].dtype == torch.float16
    step(step6, copy)
    told = json.loads((copy / "runs/stage2.json").read_text())
    for scores, content in ((told["stage 1"], first), (told, second)):
        assert content["scores"]["flip test"]["pck@0.2_mean"] == scores["pck@0.2"]["mean"]
    release.main(flags)
    assert "not all calibrated" in capsys.readouterr().out  # the run's own file is not
    with pytest.raises(UserError, match="holds stage2_shared.pt as well"):
        release.main([*flags, "--stages", "1"])


def test_it_goes_on_where_it_was_killed_with_the_same_weights(copy, tmp_path, monkeypatch):
    whole, initial = Path(shutil.copytree(copy, tmp_path / "whole")), tmp_path / "initial.pt"
    torch.save(torch.load(copy / "checkpoints/stage1.pt", weights_only=True) | {"global_contrast": True}, initial)
    more = [*REFINER, "--weights", str(initial), "--epochs", "2", "--schedule", "cosine", "--average-decay", "0.9",
            "--clip", "1"]
    step(train_stage2, whole, *more)
    epochs = interrupt(monkeypatch, train_stage2, epoch=2, batch=1, batches="pose_batches")
    with pytest.raises(KeyboardInterrupt):
        step(train_stage2, copy, *more)
    monkeypatch.undo()
    initial.unlink()  # what it began with is in what it left
    step(train_stage2, copy, *more)
    one, other = final(whole), final(copy)
    assert one["global_contrast"] is other["global_contrast"] is True and one["seen"] == other["seen"] != []
    assert [row["loss"] for row in one["history"]] == [row["loss"] for row in other["history"]] and len(epochs) == 2
    assert all(torch.equal(value, other["weights"][name]) for name, value in one["weights"].items())


def test_what_is_no_better_moves_nothing_and_keeps_the_confidence(copy, monkeypatch, capsys):
    monkeypatch.setattr(train_stage2, "pose_scores", lambda network, *_: dict.fromkeys(("pdj", "area"), 5.0))
    step(train_stage2, copy, *REFINER)
    assert "shared: no epoch was better on validation persons than stage 1" in capsys.readouterr().out
    persons = load_persons(copy / "data", "test", CPU)
    (first, second), (own, other) = run_with_confidence(load_stages(copy / "checkpoints", persons, CPU), persons,
                                                        torch.arange(10))
    assert torch.equal(first, second) and torch.equal(own, other)


def test_a_whole_number_of_agreement_is_kept_as_any_other():
    settings = SimpleNamespace(upright=False, agreement=1, crop_size=32)  # AGREEMENT = 1, edited in the script
    facts = train_stage2.PoseLearner("shared", None, settings).facts(SimpleNamespace(global_contrast=False))
    assert PoseStage.more_facts(facts | {"best_epoch": 1})["agreement"] == 1


def test_what_does_not_fit_is_told(copy):
    for flags, message in ((["--joints", "neck"], "trains all joints at once; leave out --joints"),
                           (["--crop-size", "40"], "--network pose_refiner needs a multiple of 32"),
                           (["--errors", "gaussian"], "draws a whole pose's errors"),
                           (["--oversample", "mpii=2"], "--oversample mpii=2: expected one of lsp"),
                           (["--batch-size", "1"], "--batch-size 1 gives too few of 18 windows a step for BatchNorm"),
                           (["--network", "alexnet"], "--crop-size 32: AlexNet's smallest is 67")):
        with pytest.raises(UserError, match=message):
            step(train_stage2, copy, *REFINER, *flags)
    step(train_stage2, copy, *REFINER, "--weights", "none", "--backbone", "efficientnet_lite0")
    checkpoint = final(copy)
    for facts, message in (({"kind": "boosting"}, "'boosting'; there are: alexnet, pose_refiner"),
                           ({"input_size": 33}, "is broken: its upright, agreement, .* are False, 0.3, 33,"),
                           ({"upright": 1.0}, "is broken: its upright, agreement, .* are 1.0, 0.3, 32,"),
                           ({"agreement": -1.0}, "is broken: its upright, agreement, .* are False, -1.0, 32,")):
        change(copy, **checkpoint | facts)
        with pytest.raises(Failure, match=message):
            step(step6, copy)
    # what changes poses as weights do tells stages apart as weights do
    prints = set()
    for facts in ({}, {"agreement": 0.5}, {"upright": True}, {"best_epoch": 1 - checkpoint["best_epoch"]}):
        change(copy, **checkpoint | facts)
        prints.add(load_stages(copy / "checkpoints", None, CPU)[1].fingerprint)
    assert len(prints) == 4
    change(copy, **checkpoint)
    alexnet = ("--crop-size", "67", "--width", "0.05", "--crops-per-image", "1", "--epochs", "1", "--joints", "neck",
               "--sigma", "1.25")
    with pytest.raises(UserError, match="stage2_shared.pt is of another kind of network than --network alexnet"):
        step(train_stage2, copy, *alexnet)  # before its training, not after
    moved = (copy / "checkpoints/stage2_shared.pt").rename(copy / "stage2_shared.pt")
    step(train_stage2, copy, *alexnet)
    moved.rename(copy / "checkpoints/stage2_shared.pt")
    with pytest.raises(UserError, match="are of several kinds; remove those of one"):
        step(step6, copy)


def test_every_knob_of_the_windows_changes_them(begun):
    persons = load_persons(begun / "data", "train", CPU)

    def seen(*flags):
        settings = parse_settings(vars(train_stage2), [*REFINER, "--data-dir", str(begun / "data"), *flags])
        learner = train_stage2.PoseLearner("shared", train_stage2.PoseLearner.read(persons, settings), settings)
        batch = next(learner.batches([learner.rows()], torch.zeros(2), torch.Generator().manual_seed(0)))
        return torch.cat([part.flatten().nan_to_num(9) for part in batch])

    plain, *others = (seen(*knob.split()) for knob in (
        "", "--upright", "--sigma 1.5", "--shift 0", "--rotation 0", "--scale 1 1", "--flip 0", "--colour 0",
        "--no-missed", "--told-noise 0.1", "--untold 0.5", "--oversample lsp=2"))
    assert all(len(plain) != len(other) or not torch.equal(plain, other) for other in others)
    assert len(others[-1]) == 2 * len(plain)


@pytest.mark.filterwarnings("error")
def test_depth_images_and_a_skeleton_that_is_three_joints(tmp_path, capsys):
    prepare(tmp_path, Skeleton(("nose", "tail", "hump")), 16)
    step(train_stage1, tmp_path, *STAGE1)
    step(generate_train_output, tmp_path)
    with pytest.raises(UserError, match="--upright turns windows with the torso, which these persons' skeleton does"):
        step(train_stage2, tmp_path, *REFINER, "--upright")
    step(train_stage2, tmp_path, *REFINER)
    row = final(tmp_path)["history"][0]
    assert {"pck_box", "pck_box_before", "pck_box_area", "area_before"} <= row.keys() and "pdj" not in row
    change(tmp_path, best_epoch=1)
    capsys.readouterr()
    step(step6, tmp_path)
    assert "stage 2" in capsys.readouterr().out
    assert np.isfinite(np.load(tmp_path / "runs/stage2_predictions.npy")).all()
