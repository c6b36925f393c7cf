"""What a test run tells of persons of any skeleton: scores, boxes round the truth, similarities, pictures."""
import argparse
import json
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import test_stage1 as step3
from deeppose import arrays, oks, testing
from deeppose.persons import Persons
from deeppose.pixels import Pixels
from deeppose.skeletons import LSP, Skeleton
from deeppose.testing import (
    box_of,
    gain,
    mean_pose,
    print_box_extensions,
    score_box_extensions,
    truth_windows,
    write_test_run,
)
from networks.trained_stages import Stage1

NAN = np.nan
SNAIL = Skeleton(("nose", "tail", "hump"))
MEANT = Skeleton(LSP.joints, LSP.limbs, LSP.paper_limbs, diameter=LSP.diameter, pairs=LSP.pairs,
                 unscored=("neck", "head_top"))


def persons_of(skeleton, count=12, **facts):
    """Random joints on crops of 48 pixels, boxes of 32, 16 bits; nobody has a head size."""
    generator = np.random.default_rng(0)
    crops = torch.from_numpy(generator.integers(0, 60000, (count, 48, 48, 1), dtype=np.uint16).view(np.int16))
    joints = torch.from_numpy(generator.uniform(8, 40, (count, len(skeleton.joints), 2)).astype(np.float32))
    dataset = {"test": {"image": [f"{row}.png" for row in range(count)]}, "test_duplicates": [], **facts}
    return Persons(crops, joints, np.full(count, NAN, np.float32), np.zeros(count, bool), np.full(count, "own"),
                   skeleton, 1.5, dataset, pixels=Pixels(1, 16, (2000,), (900,)))


def run(folder, persons, poses, stage=1, **more):
    settings = argparse.Namespace(data_dir=str(folder), seed=0)
    write_test_run(folder, stage, poses, persons, settings, 1.0, **more)
    return json.loads((folder / f"stage{stage}.json").read_text())


@pytest.fixture
def no_curves(monkeypatch):
    """A second is saved."""
    monkeypatch.setattr(testing, "pdj_curves", lambda *arguments: None)


