"""Two runs side by side: every score's gain is that of the two reports, and who changed is named and shown."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

import compare
import lsp_data
from deeppose import arrays
from deeppose.comparison import changed_most, differences, person_errors
from deeppose.errors import UserError
from deeppose.metrics import diameters, joint_hits, paired_bootstrap
from deeppose.persons import load_persons
from deeppose.reports import score
from deeppose.skeletons import LSP, Skeleton

HORSE = Skeleton(("nose", "r_hoof", "l_hoof", "tail"), pairs=(("r_hoof", "l_hoof"),))
SOLDIER = Skeleton(LSP.joints, LSP.limbs, LSP.paper_limbs, diameter=LSP.diameter, pairs=LSP.pairs, unscored=("neck",))
NAN = np.nan


def poses(skeleton, persons=60, seed=0):
    """Truth with gaps, two models' poses, head sizes with gaps."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(20, 80, (persons, len(skeleton.joints), 2))
    before, after = (truth + generator.normal(0, spread, truth.shape) for spread in (9, 7))
    truth[generator.random(truth.shape[:2]) < 0.1] = NAN
    heads = generator.uniform(8, 16, persons)
    heads[::7] = NAN
    return before, after, truth, heads


@pytest.mark.parametrize("skeleton", [LSP, SOLDIER, HORSE])
def test_every_gain_is_the_difference_of_the_two_reports(skeleton):
    before, after, truth, heads = poses(skeleton)
    found = differences(before, after, truth, heads, skeleton, 100.0, draws=50)
    reports = [score(pose, truth, heads, skeleton, box_side=100.0) for pose in (before, after)]
    metrics = reports[0].keys() - {"standard_error", "persons", "left_out"}
    assert metrics == found.keys()
    for metric in metrics:
        assert reports[0][metric].keys() == found[metric].keys()
        for part, gain in found[metric].items():
            assert gain["before"] == pytest.approx(reports[0][metric][part])
            assert gain["after"] == pytest.approx(reports[1][metric][part])
            assert gain["gain"] == pytest.approx(gain["after"] - gain["before"])
            assert gain["low"] <= gain["gain"] <= gain["high"]


def test_intervals_are_those_of_the_paired_bootstrap():
    before, after, truth, heads = poses(LSP)
    found = differences(before, after, truth, heads, LSP, 100.0, draws=300, seed=5)["pck@0.2"]
    hits = [joint_hits(pose, truth, diameters(truth, LSP), 0.2) for pose in (before, after)]
    for part, columns in (("mean", slice(None)), ("r_knee", [1]), ("mean12", list(LSP.limb_indices))):
        gain, limits = paired_bootstrap(*(each[:, columns] for each in hits), draws=300, seed=5)
        expected = {"gain": 100 * gain, "low": 100 * limits[0], "high": 100 * limits[1]}
        assert {key: found[part][key] for key in expected} == pytest.approx(expected)


def test_a_part_that_counts_on_nobody_has_no_gain():
    before, after, truth, heads = poses(LSP)
    truth[:, LSP.index("neck")] = NAN
    found = differences(before, after, truth, heads, LSP, 100.0, draws=20)
    assert all(np.isnan(value) for value in found["pck@0.2"]["neck"].values())
    assert np.isfinite(list(found["pck@0.2"]["mean"].values())).all()
    assert "pckh@0.5" not in differences(before, after, truth, np.full(60, NAN), LSP, 100.0, draws=1)


def test_one_person_makes_no_interval_and_nobody_no_error():
    before, after, truth, heads = poses(LSP)
    truth[1:, LSP.index("neck")] = NAN
    truth[0, LSP.index("neck")] = 50, 50
    before[0, LSP.index("neck")], after[0, LSP.index("neck")] = (90, 90), (50, 50)
    neck = differences(before, after, truth, heads, LSP, 100.0, draws=20)["pck_box@0.1"]["neck"]
    assert neck["gain"] == 100 and np.isnan([neck["low"], neck["high"]]).all()
    gain, limits = paired_bootstrap(*(np.r_[[[hit]], np.full((9, 1), NAN)] for hit in (0.0, 1.0)), draws=20)
    assert gain == 1 and np.isnan(limits).all()
    nothing = differences(before, after, truth * NAN, heads, LSP, 100.0, draws=5)
    assert np.isnan([value for parts in nothing.values() for part in parts.values() for value in part.values()]).all()
    assert "95% interval" in compare.table(nothing, ("a", "b"))


def test_columns_of_two_long_names_can_be_told_apart():
    found = {"pck@0.2": {"mean": {"before": 1.0, "after": 2.0, "gain": 1.0, "low": 0.5, "high": 1.5}}}
    for names, shown in ((("refiner_lr_1e-3", "refiner_lr_3e-4"), ["…ner_lr_1e-3", "…ner_lr_3e-4"]),
                         (("a" * 15 + "x" + "b" * 15, "a" * 15 + "y" + "b" * 15), ["before", "after"]),
                         (("one", "two"), ["one", "two"])):
        assert compare.table(found, names).splitlines()[1].split()[1:3] == shown


def test_a_lost_joint_counts_once_however_far_it_is():
    truth = np.array([[[10.0, 10], [20, 10], [30, 10], [40, 10]]] * 4)
    truth[1, 0], truth[2] = NAN, NAN
    predicted = truth.copy()
    predicted[0, 0] += (20, 0)   # 0.4 of half the box
    predicted[0, 1] += (1e4, 0)  # lost
    predicted[1, 3] += (0, 50)
    predicted[3, 2] = NAN        # not told: lost
    errors = person_errors(predicted, truth, HORSE, 100.0)
    assert errors[[0, 1, 3]] == pytest.approx([1.4 / 4, 1 / 3, 1 / 4]) and np.isnan(errors[2])
    better, worse = changed_most(np.array([0.5, 0.2, NAN, 0.3, 0.4]), np.array([0.1, 0.6, NAN, 0.3, 0.3]), 8)
    assert better.tolist() == [0, 4] and worse.tolist() == [1]
    assert changed_most(np.array([0.5, 0.4]), np.array([0.1, 0.1]), 1)[0].tolist() == [0]


