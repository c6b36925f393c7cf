"""Step 1 as a user runs it: crops, labels, splits, copies, near duplicates, and what can be wrong with images."""
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import lsp_data
from deeppose import arrays, near_duplicates, stored_crops
from deeppose.archives import Unreadable
from deeppose.claims import claimed
from deeppose.errors import Failure, UserError
from deeppose.pixels import RGB
from deeppose.skeletons import LSP

pytestmark = pytest.mark.usefixtures("undrawn")
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
RIGHT, LEFT = LSP.index("r_wrist"), LSP.index("l_wrist")
ARRAYS = [f"{split}_{name}.npy" for split in ("train", "test") for name in ("images", "labels", "boxes", "head_sizes")]


def prepare(folder, raw, *flags):
    """Run step 1; returns the arrays by name, and dataset.json under "dataset"."""
    lsp_data.main(["--raw-dir", str(raw), "--data-dir", str(folder / "data"), "--run-dir", str(folder / "runs"),
                   *map(str, flags)])
    made = {name[:-4]: np.load(folder / "data" / name) for name in [*ARRAYS, "train_split.npy"]}
    return made | {"dataset": json.loads((folder / "data" / "dataset.json").read_text())}


def save_joints(folder, joints, annotated=None):
    """joints.mat of (N, 14, 2); with `annotated` (N, 14) in the layout of LSPe."""
    table = np.concatenate([joints, (np.zeros if annotated is None else np.ones)((*joints.shape[:2], 1))], 2)
    if annotated is not None:
        table[..., 2] = annotated
    scipy.io.savemat(folder / "joints.mat", {"joints": table.transpose((2, 1, 0) if annotated is None else (1, 2, 0))})


