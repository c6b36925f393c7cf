"""Figures for every data set: joints that lie on what is drawn, in layouts that hold what the real ones hold."""
import csv
import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

import demo_data
from deeppose.errors import UserError
from deeppose.skeletons import LSP
from figures import animal, coco, depth, k2hpd, lip, mpii
from figures.body import person
from figures.scene import draw_scene

WRITERS = {"mpii": mpii, "lip": lip, "k2hpd": k2hpd, "coco": coco}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A folder of each layout, by its name."""
    folder = tmp_path_factory.mktemp("raw")
    for name, more in (("mpii", {}), ("lip", {"test": 3}), ("k2hpd", {"test": 4, "frames": 4}), ("coco", {"test": 3})):
        WRITERS[name].write(folder / name, 12, 3, 1, **more)
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_a_figure_is_the_same_whichever_joints_are_asked_for():
    some, few = (person(np.random.default_rng(5), names) for names in (LSP.joints, ("pelvis", "l_hand", "neck")))
    assert np.array_equal(some[0], few[0]) and np.array_equal(some[3][12], few[3][2]) and few[2].shape[1] == 3


def test_the_trunks_joints_lie_between_their_neighbours():
    for seed in range(10):
        names = (*LSP.joints, "pelvis", "spine", "thorax", "head")
        joints = dict(zip(names, person(np.random.default_rng(seed), names)[3]))
        assert np.allclose(joints["pelvis"], (joints["r_hip"] + joints["l_hip"]) / 2)
        assert np.allclose(joints["thorax"], (joints["r_shoulder"] + joints["l_shoulder"]) / 2, atol=0.03)
        assert np.allclose(joints["head"], (joints["neck"] + joints["head_top"]) / 2)
        halves = [np.linalg.norm(joints["spine"] - joints[end]) for end in ("pelvis", "thorax")]
        assert np.allclose(*halves, rtol=1e-6)


def test_a_scene_has_all_its_persons_with_their_boxes():
    names = (*LSP.joints, "head")
    scene = draw_scene(np.random.default_rng(2), (480, 320), 3, names)
    assert scene.image.size == (480, 320) and scene.joints.shape == (3, 15, 2) and scene.visible.shape == (3, 15)
    low, high = scene.boxes[:, None, :2], scene.boxes[:, None, 2:]
    assert ((scene.joints > low - 2) & (scene.joints < high + 2)).all()
    middle = scene.joints[:, -1]
    assert ((middle > scene.heads[:, :2]) & (middle < scene.heads[:, 2:])).all()
    assert (np.diff(scene.boxes[:, [0, 2]].mean(1)) > 60).all()  # side by side
    outside = ((scene.joints < -0.5) | (scene.joints > (479.5, 319.5))).any(2)
    assert not scene.visible[outside].any() and scene.visible.mean() > 0.5


def test_animals_have_a_left_and_a_right():
    for seed in range(20):
        joints, _ = animal._body(np.random.default_rng(seed))  # at rest it faces the viewer
        for end in ("front_knee", "hind_knee"):
            assert joints[f"left_{end}"][0] > joints[f"right_{end}"][0]
        assert joints["nose"][2] > joints["withers"][2] > joints["tail"][2]


def test_neighbours_in_a_film_are_nearly_alike_and_other_films_are_not():
    def apart(first, last):
        return np.mean([np.linalg.norm(first[name] - last[name]) for name in k2hpd.JOINTS])
    images, joints = zip(*depth.film(1, 1, 13))
    (_, other), = depth.film(1, 2, 1)
    steps = [apart(*pair) for pair in zip(joints, joints[1:])]
    assert max(steps) < 8 and 5 < apart(joints[0], joints[-1]) > 2 * max(steps) and apart(joints[0], other) > 8
    again = next(depth.film(1, 1, 1))
    assert np.array_equal(again[0], images[0])


def test_depth_is_that_of_the_body_before_the_wall():
    measured = []
    for number in range(1, 9):
        image, joints = next(depth.film(4, number, 1))
        assert image.shape == (212, 256) and image.dtype == np.uint16 and image.max() <= depth.FARTHEST_MM + 50
        assert 0 < (image == 0).mean() < 0.6
        spine, head = (image[tuple(joints[name].round().astype(int)[::-1])] for name in ("spine", "head"))
        behind = image[:40][image[:40] > 0]
        assert not behind.size or np.median(behind) > 3000
        measured += [value for value in (spine, head) if value]
    assert len(measured) > 12 and 1200 < min(measured) and max(measured) < 3700


@pytest.mark.parametrize("name", WRITERS)
def test_fewer_images_are_the_same_images(raw, tmp_path, name):
    WRITERS[name].write(tmp_path / "few", 5, 3, 1, **({"frames": 4} if name == "k2hpd" else {}))
    few, more = contents(tmp_path / "few"), contents(raw / name)
    images = {file for file in few if file.endswith((".jpg", ".png"))}
    assert len(images) == 5 and all(few[file] == more[file] for file in images)
    assert sum(file.endswith((".jpg", ".png")) for file in more) == 12


@pytest.mark.parametrize("name", WRITERS)
def test_no_others_files_are_drawn_over(tmp_path, name):
    kept = tmp_path / name / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("kept")
    with pytest.raises(UserError, match="holds files that demo_data.py did not draw"):
        demo_data.main(["--raw-dir", str(tmp_path), "--dataset", name, "--figures", "60", "--test-figures", "20"])
    assert kept.read_text() == "kept" and list(tmp_path.glob("*.part")) == []


def test_the_official_mpii_file_is_as_irregular_as_the_real_one(tmp_path, raw):
    photographs = [mpii.Photograph(number, (480, 320), np.full((2, 16, 2), 100.), np.ones((2, 16), bool),
                                   np.ones((2, 16), bool), np.full((2, 4), 50.), np.full((2, 2), 100.), np.ones(2))
                   for number in range(1, 201)]  # what is drawn does not matter
    release = mpii._release(photographs, 0)
    (tmp_path / "file.mat").write_bytes(mpii.mat({"RELEASE": release}))
    release = scipy.io.loadmat(tmp_path / "file.mat")["RELEASE"][0, 0]
    train, rects = release["img_train"][0], [entry["annorect"] for entry in release["annolist"][0]]
    assert (train == 0).sum() == 22 and {rect.dtype.names for rect, trained in zip(rects, train) if not trained} == {
        None, ("scale", "objpos")}
    rects = [rect for rect, trained in zip(rects, train) if trained and rect.size]
    assert sum(train) > len(rects)
    assert {"annopoints" in rect.dtype.names for rect in rects} == {True, False}
    rects = [rect for rect in rects if "annopoints" in rect.dtype.names]
    assert {"scale" in rect.dtype.names for rect in rects} == {True, False}
    points = [one["annopoints"]["point"][0, 0] for rect in rects for one in rect[0] if one["annopoints"].size]
    assert len(points) < sum(rect.size for rect in rects)
    told = [None if "is_visible" not in some.dtype.names else {value.dtype.kind + str(value.size)
                                                               for value in some["is_visible"][0]} for some in points]
    assert all(kind in told for kind in (None, {"u1"}, {"U1"}, {"u1", "f0"}))
    assert any(np.diff(np.concatenate(some["id"][0]).ravel().astype(int)).min() < 0 for some in points)
    stored = scipy.io.loadmat(raw / "mpii/mpii_human_pose_v1_u12_1.mat")["RELEASE"][0, 0]
    assert stored["annolist"].shape == (1, 12) and stored["single_person"].shape == (12, 1)


def test_mpiis_forms_agree(tmp_path):
    for form in ("mat", "list", "pair"):
        mpii.write(tmp_path / form, 6, 9, 1, form, test=2)
    listed = json.loads((tmp_path / "list/mpii_annotations.json").read_text())
    pairs = [json.loads((tmp_path / f"pair/annot/{name}.json").read_text()) for name in ("train", "valid")]
    assert [entry["isValidation"] for entry in listed] == [0] * len(pairs[0]) + [1] * len(pairs[1]) and pairs[1]
    for one, other in zip(listed, sum(pairs, [])):
        assert one["img_paths"] == other["image"] and one["objpos"] == other["center"]
        known = np.array(other["joints_vis"], bool)
        assert np.allclose(np.array(one["joint_self"])[known, :2], np.array(other["joints"])[known]) and known.any()
    heads = scipy.io.loadmat(tmp_path / "pair/annot/gt_valid.mat")["headboxes_src"]
    assert heads.shape == (2, 2, len(pairs[1])) and (heads[1] > heads[0]).all()
    release = scipy.io.loadmat(tmp_path / "mat/mpii_human_pose_v1_u12_1.mat")["RELEASE"][0, 0]
    point = release["annolist"][0, 0]["annorect"][0, 0]["annopoints"]["point"][0, 0][0, 0]
    x, y, _ = listed[0]["joint_self"][int(point["id"].item())]
    assert (point["x"].item(), point["y"].item()) == (x, y)


def test_lips_crops_hold_the_joints_that_are_told(raw):
    photographs = {}
    for side, count in (("train", 9), ("val", 3)):
        with open(raw / f"lip/lip_{side}_set.csv") as file:
            rows = list(csv.reader(file))
        assert len(rows) == count and all(len(row) == 1 + 16 * 3 for row in rows)
        for name, *numbers in rows:
            photographs.setdefault(name.split("_")[0], set()).add(side)
            with Image.open(raw / f"lip/{side}_images/{name}") as image:
                joints = np.array(numbers, float).reshape(16, 3)
                known = joints[~np.isnan(joints[:, 0])]
                assert (known[:, :2] >= 0).all() and (known[:, :2] < image.size).all() and len(known) > 3
                assert set(known[:, 2]) <= {0, 1}
    assert all(len(sides) == 1 for sides in photographs.values()) and 12 > len(photographs) > 6


def test_k2hpds_films_are_on_one_side_and_its_lines_irregular(raw, tmp_path):
    lines = {side: (raw / f"k2hpd/{side}_annos.txt").read_bytes().splitlines() for side in ("train", "test")}
    films = {side: {line.lstrip(b"\0").split(b"/")[0] for line in some} for side, some in lines.items()}
    assert films == {"train": {b"film0001", b"film0002"}, "test": {b"film0003"}} and len(lines["test"]) == 4
    k2hpd.write(tmp_path / "other", 24, 1, 1, frames=12)
    some = (tmp_path / "other/train_annos.txt").read_bytes().splitlines()
    assert {len(line.split(b" ")[1].split(b",")) for line in some} == {30, 38}
    assert any(line.startswith(b"\0") for line in some)
    name = lines["test"][0].lstrip(b"\0").split(b" ")[0].decode()
    assert np.asarray(Image.open(raw / "k2hpd/depth_data" / name)).max() > 2000
    k2hpd.write(tmp_path / "flat", 1, 3, 1, bits=8)
    flat = Image.open(next((tmp_path / "flat").rglob("*.png")))
    assert flat.mode == "L" and flat.size == (256, 212)
    with pytest.raises(UserError, match="none of which trains"):
        k2hpd.write(tmp_path / "short", 15, 0, 1, test=8)


def test_coco_figures_have_a_skeleton_of_their_own(raw, tmp_path):
    coco.write(tmp_path / "many", 10, 27, 1)  # with two herds
    content = json.loads((tmp_path / "many/train.json").read_text())
    assert not (tmp_path / "many/test.json").exists()
    category, = content["categories"]
    assert len(category["keypoints"]) == 11 and {index for edge in category["skeleton"] for index in edge} == set(
        range(1, 12))
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    crowds = [one for one in content["annotations"] if one["iscrowd"]]
    singles = [one for one in content["annotations"] if not one["iscrowd"]]
    assert crowds and len(singles) > 10 and len({one["id"] for one in content["annotations"]}) == len(
        content["annotations"])
    for one in singles:
        points = np.array(one["keypoints"]).reshape(11, 3)
        left, top, width, height = one["bbox"]
        known = points[points[:, 2] > 0]
        assert one["num_keypoints"] == len(known) and set(points[:, 2]) <= {0, 1, 2}
        assert (known[:, :2] >= (left - 2, top - 2)).all()
        assert (known[:, :2] <= (left + width + 2, top + height + 2)).all()
        assert left >= 0 and top >= 0 and (np.array([left + width, top + height]) <= sizes[one["image_id"]]).all()
    kinds = np.concatenate([one["keypoints"][2::3] for one in singles])
    assert (kinds == 0).any() and (kinds == 1).any() and (kinds == 2).mean() > 0.5
    assert {len(json.loads((raw / f"coco/{side}.json").read_text())["images"]) for side in ("train", "test")} == {9, 3}