@pytest.fixture(scope="module")
def folder(raw_dir, tmp_path_factory):
    """Ten test persons in crops of 64 and of 96 pixels, and two runs: in the second person 3 is better, 7 worse."""
    folder = tmp_path_factory.mktemp("compare")
    for size in (64, 96):
        lsp_data.main(["--raw-dir", str(raw_dir), "--data-dir", str(folder / f"data{size}"), "--run-dir",
                       str(folder / "prepared"), "--train-on", "lsp", "--lsp-train-images", "30", "--crop-size",
                       str(size), "--workers", "1"])
    truth = load_persons(folder / "data64", "test", torch.device("cpu")).truth
    first, second = truth + (2, 0), truth + (2, 0)
    first[3] += (20, 0)
    second[7] += (0, 20)
    for run, stage, pose in (("first", 1, first * 0), ("first", 2, first), ("second", 1, second)):
        arrays.save(folder / run / f"stage{stage}_predictions.npy", pose.astype(np.float32), "predictions")
    return folder


def run(folder, first, second, *flags, data="data64", out="out"):
    compare.main([str(folder / first), str(folder / second), "--data-dir", str(folder / data), "--run-dir",
                  str(folder / out), "--draws", "100", *flags])
    return json.loads((folder / out / "comparison.json").read_text())


def test_the_last_stage_counts_and_whom_it_changed_is_named(folder, capsys):
    found = run(folder, "first", "second")
    out = capsys.readouterr().out
    images = load_persons(folder / "data64", "test", torch.device("cpu")).dataset["test"]["image"]
    assert f"better most: {images[3]} " in out and f"worse most: {images[7]} " in out
    assert out.split("pck@0.2")[1].splitlines()[0].split()[:3] == ["first", "second", "gain"]
    assert "stage2_predictions.npy" in found["before"] and found["persons"] == 10
    errors = found["person_errors"]
    assert [row for row in range(10) if abs(errors["before"][row] - errors["after"][row]) > 1e-6] == [3, 7]
    for name in ("comparison.png", "comparison_persons.png"):
        with Image.open(folder / "out" / name) as picture:
            picture.load()
            assert min(picture.size) > 200


@pytest.mark.parametrize("runs", [[], ["first"], ["first", "second", "third"]])
def test_two_runs_are_to_be_named(runs):
    with pytest.raises(UserError, match=f"name two runs: python compare.py BEFORE AFTER.*; {len(runs)} given"):
        compare.main(runs)


def test_a_run_against_itself_gains_nothing(folder, capsys):
    found = run(folder, "second", "second/stage1_predictions.npy")
    out = capsys.readouterr().out
    assert "note: both predict the same" in out and "comparison_persons.png" not in out
    assert all(gain["gain"] == gain["low"] == gain["high"] == 0 for parts in found["scores"].values()
               for gain in parts.values())
    assert not (folder / "out/comparison_persons.png").exists()


def test_runs_on_crops_of_two_sizes_are_compared_in_one_frame(folder):
    small, large = (load_persons(folder / f"data{size}", "test", torch.device("cpu")) for size in (64, 96))
    pose = np.load(folder / "second/stage1_predictions.npy")
    arrays.save(folder / "large/stage1_predictions.npy", ((pose + 0.5) * 1.5 - 0.5).astype(np.float32), "predictions")
    assert np.abs((small.truth + 0.5) * 1.5 - 0.5 - large.truth).max() < 0.01
    found = run(folder, "second", "large", "--other-data-dir", str(folder / "data96"))
    assert found["person_errors"]["before"] == pytest.approx(found["person_errors"]["after"], abs=1e-4)


def test_the_folder_of_all_steps_is_not_that_of_the_scores(folder, tmp_path):
    (tmp_path / "coco/runs").mkdir(parents=True)
    with pytest.raises(UserError, match="coco holds no stage1_predictions.npy; did you mean .*coco/runs"):
        run(folder, "first", tmp_path / "coco")


def test_runs_that_are_not_of_these_persons_are_refused(folder):
    with pytest.raises(UserError, match="holds no stage1_predictions.npy; run: python test_stage1.py"):
        run(folder, "data64", "second")
    with pytest.raises(UserError, match="not found"):
        run(folder, "first", "third.npy")
    arrays.save(folder / "few/stage1_predictions.npy", np.zeros((4, 14, 2), np.float32), "predictions")
    with pytest.raises(UserError, match="has 4 persons with 14 joints, the test persons are 10.*; name another --oth"):
        run(folder, "first", "few")
    with pytest.raises(UserError, match="the test persons are 10 with 14; name another --data-dir"):
        run(folder, "few", "first")
    arrays.save(folder / "other/stage1_predictions.npy", np.zeros((10, 14, 2), np.float32), "predictions")
    arrays.save_json(folder / "other/stage1.json", {"pck@0.2": {"mean": 71.5}})
    with pytest.raises(UserError, match="stage1.json beside it says 71.50"):
        run(folder, "first", "other")
    dataset = arrays.load_json(folder / "data96/dataset.json", "")
    dataset["test"]["image"] = dataset["test"]["image"][::-1]
    arrays.save_json(folder / "data96/dataset.json", dataset)
    with pytest.raises(UserError, match="different test persons"):
        run(folder, "first", "first", "--other-data-dir", str(folder / "data96"))