def blobs(size, centres, sigma):
    """An image of the padding's colour with a red Gaussian at the first centre and a blue one at the second."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    image = np.ones((size[1], size[0], 3)) * RGB.padding
    for channel, (cx, cy) in zip((0, 2), centres, strict=False):
        image[..., channel] += 120 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2 / sigma ** 2)
    return Image.fromarray(image.round().astype(np.uint8))


def centroid(crop, channel):
    weight = crop[..., channel].astype(float) - RGB.padding[channel]
    weight[weight < 3] = 0
    y, x = np.indices(weight.shape)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.fixture(scope="module")
def blob_dir(tmp_path_factory):
    """LSP (12 images) and LSPe (10) whose right wrist is a red blob and left wrist a blue one.

    The names have no leading zeros, so that their order in a folder is not that of their numbers.
    """
    folder, rng = tmp_path_factory.mktemp("blobs"), np.random.default_rng(3)
    for name, count in (("lsp_dataset", 12), ("lspet_dataset", 10)):
        (folder / name / "images").mkdir(parents=True)
        joints, annotated = np.empty((count, 14, 2)), np.ones((count, 14))
        for number in range(1, count + 1):
            size = rng.integers(90, 200, 2)
            joints[number - 1] = rng.uniform(25, size - 25, (14, 2))
            joints[number - 1, [RIGHT, LEFT], 0] = rng.uniform(25, size[0] / 2 - 12), rng.uniform(size[0] / 2 + 12,
                                                                                                 size[0] - 25)
            blobs(size, joints[number - 1, [RIGHT, LEFT]], 4).save(folder / name / "images" / f"im{number}.png")
        if name == "lspet_dataset":
            annotated[3, :8] = annotated[6, [0, 5, 13]] = 0
            annotated[3, RIGHT] = 1
            joints[annotated == 0] = -1000
        save_joints(folder / name, joints, annotated if name == "lspet_dataset" else None)
    return folder


BLOBS = ["--lsp-train-images", 8, "--crop-size", 128, "--duplicate-distance", 0, "--workers", 1,
         "--validation-share", 0.25]


def test_drawn_figures_become_arrays(raw_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()  # with the picture
    made = prepare(tmp_path, raw_dir, "--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 64)
    for split, count in (("train", 30), ("test", 10)):
        assert made[f"{split}_images"].shape == (count, 64, 64, 3) and made[f"{split}_images"].dtype == np.uint8
        for name, shape in (("labels", (count, 14, 2)), ("boxes", (count, 3)), ("head_sizes", (count,))):
            assert made[f"{split}_{name}"].shape == shape and made[f"{split}_{name}"].dtype == np.float32
    assert made["train_split"].dtype == np.uint8 and made["train_split"].sum() == 3

    dataset = made["dataset"]
    assert dataset["train"]["image"] == [f"im{number:04d}.jpg" for number in range(1, 31)]
    assert dataset["test"]["image"] == [f"im{number:04d}.jpg" for number in range(31, 41)]
    assert set(dataset["test"]["source"]) == {"lsp"} and dataset["skeleton"] == LSP.plain()
    assert dataset["settings"]["crop_size"] == dataset["crop_size"] == 64
    assert len(dataset["sources"]["lsp"]["sha256"]) == 64

    # the stored crop is the squared image and half as much again; its labels lead back to the file's joints
    joints = scipy.io.loadmat(raw_dir / "lsp_dataset" / "joints.mat")["joints"].transpose(2, 1, 0)[..., :2]
    sizes = np.array([Image.open(raw_dir / "lsp_dataset" / "images" / name).size for name in
                      dataset["train"]["image"] + dataset["test"]["image"]])
    edges = np.concatenate([made["train_boxes"], made["test_boxes"]])
    np.testing.assert_allclose(edges[:, 2], 1.5 * sizes.max(1), rtol=1e-6)
    np.testing.assert_allclose(edges[:, :2] + edges[:, 2:] / 2, sizes / 2, atol=1e-4)
    labels = np.concatenate([made["train_labels"], made["test_labels"]])
    np.testing.assert_allclose(stored_crops.to_image_px(labels, edges, 64), joints, atol=1e-3)
    heads = np.linalg.norm(joints[:, 12] - joints[:, 13], axis=1) * 64 / edges[:, 2]
    np.testing.assert_allclose(np.concatenate([made["train_head_sizes"], made["test_head_sizes"]]), heads, rtol=1e-4)

    printed = capsys.readouterr().out
    assert "next: python train_stage1.py --data-dir" in printed
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in printed.splitlines() if " LSP " in line}
    assert rows["validation", "LSP"][0] == "3" and rows["train", "LSP"][:3] == ["27", "0", "378"]
    assert Image.open(tmp_path / "runs" / "dataset.png").width > 8 * 64


def test_blobs_lie_under_their_labels_in_every_row(blob_dir, tmp_path):
    made = prepare(tmp_path, blob_dir, *BLOBS, "--extra-copies", 3)
    flipped = np.array(made["dataset"]["train"]["flipped"])
    held_out = made["train_split"].sum()
    assert held_out == 2 + 2 and len(flipped) == 18 + 3 * (18 - held_out) and 5 < flipped.sum() < 40
    for split in ("train", "test"):
        turned = np.array(made["dataset"][split]["flipped"])
        for crop, labels, mirrored in zip(made[f"{split}_images"], made[f"{split}_labels"], turned, strict=True):
            for joint, channel in ((RIGHT, 0), (LEFT, 2)):
                channel = 2 - channel if mirrored else channel  # mirrored, a right wrist is a left one
                if not np.isnan(labels[joint]).any():
                    np.testing.assert_allclose(centroid(crop, channel), labels[joint], atol=0.1)


def test_copies_follow_the_originals_and_none_is_held_out(blob_dir, tmp_path):
    plain = prepare(tmp_path / "plain", blob_dir, *BLOBS)
    made = prepare(tmp_path / "copies", blob_dir, *BLOBS, "--extra-copies", 2, "--copy-shift", 0, "--copy-scale", 1, 1,
                   "--copy-flip", 1)
    rows, source = made["dataset"]["train"], 18
    assert rows["copy"][:source] == [0] * source and set(rows["copy"][source:]) == {1, 2}
    assert not any(rows["flipped"][:source]) and all(rows["flipped"][source:])
    for name in ("train_images", "train_labels", "train_boxes"):
        np.testing.assert_array_equal(made[name][:source], plain[name])
    assert not made["train_split"][source:].any()
    held_out = np.array(rows["image"])[:source][made["train_split"][:source] == 1]
    kept = plain["train_split"] == 0
    assert len(held_out) == 4 and rows["image"][source:] == 2 * list(np.array(rows["image"])[:source][kept])
    # unmoved and mirrored: the same pixels and joints from right to left, and the square in the mirrored image
    np.testing.assert_array_equal(made["train_images"][source:],
                                  np.tile(plain["train_images"][kept], (2, 1, 1, 1))[:, :, ::-1])
    mirrored = plain["train_labels"][kept][:, LSP.mirror] * [-1, 1] + [127, 0]
    np.testing.assert_allclose(made["train_labels"][source:], np.tile(mirrored, (2, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(made["train_head_sizes"][source:], np.tile(plain["train_head_sizes"][kept], 2),
                               rtol=1e-5)
    widths = np.array([Image.open(blob_dir / f"{name}_dataset" / "images" / image).width
                       for name, image in zip(rows["source"], rows["image"], strict=True)])[source:]
    np.testing.assert_allclose(made["train_boxes"][source:, 0],
                               widths - np.tile(plain["train_boxes"][kept], (2, 1))[:, [0, 2]].sum(1), atol=1e-4)


def test_missing_joints_are_nan_and_no_image_is_dropped_for_them(blob_dir, tmp_path):
    made = prepare(tmp_path, blob_dir, *BLOBS)
    missing = np.isnan(made["train_labels"]).all(2)
    assert (missing == np.isnan(made["train_labels"]).any(2)).all()
    assert missing.sum(1).tolist() == [0] * 8 + [0, 0, 0, 7, 0, 0, 3, 0, 0, 0]
    assert made["dataset"]["train"]["image"][8:] == [f"im{number}.png" for number in range(1, 11)]
    assert np.isnan(made["train_head_sizes"][14]) and np.isnan(made["train_head_sizes"]).sum() == 1
    inside = made["train_labels"][~missing]
    assert inside.min() > 0 and inside.max() < 127  # the garbage coordinates of missing joints move no box


def test_lspe_boxes_have_the_joint_extent_times_lsp_s_ratio(blob_dir, tmp_path):
    made = prepare(tmp_path, blob_dir, *BLOBS)
    joints = scipy.io.loadmat(blob_dir / "lspet_dataset" / "joints.mat")["joints"].transpose(2, 0, 1)[0, :, :2]
    ratio = made["dataset"]["box_rule"]["box_sides_per_joint_extent"]
    lsp = stored_crops.to_image_px(made["train_labels"][:8], made["train_boxes"][:8], 128)
    assert ratio == pytest.approx(np.median(made["train_boxes"][:8, 2] / 1.5 / np.ptp(lsp, axis=1).max(1)), rel=1e-4)
    edges = made["train_boxes"][8]
    assert edges[2] == pytest.approx(1.5 * ratio * np.ptp(joints, axis=0).max(), rel=1e-5)
    np.testing.assert_allclose(edges[:2] + edges[2] / 2, (joints.min(0) + joints.max(0)) / 2 + 0.5, atol=1e-3)


def test_boxes_of_persons_with_hardly_a_joint_stay_sensible():
    joints = np.full((4, 14, 2), np.nan)
    joints[1, 0] = 30, 40
    joints[2, [0, 1]] = (30, 40), (34, 40)
    joints[3] = np.linspace((10, 20), (30, 100), 14)
    edges = stored_crops.joint_boxes(joints, np.array([[100, 60]] * 4), ratio=1.5, least_extent=50)
    np.testing.assert_allclose(edges[:, 2], [75, 75, 75, 120])
    np.testing.assert_allclose(edges[:, :2] + edges[:, 2:] / 2, [(50, 30), (30.5, 40.5), (32.5, 40.5), (20.5, 60.5)])


def test_a_test_person_s_box_uses_the_joints_only_on_request(blob_dir, tmp_path):
    moved = tmp_path / "moved"
    for name in ("lsp_dataset", "lspet_dataset"):
        shutil.copytree(blob_dir / name, moved / name)
    table = scipy.io.loadmat(blob_dir / "lsp_dataset" / "joints.mat")["joints"]
    table[:2, :, 8:] = table[:2, :, 8:] / 2 + 5
    scipy.io.savemat(moved / "lsp_dataset" / "joints.mat", {"joints": table})
    for boxes in ("image", "joints"):
        before, after = (prepare(tmp_path / f"{boxes}{number}", raw, *BLOBS, "--test-boxes", boxes)
                         for number, raw in enumerate((blob_dir, moved)))
        assert (before["test_images"] == after["test_images"]).all() == (boxes == "image")
        assert np.isclose(before["test_boxes"], after["test_boxes"]).all() == (boxes == "image")
        np.testing.assert_array_equal(before["train_boxes"], after["train_boxes"])


def sides(made, split="train"):
    return made[f"{split}_boxes"][:, 2]


@pytest.fixture(scope="module")
def copied_once(blob_dir, tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("copied_once"), blob_dir, *BLOBS, "--extra-copies", 1)


ORIGINALS = 18  # training persons of the blobs, 4 of them held out; a copy of each of the others follows


@pytest.mark.parametrize("flag, values, holds", [
    ("crop-size", [64], lambda before, after: after["train_images"].shape[1] == 64),
    ("context", [2], lambda before, after: np.allclose(sides(after), sides(before) * 2 / 1.5)),
    ("seed", [5], lambda before, after: (before["train_split"] != after["train_split"]).any()),
    ("validation-share", [0.5], lambda before, after: after["train_split"].sum() == 4 + 5),
    ("lsp-train-images", [6], lambda before, after: len(after["test_images"]) == 6),
    ("extra-copies", [2], lambda before, after: len(after["train_images"]) == ORIGINALS + 2 * 14),
    ("copy-shift", [0.3], lambda before, after: moved(after, before, 0.05, 0.3)),
    ("copy-scale", [0.5, 0.6], lambda before, after: rescaled(after, 0.5, 0.6) and rescaled(before, 0.85, 1.15)),
    ("copy-flip", [0], lambda before, after: any(before["dataset"]["train"]["flipped"])
     and not any(after["dataset"]["train"]["flipped"])),
    ("least-extent", [1], lambda before, after: np.flatnonzero(sides(before) != sides(after)).tolist() != []
     and set(np.flatnonzero(sides(before) < sides(after))) <= set(np.flatnonzero(
         np.isnan(after["train_labels"]).any((1, 2))))),
])
def test_every_knob_does_what_it_says(blob_dir, copied_once, tmp_path, flag, values, holds):
    before, after = copied_once, prepare(tmp_path, blob_dir, *BLOBS, "--extra-copies", 1, f"--{flag}", *values)
    assert holds(before, after) and not holds(before, before)


def copied(made):
    """The boxes of the copies that are not mirrored, and of what they are copies of."""
    rows = made["dataset"]["train"]
    copies = np.flatnonzero(np.array(rows["copy"]) * ~np.array(rows["flipped"]))
    origins = [rows["image"].index(rows["image"][row]) if rows["source"][row] == "lsp"
               else 8 + rows["image"][8:].index(rows["image"][row]) for row in copies]
    return made["train_boxes"][copies], made["train_boxes"][origins]


def moved(made, other, least, most):
    """Whether copies are shifted by at most `most` of their box's side, and one by more than `least`."""
    boxes, origins = copied(made)
    shifts = np.abs(boxes[:, :2] + boxes[:, 2:] / 2 - origins[:, :2] - origins[:, 2:] / 2) / origins[:, 2:] * 1.5
    return shifts.max() <= most + 1e-6 and shifts.max() > least


