"""Step 1 as a user runs it: crops, labels, splits, copies, near duplicates, and what can be wrong with images."""
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import lsp_data
from deeppose import near_duplicates, stored_crops
from deeppose.errors import UserError
from deeppose.skeletons import LSP

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
    image = np.ones((size[1], size[0], 3)) * stored_crops.PADDING
    for channel, (cx, cy) in zip((0, 2), centres, strict=False):
        image[..., channel] += 120 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2 / sigma ** 2)
    return Image.fromarray(image.round().astype(np.uint8))


def centroid(crop, channel):
    weight = crop[..., channel].astype(float) - stored_crops.PADDING[channel]
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


def test_drawn_figures_become_arrays(raw_dir, tmp_path, capsys):
    made = prepare(tmp_path, raw_dir, "--no-use-lspe", "--lsp-train-images", 30, "--crop-size", 64)
    for split, count in (("train", 30), ("test", 10)):
        assert made[f"{split}_images"].shape == (count, 64, 64, 3) and made[f"{split}_images"].dtype == np.uint8
        for name, shape in (("labels", (count, 14, 2)), ("boxes", (count, 3)), ("head_sizes", (count,))):
            assert made[f"{split}_{name}"].shape == shape and made[f"{split}_{name}"].dtype == np.float32
    assert made["train_split"].dtype == np.uint8 and made["train_split"].sum() == 3

    dataset = made["dataset"]
    assert dataset["train"]["image"] == [f"im{number:04d}.jpg" for number in range(1, 31)]
    assert dataset["test"]["image"] == [f"im{number:04d}.jpg" for number in range(31, 41)]
    assert set(dataset["test"]["source"]) == {"lsp"} and dataset["joints"] == list(LSP.joints)
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


@pytest.mark.parametrize("flag, values", [
    ("crop-size", [64]), ("context", [2]), ("seed", [5]), ("validation-share", [0.5]), ("lsp-train-images", [6]),
    ("duplicate-distance", [255]), ("extra-copies", [2]), ("copy-shift", [0.3]), ("copy-scale", [0.5, 0.6]),
    ("copy-flip", [0]), ("test-boxes", ["joints"]), ("least-extent", [1]),
])
def test_every_knob_changes_something(blob_dir, tmp_path, flag, values):
    common = [*BLOBS, "--extra-copies", 1]
    before = prepare(tmp_path / "before", blob_dir, *common)
    if flag == "duplicate-distance":  # all are near duplicates, of test photographs as well
        with pytest.raises(UserError, match="no validation person among 18 training persons"):
            prepare(tmp_path / "after", blob_dir, *common, f"--{flag}", *values)
        return
    after = prepare(tmp_path / "after", blob_dir, *common, f"--{flag}", *values)
    assert any(not np.array_equal(before[name[:-4]], after[name[:-4]], equal_nan=True)
               for name in [*ARRAYS, "train_split.npy"])


@pytest.mark.parametrize("flags, message", [
    (["--crop-size", 4], "--crop-size is 4, expected 16 ... 4096"),
    (["--context", 0.5], "--context is 0.5, expected 1 ... 10"),
    (["--validation-share", 1], "--validation-share is 1.0"),
    (["--validation-share", 0], "no validation person among 18 training persons; raise --validation-share"),
    (["--copy-scale", 1.2, 0.8], "--copy-scale is 1.2 0.8"),
    (["--lsp-train-images", 12], "holds images 1 ... 12; those up to 12 train .* change --lsp-train-images"),
    (["--crop-size", 4096, "--extra-copies", 1000, "--context", 2], "make room or choose a smaller --crop-size"),
])
def test_senseless_settings_are_told(blob_dir, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, blob_dir, *BLOBS, *flags)


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
        made = prepare(tmp_path, tmp_path / "raw", "--no-use-lspe", "--lsp-train-images", 30, "--crop-size", 32,
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


def test_unreadable_images_are_listed_and_skipped_up_to_a_share(scenes, tmp_path, capsys):
    folder = tmp_path / "raw" / "lsp_dataset"
    write_scenes(folder, [scenes(number) for number in range(40)])
    whole = prepare(tmp_path / "whole", tmp_path / "raw", "--no-use-lspe", "--lsp-train-images", 30, "--crop-size", 32)
    cut = (folder / "images" / "im0004.jpg").read_bytes()
    (folder / "images" / "im0004.jpg").write_bytes(cut[:len(cut) // 2])
    (folder / "images" / "im0033.jpg").write_text("no picture")
    (folder / "images" / "im0009.jpg").unlink()
    flags = ["--no-use-lspe", "--lsp-train-images", 30, "--crop-size", 32]
    with pytest.raises(UserError, match=r"3 images \(7.5%\) can't be read, e.g. lsp number 9: no such image; lsp im00"):
        prepare(tmp_path / "stopped", tmp_path / "raw", *flags)
    assert not (tmp_path / "stopped").exists()
    capsys.readouterr()
    made = prepare(tmp_path / "made", tmp_path / "raw", *flags, "--largest-unreadable", 0.08)
    assert [fault["image"] for fault in made["dataset"]["unreadable"]] == ["number 9", "im0004.jpg", "im0033.jpg"]
    printed = capsys.readouterr().out
    assert "skipped lsp im0004.jpg: image file is truncated" in printed
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
    made = prepare(tmp_path, tmp_path / "raw", "--no-use-lspe", "--lsp-train-images", 15, "--crop-size", 32,
                   "--largest-unreadable", 0.1)
    assert [fault["image"] for fault in made["dataset"]["unreadable"]] == ["im0005.jpg"]
    assert "CRC" in made["dataset"]["unreadable"][0]["reason"] and len(made["train_images"]) == 14


def test_worker_processes_write_what_one_process_writes(scenes, tmp_path):
    write_scenes(tmp_path / "raw" / "lsp_dataset", [scenes(number) for number in range(430)])  # more than one task
    made = [prepare(tmp_path / str(workers), tmp_path / "raw", "--no-use-lspe", "--lsp-train-images", 410,
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


def test_a_run_that_breaks_between_arrays_leaves_no_dataset_json(blob_dir, tmp_path, monkeypatch):
    prepare(tmp_path, blob_dir, *BLOBS)
    monkeypatch.setattr(stored_crops, "to_crop_px", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, blob_dir, *BLOBS, "--context", 2)
    assert not (tmp_path / "data" / "dataset.json").exists()


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
    assert (crop[inside] == (255, 0, 0)).all() and (crop[~inside] == stored_crops.PADDING).all()


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