def test_a_joint_that_no_training_person_has_is_missing_in_the_mean_pose_without_a_warning(tmp_path, no_curves):
    labels = np.random.default_rng(0).uniform(0, 48, (6, 3, 2)).astype(np.float32)
    labels[:4, 1] = NAN  # annotated on held-out persons alone
    labels[0, 0] = NAN
    arrays.save(tmp_path / "train_labels.npy", labels)
    arrays.save(tmp_path / "train_split.npy", np.array([0, 0, 0, 0, 1, 1], np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pose = mean_pose(tmp_path, 12)
        persons = persons_of(SNAIL)
        scores = run(tmp_path, persons, {"mean pose": pose, "stage 1": persons.truth})
    assert pose.shape == (12, 3, 2) and np.isnan(pose[:, 1]).all()
    np.testing.assert_array_equal(pose[5, [0, 2]], [labels[1:4, 0].mean(0), labels[:4, 2].mean(0)])
    assert scores["mean pose"]["pck_box@0.2"]["tail"] == 0 and scores["pck_box@0.05"]["tail"] == 100


def test_a_stage_that_is_no_better_than_the_mean_pose_is_named(tmp_path, no_curves, capsys):
    persons = persons_of(SNAIL)
    poses = {"mean pose": persons.truth + 40, "stage 1": persons.truth + 40, "stage 2": persons.truth}
    run(tmp_path, persons, poses, stage=2)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert len(told) == 1 and told[0].startswith("note: stage 1 is no better than the constant mean pose (PCK@0.1")


def test_a_run_of_joints_alone_on_16_bits(tmp_path, capsys):
    persons = persons_of(SNAIL, box="the whole image squared")
    content = run(tmp_path, persons, {"stage 1": persons.truth + 5, "stage 2": persons.truth + 1}, stage=2)
    assert content["box"] == "the whole image squared"
    assert not {"pdj", "pck@0.2", "pckh@0.5", "pcp_strict@0.5", "oks"} & content.keys()
    assert (content["pck_box@0.05"]["mean"], content["stage 1"]["pck_box@0.2"]["mean"]) == (100, 0)
    assert content["gain_over_stage1"] == {"pck_box@0.1": {"gain": 100, "low": 100, "high": 100}}
    printed = capsys.readouterr().out
    assert "PDJ, PCK: left out, the skeleton has no torso diameter" in printed
    assert "stage 2 over stage 1, PCK@0.1 of box: +100.00 points, 95% interval +100.00 to +100.00" in printed
    with Image.open(tmp_path / "stage2.png") as sheet:
        assert sheet.width == 4 * (192 + 6) + 6  # three rows of four persons
    assert (tmp_path / "stage2_pdj.png").exists()


def test_gains_are_of_what_the_skeleton_has():
    truth = np.random.default_rng(0).uniform(0, 48, (12, 14, 2))
    heads = np.full(12, 4.0)
    keys = ["pck@0.2", "pcp_strict@0.5_mean10", "pcp_strict@0.5_mean8"]
    assert list(gain(truth + 9, truth, truth, LSP, np.full(12, np.nan), 32)) == keys
    assert list(gain(truth + 9, truth, truth, LSP, heads, 32)) == [*keys, "pckh@0.5"]
    found = gain(truth + np.array([[9, 0]] * 12 + [[0, 0]] * 2), truth, truth, MEANT, heads, 32)
    assert list(found) == [*keys, "pckh@0.5_mean12"] and found["pckh@0.5_mean12"]["gain"] == 100


def test_persons_who_are_in_training_too_are_left_out_once_more(tmp_path, capsys, no_curves):
    persons = persons_of(MEANT, pdj_to=0.75, settings={"test_boxes": "image"})
    persons.dataset["test_duplicates"] = [{"test_row": 3}, {"test_row": 3}, {"test_row": 5}]
    content = run(tmp_path, persons, {"stage 1": persons.truth})
    assert content["without_training_duplicates"]["persons"] == 10 and list(content["pdj"])[-1] == "0.75"
    assert content["box"] == "the whole image squared"  # of a dataset.json that does not tell it
    assert box_of({"settings": {"test_boxes": "joints"}}) == "from the annotated joints"
    assert ("stage 1 without the 2 test persons whose photographs are also in training, PCP strict: PCK@0.2 100.0, "
            "PDJ@0.1 100.0, 6-part PCP 100.0, 10-limb PCP 100.0, 8-limb PCP 100.0") in capsys.readouterr().out


def test_windows_round_true_joints_by_hand():
    persons = persons_of(SNAIL, 4)
    persons.joints_px[0] = torch.tensor([[10.0, 20], [30, 24], [20, 22]])  # 20 wide, about (20, 22)
    persons.joints_px[1] = torch.tensor([[10.0, 20], [30, 60], [NAN, NAN]])  # 40 high, about (20, 40)
    persons.joints_px[2] = torch.tensor([[7.0, 9], [NAN, NAN], [NAN, NAN]])
    persons.joints_px[3] = NAN
    windows, padded = truth_windows(persons, 2.0)
    assert windows.tolist() == [[[40, 0, 20], [0, 40, 22]], [[80, 0, 20], [0, 80, 40]], [[2, 0, 7], [0, 2, 9]],
                                [[32, 0, 23.5], [0, 32, 23.5]]]
    assert padded.tolist() == [False, True, False, False]
    persons.joints_px[0] += torch.tensor([-0.5, 0])
    assert truth_windows(persons, 2.0)[1].tolist()[0] is False  # -0.5 is the crop's edge
    assert truth_windows(persons, 2.01)[1].tolist()[0] is True


def test_scores_on_boxes_round_the_truth_say_so(capsys):
    persons = persons_of(MEANT)

    def predict(windows):  # right where the window is smaller than the crop
        return persons.joints_px + 9.0 * (windows[:, :1, :1] > 48)
    found = score_box_extensions(predict, persons, (1.0, 2.5))
    assert list(found) == ["boxes", "1.0", "2.5"] and "uses the truth" in found["boxes"]
    assert (found["1.0"]["pck@0.2"]["mean"], found["2.5"]["pck@0.2"]["mean"] < 50) == (100, True)
    assert (found["1.0"]["padded"], found["2.5"]["padded"]) == (0, 100)
    print_box_extensions(found, "stage 1")
    lines = capsys.readouterr().out.splitlines()
    assert "uses the truth, so no fair score" in lines[1]
    assert lines[2].split("  ") == ["extension", " padded", " PCK@0.2", " PDJ@0.1", " 6-part PCP", " 10-limb PCP",
                                    " 8-limb PCP"]
    assert lines[3].split() == ["1.0", "0.0", *["100.0"] * 5] and len(lines[4]) == len(lines[3]) == len(lines[2])


def test_a_run_on_coco_tells_similarities(tmp_path, capsys, monkeypatch, no_curves):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    persons = persons_of(SNAIL, coco={"image_id": list(range(12)), "area": [100.0] * 12, "sigmas": [0.1] * 3,
                                      "bbox": [[0, 0, 9, 9]] * 12})
    arrays.save(tmp_path / "test_boxes.npy", np.tile(np.float32([5, 7, 24]), (12, 1)))  # 2 crop pixels an image pixel
    content = run(tmp_path, persons, {"stage 1": persons.truth + [0, 4]})
    assert content["oks"] == {"mean": pytest.approx(100 * np.exp(-0.5), abs=1e-3)}
    assert content["left_out"]["OKS-AP"] == oks.NOT_INSTALLED
    printed = capsys.readouterr().out
    assert "OKS-AP: left out, pycocotools is not installed" in printed
    assert "OKS                   stage 1\n  mean              60.7" in printed


class Middle(torch.nn.Module):
    """Says that every joint lies in the window's middle."""
    loss_name = "mse"

    def forward(self, images):
        return images.new_zeros(len(images), 3, 2)

    def joints(self, output):
        return output, None

    def mirrored(self, output, partner):
        return output


def test_the_script_looks_at_boxes_round_the_truth_where_asked(tmp_path, monkeypatch, capsys, no_curves):
    persons = persons_of(SNAIL)
    places = torch.rand(12, 1, 2, generator=torch.Generator().manual_seed(0)) * 38 + 2
    persons.joints_px = places + torch.tensor([[0.0, 0], [6, 0], [3, 6]])  # the middle is 0.13 of a box away at most
    stage1 = Stage1(Middle(), 16, False, False, "", SNAIL, persons.pixels, 48, 1.5)
    monkeypatch.setattr(step3, "load_persons", lambda *arguments: persons)
    monkeypatch.setattr(step3, "load_stage1", lambda *arguments: stage1)
    arrays.save(tmp_path / "train_labels.npy", persons.truth)
    arrays.save(tmp_path / "train_split.npy", np.zeros(12, np.uint8))
    flags = ["--data-dir", str(tmp_path), "--run-dir", str(tmp_path), "--device", "cpu", "--batch-size", "5"]
    step3.main([*flags, "--box-extensions", "1.0", "10"])
    found = json.loads((tmp_path / "stage1.json").read_text())
    extended = found["box_extensions"]
    assert list(extended) == ["boxes", "1.0", "10.0"] and found["settings"]["box_extensions"] == [1, 10]
    assert (extended["1.0"]["pck_box@0.2"]["mean"], extended["10.0"]["pck_box@0.2"]["mean"]) == (100, 100)
    assert (extended["1.0"]["padded"], extended["10.0"]["padded"]) == (0, 100)
    assert found["pck_box@0.2"]["mean"] < 50  # the box's middle is nobody's
    assert "no fair score" in capsys.readouterr().out
    step3.main(flags)
    assert "box_extensions" not in json.loads((tmp_path / "stage1.json").read_text())
    assert "no fair score" not in capsys.readouterr().out


@pytest.mark.parametrize("count, shown", [(1, ["best"]), (2, ["best", "worst"]), (3, ["best", "median", "worst"])])
def test_few_persons_are_shown_as_well(tmp_path, monkeypatch, count, shown):
    persons, told = persons_of(SNAIL, count), []
    monkeypatch.setattr(testing, "contact_sheet", lambda path, crops, skeleton, poses, captions, columns: told.extend(
        caption.partition(":")[0] for caption, _ in zip(captions, crops, strict=True)))
    testing.show_persons(tmp_path / "x.png", persons.truth + 1, persons)
    assert told == shown