def rescaled(made, least, most):
    boxes, origins = copied(made)
    factors = boxes[:, 2] / origins[:, 2]
    return least - 1e-6 <= factors.min() < factors.max() <= most + 1e-6


@pytest.mark.parametrize("flags, message", [
    (["--crop-size", 4], "--crop-size is 4, expected 16 ... 4096"),
    (["--context", 0.5], "--context is 0.5, expected 1.0 ... 10"),
    (["--validation-share", 1], "--validation-share is 1.0, expected 0.001 ... 0.9"),
    (["--copy-scale", 1.2, 0.8], "--copy-scale is 1.2 0.8, expected the smaller number first"),
    (["--workers", 62], "--workers is 62, expected 0 ... 61"),
])
def test_settings_beyond_their_range_are_told(blob_dir, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        prepare(tmp_path, blob_dir, *BLOBS, *flags)
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind, flags, message", [
    (UserError, ["--validation-share", 0.001],
     "no validation person among 18 training persons, of whom up to 1 must stay together; raise --validation-share"),
    (UserError, ["--duplicate-distance", 255], "no validation person among 18 training persons"),  # all are alike
    (UserError, ["--lsp-train-images", 12], "holds images 1 ... 12; those up to 12 train .* change --lsp-train-images"),
    (Failure, ["--crop-size", 4096, "--extra-copies", 1000, "--context", 1],
     r"has [\d.]+ [MGT]B free and the crops need 70\d.\d GB; make room or choose a smaller --crop-size"),
])
def test_settings_that_do_not_fit_the_data_are_told(blob_dir, tmp_path, kind, flags, message):
    with pytest.raises(kind, match=message):
        prepare(tmp_path, blob_dir, *BLOBS, *flags)
    assert not files_below(tmp_path)


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_distance_at_which_all_are_alike_fills_no_memory():
    with pytest.raises(UserError, match="--duplicate-distance 255 makes near duplicates of more than .* lower it"):
        near_duplicates.near_pairs(np.random.default_rng(0).integers(0, 256, (1000, 32, 32), dtype=np.uint8), 255)


@pytest.fixture
def scenes():
    """scene(k): the k-th of ever different smooth pictures, which no hash confuses."""
    def scene(number):
        noise = np.random.default_rng(number).integers(0, 256, (12, 9, 3), dtype=np.uint8)
        return Image.fromarray(noise).resize((90, 120), Image.Resampling.BICUBIC)
    return scene


def write_scenes(folder, pictures):
    (folder / "images").mkdir(parents=True)
    for number, image in enumerate(pictures, 1):
        image.save(folder / "images" / f"im{number:04d}.jpg", quality=85)
    save_joints(folder, np.random.default_rng(0).uniform(5, 85, (len(pictures), 14, 2)))


def test_near_duplicates_stay_on_one_side_and_those_in_the_test_split_are_listed(scenes, tmp_path):
    pictures = [scenes(number) for number in range(40)]
    pictures[7] = pictures[3].resize((110, 140))
    pictures[11] = pictures[3].transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((1, 1, 89, 119))
    pictures[35] = pictures[20].point(lambda value: value * 0.8)
    pictures[38] = pictures[22].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    write_scenes(tmp_path / "raw" / "lsp_dataset", pictures)
    sides = set()
    for seed in range(6):
        made = prepare(tmp_path, tmp_path / "raw", "--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 32,
                       "--validation-share", 0.4, "--seed", seed)
        split = made["train_split"]
        assert split[3] == split[7] == split[11] and split[20] == split[22] == 0 and 10 <= split.sum() <= 12
        sides.add(int(split[3]))
    assert sides == {0, 1}
    found = [(pair["test_row"], pair["test_image"], pair["train_image"], pair["train_source"], pair["mirrored"])
             for pair in made["dataset"]["test_duplicates"]]
    assert sorted(found) == [(5, "im0036.jpg", "im0021.jpg", "lsp", False),
                             (8, "im0039.jpg", "im0023.jpg", "lsp", True)]
    assert made["dataset"]["near_duplicates"] == {"pairs": 5, "groups": 3}


def test_training_photographs_that_are_test_photographs_too_are_left_out_where_asked_for(scenes, tmp_path, capsys):
    pictures = [scenes(number) for number in range(40)]
    pictures[35] = pictures[20].point(lambda value: value * 0.8)
    pictures[22] = pictures[20].resize((110, 140))  # the same once more, in training too
    pictures[38] = pictures[36].resize((110, 140))  # twice in the test split alone
    write_scenes(tmp_path / "raw" / "lsp_dataset", pictures)
    flags = ["--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 32, "--extra-copies", 1]
    kept, left = (prepare(tmp_path / twins, tmp_path / "raw", *flags, "--twins", twins) for twins in ("keep", "drop"))
    assert "left out of training: 2 photographs that are test photographs too\n" in capsys.readouterr().out
    names = [f"im{number:04d}.jpg" for number in range(1, 31)]
    assert kept["dataset"]["train"]["image"][:30] == names
    assert {pair["test_row"] for pair in kept["dataset"]["test_duplicates"]} == {5}
    names = [name for name in names if name not in ("im0021.jpg", "im0023.jpg")]
    assert left["dataset"]["train"]["image"][:28] == names and set(left["dataset"]["train"]["image"]) == set(names)
    assert left["dataset"]["test_duplicates"] == []
    # the same persons are held out, and all others' arrays stay as they are
    rows = np.flatnonzero(np.isin(kept["dataset"]["train"]["image"][:30], names))
    for name in ("train_split", "train_images", "train_labels", "train_boxes"):
        np.testing.assert_array_equal(left[name][:28], kept[name][rows])
    for name in ("test_images", "test_labels", "test_boxes", "test_head_sizes"):
        np.testing.assert_array_equal(left[name], kept[name])


def test_twins_may_not_take_all_that_is_left_to_train_on(scenes, tmp_path):
    pictures = [scenes(number) for number in range(6)]
    pictures[4] = pictures[0]
    pictures[5] = pictures[1]
    write_scenes(tmp_path / "raw" / "lsp_dataset", pictures)
    with pytest.raises(UserError, match="no person is left to train on; lower --validation-share or --duplicate-dist"):
        prepare(tmp_path, tmp_path / "raw", "--train-on", "lsp", "--lsp-train-images", 4, "--crop-size", 32, "--twins",
                "drop", "--validation-share", 0.5)


def test_unreadable_images_are_listed_and_skipped_up_to_a_share(scenes, tmp_path, capsys):
    folder = tmp_path / "raw" / "lsp_dataset"
    write_scenes(folder, [scenes(number) for number in range(40)])
    whole = prepare(tmp_path / "whole", tmp_path / "raw", "--train-on", "lsp", "--lsp-train-images", 30, "--crop-size",
                    32)
    cut = (folder / "images" / "im0004.jpg").read_bytes()
    (folder / "images" / "im0004.jpg").write_bytes(cut[:len(cut) // 2])
    (folder / "images" / "im0033.jpg").write_text("no picture")
    (folder / "images" / "im0009.jpg").unlink()
    flags = ["--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 32]
    with pytest.raises(Failure, match=r"3 images \(7.5%\) can't be used, e.g. lsp number 9: no such image; lsp im00"):
        prepare(tmp_path / "stopped", tmp_path / "raw", *flags)
    assert not files_below(tmp_path / "stopped")
    capsys.readouterr()
    made = prepare(tmp_path / "made", tmp_path / "raw", *flags, "--largest-unreadable", 0.08)
    assert [fault["image"] for fault in made["dataset"]["unreadable"]] == ["number 9", "im0004.jpg", "im0033.jpg"]
    printed = capsys.readouterr().out
    assert "skipped lsp im0004.jpg: image file is truncated" in printed
    assert "skipped lsp im0033.jpg: not an image\n" in printed
    assert next(line for line in printed.splitlines() if line.startswith("LSP")).split() == ["LSP", "40", "37", "3"]
    keep = np.delete(np.arange(30), [3, 8])
    np.testing.assert_array_equal(made["train_images"], whole["train_images"][keep])
    np.testing.assert_array_equal(made["train_labels"], whole["train_labels"][keep])
    np.testing.assert_array_equal(made["test_labels"], np.delete(whole["test_labels"], 2, 0))
    assert "im0009.jpg" not in made["dataset"]["train"]["image"] and len(made["dataset"]["train"]["image"]) == 28


def test_a_damaged_member_of_a_zip_counts_as_unreadable(scenes, tmp_path):
    write_scenes(tmp_path / "lsp_dataset", [scenes(number) for number in range(20)])
    path = tmp_path / "raw" / "lsp_dataset.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for file in (tmp_path / "lsp_dataset").rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "lsp_dataset"))
    content = bytearray(path.read_bytes())
    content[content.index((tmp_path / "lsp_dataset" / "images" / "im0005.jpg").read_bytes()) + 300] ^= 1
    path.write_bytes(content)
    made = prepare(tmp_path, tmp_path / "raw", "--train-on", "lsp", "--lsp-train-images", 15, "--crop-size", 32,
                   "--largest-unreadable", 0.1)
    assert [fault["image"] for fault in made["dataset"]["unreadable"]] == ["im0005.jpg"]
    assert "CRC" in made["dataset"]["unreadable"][0]["reason"] and len(made["train_images"]) == 14


def test_worker_processes_write_what_one_process_writes(scenes, tmp_path):
    write_scenes(tmp_path / "raw" / "lsp_dataset", [scenes(number) for number in range(430)])  # more than one task
    made = [prepare(tmp_path / str(workers), tmp_path / "raw", "--train-on", "lsp", "--lsp-train-images", 410,
                    "--crop-size", 32, "--workers", workers) for workers in (1, 2)]
    for name in ARRAYS:
        np.testing.assert_array_equal(made[0][name[:-4]], made[1][name[:-4]])


def test_an_interrupted_run_leaves_the_older_arrays_whole(blob_dir, tmp_path, monkeypatch):
    prepare(tmp_path, blob_dir, *BLOBS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    cut, calls = stored_crops.cut, []

    def interrupted(*arguments):
        calls.append(None)
        if len(calls) > 20:
            raise KeyboardInterrupt
        return cut(*arguments)
    monkeypatch.setattr(stored_crops, "cut", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, blob_dir, *BLOBS, "--context", 2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


def kept(folder):
    return {path.name: path.read_bytes() for path in (folder / "data").iterdir()}


@pytest.mark.parametrize("names", range(1, 11))
def test_a_run_that_breaks_while_the_arrays_get_their_names_leaves_no_dataset_json(raw_dir, tmp_path, monkeypatch,
                                                                                 names):
    flags = ["--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 16]
    prepare(tmp_path, raw_dir, *flags)
    before, replace, calls = kept(tmp_path), os.replace, []

    def broken(source, target):
        if ".part" not in Path(target).name:  # which is an array's last name
            calls.append(None)
            if len(calls) == names:
                raise KeyboardInterrupt
        return replace(source, target)
    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, raw_dir, *flags, "--context", 2)
    assert set(kept(tmp_path)) == set(before) - {"dataset.json"}


@pytest.mark.parametrize("fault", ["labels", "digest", "description"])
def test_a_run_that_breaks_off_earlier_leaves_all_as_it_was(raw_dir, tmp_path, monkeypatch, fault):
    flags = ["--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 16]
    prepare(tmp_path, raw_dir, *flags)
    before = kept(tmp_path)
    monkeypatch.setattr(*{"labels": (stored_crops, "to_crop_px"), "digest": (arrays, "digest"),
                          "description": (arrays, "save_json")}[fault], lambda *_: (_ for _ in ()).throw(OSError(28)))
    with pytest.raises((OSError, Failure)):
        prepare(tmp_path, raw_dir, *flags, "--context", 2)
    assert kept(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sets no limit to a file's size")
def test_a_full_disk_is_told_before_a_crop_is_cut_and_costs_nothing(raw_dir, tmp_path):
    flags = ["--train-on", "lsp", "--lsp-train-images", "30", "--crop-size", "32"]
    prepare(tmp_path, raw_dir, *flags)
    before = kept(tmp_path)
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000)); import lsp_data; "
            "from deeppose import stored_crops; stored_crops.cut = None; lsp_data.run(lsp_data.main)")
    done = subprocess.run([sys.executable, "-c", code, "--raw-dir", raw_dir, "--data-dir", tmp_path / "data",
                           "--run-dir", tmp_path / "runs", *flags, "--context", "2"],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"error: {tmp_path / 'data'} can't take crops of 92.2 kB (File too large); make room" in done.stderr
    assert kept(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system takes no space beforehand")
def test_the_space_of_all_crops_is_taken_before_the_first_is_cut(raw_dir, tmp_path, monkeypatch):
    taken, write = [], stored_crops._write
    monkeypatch.setattr(stored_crops, "_write", lambda task: taken.append(os.stat(task[6])) or write(task))
    prepare(tmp_path, raw_dir, "--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 64)
    assert [status.st_size for status in taken] == [128 + count * 64 * 64 * 3 for count in (30, 10)]
    assert all(status.st_blocks * 512 >= status.st_size for status in taken)


def test_what_the_disk_takes_no_more_of_is_told_where_no_space_can_be_taken_before(raw_dir, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(stored_crops, "_write", lambda task: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(Failure, match=r"can't take crops of 92.2 kB \(No space left\); make room, or choose a smaller"):
        prepare(tmp_path, raw_dir, "--train-on", "lsp", "--lsp-train-images", 30, "--crop-size", 32)


def test_two_runs_do_not_write_into_one_folder(raw_dir, tmp_path):
    with claimed(tmp_path / "data", "arrays"), pytest.raises(UserError, match="another run .* is writing arrays there"):
        prepare(tmp_path, raw_dir, "--train-on", "lsp", "--lsp-train-images", 30)


@pytest.mark.parametrize("count, words", [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (48_000_000, "48.0 MB"),
                                          (3_200_000_000, "3.2 GB"), (7e15, "7000.0 TB")])
def test_sizes_have_sensible_units(count, words):
    assert stored_crops.in_bytes(count) == words


@pytest.mark.parametrize("coordinates, reason", [
    ((np.inf, 50), r"l_elbow at \(inf, 50\), far outside the image of 90 x 120 pixels"),
    ((50, -np.inf), r"l_elbow at \(50, -inf\)"), ((1e300, 50), r"l_elbow at \(1e\+300, 50\)"),
    ((-121, 50), "l_elbow"), ((211, 50), "l_elbow"), ((50, 241), "l_elbow"),
    ((-120, 50), None), ((209, 50), None), ((50, 239), None), ((np.nan, 50), None),
])
def test_an_image_whose_joints_can_not_be_its_own_is_left_out(scenes, tmp_path, coordinates, reason):
    write_scenes(tmp_path / "raw" / "lsp_dataset", [scenes(number) for number in range(20)])
    joints = scipy.io.loadmat(tmp_path / "raw/lsp_dataset/joints.mat")["joints"].transpose(2, 1, 0)[..., :2]
    joints[4, LSP.index("l_elbow")] = coordinates
    save_joints(tmp_path / "raw" / "lsp_dataset", joints)
    flags = ["--train-on", "lsp", "--lsp-train-images", 15, "--crop-size", 32, "--validation-share", 0.2]
    if reason:
        with pytest.raises(Failure, match=rf"1 images \(5.0%\) can't be used, e.g. lsp im0005.jpg: .*{reason}.*anew"):
            prepare(tmp_path, tmp_path / "raw", *flags)
    made = prepare(tmp_path, tmp_path / "raw", *flags, "--largest-unreadable", 0.05)
    assert [fault["image"] for fault in made["dataset"]["unreadable"]] == ["im0005.jpg"] * bool(reason)
    assert len(made["train_labels"]) == 15 - bool(reason)


def test_joints_that_span_no_pixel_tell_no_size(scenes, tmp_path):
    write_scenes(tmp_path / "raw" / "lsp_dataset", [scenes(number) for number in range(20)])
    save_joints(tmp_path / "raw" / "lsp_dataset", np.random.default_rng(0).uniform(50, 50 + 1e-9, (20, 14, 2)))
    with pytest.raises(Failure, match="no annotated joints that span a pixel"):
        prepare(tmp_path, tmp_path / "raw", "--train-on", "lsp", "--lsp-train-images", 15)


@pytest.mark.parametrize("side, numbers", [("test", range(16, 21)), ("train on", range(1, 16))])
def test_a_side_without_any_image_of_use_is_told(scenes, tmp_path, side, numbers):
    write_scenes(tmp_path / "raw" / "lsp_dataset", [scenes(number) for number in range(20)])
    for number in numbers:
        (tmp_path / "raw" / "lsp_dataset" / "images" / f"im{number:04d}.jpg").write_bytes(b"")
    with pytest.raises(Failure, match=f"no image to {side} can be used, e.g. im00{numbers[0]:02d}.jpg: not an image"):
        prepare(tmp_path, tmp_path / "raw", "--train-on", "lsp", "--lsp-train-images", 15, "--largest-unreadable", 1)


def encoded(image, kind):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


GREY = np.linspace(0, 65535, 30 * 40).reshape(30, 40)


@pytest.mark.parametrize("content", [
    encoded(Image.fromarray(GREY.astype("<u2")), "PNG"), encoded(Image.fromarray(GREY.astype("<u2")), "TIFF"),
    encoded(Image.frombytes("I;16B", (40, 30), GREY.astype(">u2").tobytes()), "TIFF"),
    encoded(Image.fromarray(GREY.astype("<i4")), "TIFF"), b"P5 40 30 65535\n" + GREY.astype(">u2").tobytes(),
], ids=["png", "tiff", "tiff, high byte first", "tiff of 32 bits", "pgm"])
def test_grey_images_of_16_bits_keep_their_shades(content):
    image = np.asarray(stored_crops.decode(lambda member: content, ""))
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None] // 256, 3, axis=2))


@pytest.mark.parametrize("content, message", [
    (encoded(Image.fromarray(GREY.astype("<f4")), "TIFF"), "floating-point numbers; save it with 8 or 16 bits"),
    (encoded(Image.fromarray((GREY * 2).astype("<i4")), "TIFF"), "grey values of 0 to 131070; save it with 8 or 16"),
    (encoded(Image.fromarray((GREY - 9).astype("<i4")), "TIFF"), "grey values of -9 to 65526"),
    (encoded(Image.new("1", (10000, 10000)), "PNG"), "more than 89 million pixels; scale it down"),
    (encoded(Image.new("RGB", (40, 30)), "EPS"), "not an image"),  # which Pillow has another program draw
    (encoded(Image.new("RGB", (40, 30)), "PNG")[:60], "truncated"), (b"", "not an image"), (b"text", "not an image"),
    (encoded(Image.new("RGB", (40, 30)), "PNG")[:33] + bytes(300), "."),
])
@pytest.mark.filterwarnings("error")
def test_images_that_can_not_be_used_are_told_in_a_line(content, message):
    with pytest.raises(Unreadable, match=message) as caught:
        stored_crops.decode(lambda member: content, "")
    assert "\n" not in str(caught.value) and "0x" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_what_is_odd_about_an_image_that_can_be_read_is_not_printed():
    content = bytearray(encoded(Image.new("RGB", (40, 30)), "TIFF"))
    width = next(at for at in range(len(content)) if struct.unpack_from("<2H", content, at) in ((256, 3), (256, 4)))
    struct.pack_into("<2HI", content, width, 256, 3, 2)  # two widths, of which Pillow warns
    with pytest.warns(UserWarning, match="too many entries"), Image.open(io.BytesIO(content)) as image:
        assert image.width == 40
    assert stored_crops.decode(lambda member: bytes(content), "").size == (40, 30)


def test_a_canvas_too_large_for_the_memory_is_reduced_to_the_same_crop(scenes, monkeypatch):
    image, edges = scenes(3).resize((900, 1200)), np.array([-200.3, 100.7, 1300.4])
    whole = stored_crops.cut(image, edges, 64).astype(int)
    monkeypatch.setattr(stored_crops, "_LARGEST_CANVAS", 500)
    reduced = stored_crops.cut(image, edges, 64).astype(int)
    assert 0 < np.abs(whole - reduced).max() <= 6 and np.abs(whole - reduced).mean() < 0.5
    monkeypatch.undo()
    edges = stored_crops.enlarge(stored_crops.image_boxes(np.array([[65000, 2]])), 10)[0]
    assert stored_crops.cut(Image.new("RGB", (65000, 2)), edges, 16).shape == (16, 16, 3)  # 400 GB as it is


def test_blobs_are_found_in_crops_of_any_square():
    rng, seen = np.random.default_rng(1), 0
    for _ in range(300):
        size = rng.integers(60, 200, 2)
        centre = rng.uniform(20, size - 20)
        side = rng.uniform(30, 400)
        edges = np.array([[*(centre - rng.uniform(0.3, 0.7, 2) * side), side]])
        # as wide as can be told from few pixels in the crop, and whole in image and crop
        sigma = min(4.5, max(1.2, 1.5 * side / 128))
        crop = stored_crops.cut(blobs(size, [centre], sigma), edges[0], 128)
        label = stored_crops.to_crop_px(centre[None, None], edges, 128)[0, 0]
        if (label < 4 * sigma * 128 / side).any() or (label > 127 - 4 * sigma * 128 / side).any():
            continue
        np.testing.assert_allclose(centroid(crop, 0), label, atol=0.1)
        seen += 1
    assert seen > 200


def test_the_crop_shows_the_padding_beyond_the_image_and_only_there():
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    crop = stored_crops.cut(image, np.array([-10, -20, 60]), 60)  # one image pixel is one crop pixel
    inside = np.zeros((60, 60), bool)
    inside[20:40, 10:50] = True
    assert (crop[inside] == (255, 0, 0)).all() and (crop[~inside] == RGB.padding).all()


def test_crop_pixels_and_image_pixels_are_inverse_maps():
    rng = np.random.default_rng(2)
    joints = rng.uniform(-50, 300, (1000, 14, 2))
    edges = np.column_stack([rng.uniform(-80, 80, (1000, 2)), rng.uniform(10, 500, 1000)])
    np.testing.assert_allclose(stored_crops.to_image_px(stored_crops.to_crop_px(joints, edges, 96), edges, 96), joints)
    corners = np.stack([edges[:, :2] - 0.5, edges[:, :2] + edges[:, 2:] - 0.5], 1)  # outer edges in image pixels
    ends = stored_crops.to_crop_px(corners, edges, 96)
    np.testing.assert_allclose(ends, [[[-0.5, -0.5], [95.5, 95.5]]] * 1000, atol=1e-9)
    np.testing.assert_allclose(stored_crops.mirror_edges(stored_crops.mirror_edges(edges, 70), 70), edges)


def test_this_step_does_not_import_torch():
    code = "import sys, lsp_data, deeppose.drawing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.skipif(not (SHARED / "data" / "lsp_dataset.zip").exists(), reason="the real LSP archive is not there")
def test_the_known_duplicates_of_the_official_split_are_found():
    with zipfile.ZipFile(SHARED / "data" / "lsp_dataset.zip") as archive:
        thumbnails = [near_duplicates.thumbnail(Image.open(archive.open(f"images/im{number:04d}.jpg")))
                      for number in range(1, 2001)]
    pairs, _, _ = near_duplicates.near_pairs(thumbnails, lsp_data.DUPLICATE_DISTANCE)
    across = {(test + 1, train + 1) for train, test in pairs.tolist() if train < 1000 <= test}
    known = {(1622, 371), (1436, 492), (1924, 175), (1211, 483), (1233, 535), (1805, 670), (1366, 550), (1680, 285)}
    assert across >= known and len(across) <= 12
