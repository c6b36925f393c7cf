"""MPII's three forms of annotations with all their irregularities, its boxes, splits and groups, and bad files."""
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import mpii_data
from deeppose import mpii_annotations, stored_crops
from deeppose.errors import Failure, UserError
from mpii_data import MPII

pytestmark = pytest.mark.usefixtures("undrawn")
EMPTY = np.zeros((0, 0))
TRUTH = Path(__file__).resolve().parents[2] / "shared" / "golden" / "mpii_val_truth.npz"
HEAD = {"x1": 11, "y1": 21, "x2": 14, "y2": 25}  # a diagonal of 5


def structs(rows):
    """A MATLAB struct array of dictionaries; what a row lacks is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    array = np.empty((1, len(rows)), [(name, object) for name in names])
    for column, row in enumerate(rows):
        for name in names:
            array[0, column][name] = row.get(name, EMPTY)
    return array


def points(joints, order=range(16), visible=(1,)):
    return structs([{"x": joints[j, 0], "y": joints[j, 1], "id": j} |
                    ({"is_visible": visible[j % len(visible)]} if visible else {}) for j in order])


def rectangle(joints, scale=1.0, **kinds):
    centre = (joints.min(0) + joints.max(0)) / 2
    return HEAD | {"scale": scale, "objpos": structs([{"x": centre[0], "y": centre[1]}]),
                   "annopoints": structs([{"point": points(joints, **kinds)}])}


def save_mat(path, images, train=None, **more):
    """images: list of (name, annorect, film); annorect is a struct array or whatever stands in its place."""
    annolist = structs([{"image": structs([{"name": name}]), "annorect": rectangles, "vididx": film}
                        for name, rectangles, film in images])
    train = np.ones((1, len(images))) if train is None else train
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"other": 3, "RELEASE": structs([{"annolist": annolist, "img_train": train, "version": "12"}
                                                            | more])}, do_compression=True)


def poses(count, seed=0):
    """(count, 16, 2) whole numbers, as counted from 1, in images of 160 x 120."""
    return np.random.default_rng(seed).integers(30, 90, (count, 16, 2)).astype(float)


def picture(number=0):
    file = io.BytesIO()
    Image.new("RGB", (160, 120), (number % 250, 90, 90)).save(file, "JPEG")
    return file.getvalue()


def draw_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(number))


def prepare(folder, *flags):
    """Run step 1 on folder/raw; returns dataset.json and the arrays."""
    mpii_data.main(["--raw-dir", str(folder / "raw"), "--data-dir", str(folder / "data"), "--run-dir",
                    str(folder / "runs"), "--crop-size", "32", "--workers", "1", *map(str, flags)])
    arrays = {file.stem: np.load(file) for file in (folder / "data").glob("*.npy")}
    return json.loads((folder / "data" / "dataset.json").read_text()), arrays


def joints_in_image(arrays, split):
    return stored_crops.to_image_px(arrays[f"{split}_labels"], arrays[f"{split}_boxes"], 32)


def test_the_official_file_is_read_with_all_its_irregularities(tmp_path):
    own = poses(8)
    own[3, 2] = -7, 130  # outside the image
    whole = rectangle(own[0], order=np.random.default_rng(1).permutation(16), visible=("1", 0, EMPTY, "0", ""))
    no_head = {name: value for name, value in rectangle(own[3], visible=()).items() if name not in HEAD}
    images = [
        ("a.jpg", structs([whole, {"objpos": structs([{"x": 3, "y": 4}]), "scale": 2.0}, rectangle(own[1])]), 7),
        ("test.jpg", structs([{"objpos": structs([{"x": 3, "y": 4}]), "scale": 2.0}]), 7),
        ("empty.jpg", EMPTY, EMPTY),
        ("b.jpg", structs([HEAD | {"annopoints": EMPTY}, {"annopoints": structs([{"point": EMPTY}])}, no_head]), 8),
        ("c.jpg", structs([{"annopoints": structs([{"point": points(own[4], order=[15, 3])}]), "objpos": EMPTY,
                            "scale": EMPTY}]), 8),
        ("d.jpg", structs([rectangle(own[5]) | {"annopoints": structs([{"point": points(own[5], [0, 1, 1])}])},
                           rectangle(own[6]) | {"annopoints": structs([{"point": structs([
                               {"x": "left", "y": 1, "id": 2}])}])}]), 9),
        ("unused.jpg", structs([rectangle(own[7])]), 9),
    ]
    save_mat(tmp_path / "MPII.mat", images, train=np.array([[1, 0, 1, 1, 1, 1, 0]], np.uint8),
             single_person=np.array([[np.array([[1]]), EMPTY, EMPTY, np.array([[2, 3]]), EMPTY, 1, EMPTY]], object))
    read = mpii_annotations.read_official(tmp_path / "MPII.mat")
    persons = read.persons
    assert list(persons.image) == ["a.jpg"] * 3 + ["b.jpg"] * 3 + ["c.jpg"]
    assert persons.person.tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_array_equal(persons.joints[[0, 2, 5]], own[[0, 1, 3]] - 1)
    assert np.isnan(persons.joints[[1, 3, 4]]).all()
    assert np.flatnonzero(~np.isnan(persons.joints[6]).any(1)).tolist() == [3, 15]
    np.testing.assert_array_equal(persons.joints[6, [3, 15]], own[4, [3, 15]] - 1)
    np.testing.assert_allclose(persons.head_sizes, [3, np.nan, 3, 3, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(read.place[1], (2, 3, 2))
    assert np.isnan(read.place).any(1).tolist() == [False] * 3 + [True, True, False, True]
    assert {image: film for image, film in read.films.items() if image < "e"} == dict(zip(
        ("a.jpg", "b.jpg", "c.jpg", "d.jpg"), (7, 8, 8, 9)))
    assert [fault["image"] for fault in read.lost] == ["d.jpg", "d.jpg"]
    assert "annolist(6).annorect(1): a point with the id [1], expected each of 0 ... 15 once" in read.lost[0]["reason"]
    assert "annolist(6).annorect(2): x is 'left', expected a number" in read.lost[1]["reason"]
    assert list(read.left_out.values()) == [2]
    alone = mpii_annotations.read_official(tmp_path / "MPII.mat", single=True).persons
    assert list(zip(alone.image, alone.person)) == [("a.jpg", 0), ("b.jpg", 1), ("b.jpg", 2)]


@pytest.fixture
def mat_dir(tmp_path):
    """40 images of 20 films, two persons each, but for every fourth image's second, who lacks a joint."""
    own, images = poses(80), []
    for number in range(40):
        both = [rectangle(own[2 * number]), rectangle(own[2 * number + 1], order=range(16 - (number % 4 == 0)))]
        images.append((f"{number:03d}.jpg", structs(both), 1 + number // 2))
    save_mat(tmp_path / "raw" / "mpii_human_pose_v1_u12_1.mat", images)
    draw_images(tmp_path / "raw" / "images", [name for name, *_ in images])
    return tmp_path


def test_films_stay_on_one_side_and_full_persons_split_in_the_ratio(mat_dir, capsys):
    dataset, arrays = prepare(mat_dir, "--split", "full", "--full-split", 60, 30)
    assert len(dataset["train"]["image"]) + len(dataset["test"]["image"]) == 70
    assert len(dataset["test"]["image"]) == 23  # round(70 / 3)
    assert not any(np.isnan(arrays[f"{split}_labels"]).any() for split in ("train", "test"))
    assert dataset["left_out"] == {"persons without some of the joints": 10}
    held_out = arrays["train_split"] == 1
    film = {split: np.array([int(name[:3]) // 2 for name in dataset[split]["image"]]) for split in ("train", "test")}
    sides = [film["train"][held_out], film["train"][~held_out], film["test"]]
    assert min(map(len, sides)) > 0 and sum(len(set(side)) for side in sides) == 20
    assert "left out: 10 persons without some of the joints" in capsys.readouterr().out
    other, _ = prepare(mat_dir, "--split", "full", "--full-split", 60, 30, "--seed", 1)
    assert other["test"] != dataset["test"]


@pytest.mark.parametrize("flags, ways", [(["share", "--test-share", 0.01], "change --test-share"),
                                         (["full", "--full-split", 90, 1], "change --full-split")])
def test_a_share_that_no_film_fits_in_is_told(mat_dir, flags, ways):
    with pytest.raises(UserError, match=f"no person to test among .*, of whom up to .* must stay together; {ways}"):
        prepare(mat_dir, "--split", *flags)


def test_arrays_hold_each_person_s_own_joints_head_and_box(mat_dir):
    dataset, arrays = prepare(mat_dir, "--split", "share", "--test-share", 0.2)
    own = poses(80) - 1
    for split in ("train", "test"):
        found = joints_in_image(arrays, split)
        rows = [2 * int(image[:3]) + person for image, person in zip(dataset[split]["image"],
                                                                     dataset[split]["person"])]
        known = ~np.isnan(found)
        np.testing.assert_allclose(found[known], own[rows][known], atol=1e-3)
        assert (~known).any((1, 2)).sum() == sum(row % 8 == 1 for row in rows)
        edges = arrays[f"{split}_boxes"]
        np.testing.assert_allclose(edges[:, 2], 200 * 1.25 * 1.5, rtol=1e-6)
        centres = (poses(80)[rows].min(1) + poses(80)[rows].max(1)) / 2 - 1 + (0, 15)
        np.testing.assert_allclose(edges[:, :2] + edges[:, 2:] / 2 - 0.5, centres, atol=1e-3)
        np.testing.assert_allclose(arrays[f"{split}_head_sizes"], 3 * 32 / edges[:, 2], rtol=1e-5)
    assert len(dataset["test"]["image"]) == 16 and dataset["skeleton"] == MPII.plain()


def test_boxes_from_the_joints_only_where_asked_or_nothing_else_is_told(tmp_path):
    own = poses(12)
    told, untold = rectangle(own[0], scale=0.5), rectangle(own[0]) | {"objpos": EMPTY}
    images = [(f"{n}.jpg", structs([{k: v for k, v in (untold if n == 0 else told).items()}]), n) for n in range(12)]
    save_mat(tmp_path / "raw" / "mpii_human_pose_v1_u12_1.mat", images)
    draw_images(tmp_path / "raw" / "images", [name for name, *_ in images])
    flags = ["--split", "share", "--test-share", 0.3, "--validation-share", 0.2]
    _, by_persons = prepare(tmp_path, *flags)
    dataset, by_joints = prepare(tmp_path, *flags, "--boxes", "joints", "--box-extension", 2)
    assert dataset["box"] == "from the annotated joints, 2 extents"
    extent = np.ptp(own[0], axis=0).max()
    np.testing.assert_allclose(by_joints["train_boxes"][:, 2], 1.5 * 2 * extent, rtol=1e-5)
    sides = np.concatenate([by_persons["train_boxes"], by_persons["test_boxes"]])[:, 2]
    assert sorted(sides.round(2)) == sorted([*[187.5] * 11, round(float(1.5 * 1.25 * extent), 2)])


def test_a_box_that_is_not_looked_at_leaves_nobody_out(tmp_path):
    """One person's objpos lies beside the image."""
    own = poses(12)
    persons = [rectangle(pose) for pose in own]
    persons[3]["objpos"] = structs([{"x": 900, "y": 900}])
    images = [(f"{n}.jpg", structs([person]), n) for n, person in enumerate(persons)]
    save_mat(tmp_path / "raw" / "mpii_human_pose_v1_u12_1.mat", images)
    draw_images(tmp_path / "raw" / "images", [name for name, *_ in images])
    flags = ["--split", "share", "--test-share", 0.3, "--validation-share", 0.2, "--largest-unreadable", 0.5]
    for boxes, count in (("person", 11), ("joints", 12)):
        dataset, _ = prepare(tmp_path, *flags, "--boxes", boxes)
        assert len(dataset["train"]["image"]) + len(dataset["test"]["image"]) == count


def lists(own, count=24):
    """Persons of the three JSON files: two an image, the last quarter on the validation list."""
    listed, train, valid = [], [], []
    for row in range(count):
        image, official = f"{row // 2:03d}.jpg", row >= 3 * count // 4
        seen = np.ones(16)
        seen[row % 16] = row % 3 > 0
        joints = np.where(seen[:, None] > 0, own[row], -1 if row % 2 else 0)
        centre, scale = [60.0, 70.0], 0.4 + row / 100
        listed.append({"dataset": "MPI", "isValidation": float(official), "img_paths": image, "img_width": 160,
                       "objpos": centre, "scale_provided": scale, "joint_others": [[[1, 2, 3]] * 16],
                       "joint_self": np.column_stack([np.where(seen[:, None] > 0, own[row], 0), seen]).tolist()})
        (valid if official else train).append({"image": image, "center": centre, "scale": scale,
                                               "joints": joints.tolist(), "joints_vis": seen.astype(int).tolist()})
    return listed, train, valid


def write_lists(raw, form, own):
    listed, train, valid = lists(own)
    (raw / "annot").mkdir(parents=True)
    if form == "list":
        (raw / "mpii_annotations.json").write_text(json.dumps(listed))
    else:
        (raw / "annot" / "train.json").write_text(json.dumps(train))
        (raw / "annot" / "valid.json").write_text(json.dumps(valid))


def unseen(count=24):
    return np.array([[row % 3 == 0 and joint == row % 16 for joint in range(16)] for row in range(count)])


@pytest.mark.parametrize("form", ["list", "pair"])
@pytest.mark.parametrize("archive", ["folder", "zip", "tar", "official tar"])
def test_both_json_forms_read_the_same_from_folder_zip_and_tar(tmp_path, form, archive, capsys):
    raw, own = tmp_path / "raw" / "mpii", poses(24)
    write_lists(raw, form, own)
    draw_images(tmp_path / "drawn", [f"{number:03d}.jpg" for number in range(12)])
    if archive == "folder":
        (tmp_path / "drawn").rename(raw / "images")
    elif archive == "zip":
        with zipfile.ZipFile(raw / "images.zip", "w") as file:
            for path in (tmp_path / "drawn").iterdir():
                file.write(path, f"images/{path.name}")
    else:
        with tarfile.open(raw / ("images.tar" if archive == "tar" else "mpii_human_pose_v1.tar"), "w") as file:
            file.add(tmp_path / "drawn", "images")
    dataset, arrays = prepare(tmp_path)
    assert dataset["test"]["image"] == [f"{row // 2:03d}.jpg" for row in range(18, 24)]
    assert dataset["test"]["person"] == [0, 1] * 3
    for split, rows in (("train", range(18)), ("test", range(18, 24))):
        found = joints_in_image(arrays, split)
        assert (np.isnan(found).any(2) == unseen()[rows]).all()
        expected = np.where(unseen()[rows][..., None], np.nan, own[rows] - 1)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        np.testing.assert_allclose(arrays[f"{split}_boxes"][:, 2], [375 * (0.4 + row / 100) for row in rows], rtol=1e-5)
    assert "6 of 6 persons have no head box and count in no PCKh" in capsys.readouterr().out
    assert not {*np.array(dataset["train"]["image"])[arrays["train_split"] == 1]} & {
        *np.array(dataset["train"]["image"])[arrays["train_split"] == 0]}


@pytest.mark.parametrize("beside", ["mat", "gt_valid"])
def test_head_boxes_come_from_the_file_beside_a_json(tmp_path, beside, capsys):
    raw, own = tmp_path / "raw", poses(24)
    write_lists(raw, "pair", own)
    draw_images(raw / "images", [f"{number:03d}.jpg" for number in range(12)])
    if beside == "mat":  # the second person of an image first, others among them, and films that test persons share
        images = [(f"{number:03d}.jpg", structs([rectangle(own[row], order=np.flatnonzero(~unseen()[row])) | {
            "x2": 11 + row, "y2": 21} for row in (2 * number + 1, 2 * number)] + [rectangle(poses(1, 9)[0])]),
            1 + number // 2) for number in range(12)]
        save_mat(raw / "mpii_human_pose_v1_u12_1.mat", images)
    else:
        boxes = np.zeros((2, 2, 6))
        boxes[1, 0] = range(18, 24)
        scipy.io.savemat(raw / "annot" / "gt_valid.mat", {"headboxes_src": boxes,
                                                          "pos_gt_src": own[18:].transpose(1, 2, 0)})
    dataset, arrays = prepare(tmp_path, "--validation-share", 0.3)
    sizes = arrays["test_head_sizes"] * arrays["test_boxes"][:, 2] / 32
    np.testing.assert_allclose(sizes, [0.6 * row for row in range(18, 24)], rtol=1e-5)
    assert np.isnan(arrays["train_head_sizes"]).all() == (beside == "gt_valid")
    assert len(dataset["sources"]) == 3 and dataset["train_persons_in_films_of_test_persons"] == 2 * (beside == "mat")
    if beside == "gt_valid":
        scipy.io.savemat(raw / "annot" / "gt_valid.mat", {"headboxes_src": boxes, "pos_gt_src": boxes})
        with pytest.raises(Failure, match="gt_valid.mat can't be used .*of others than valid.json's persons"):
            prepare(tmp_path)


@pytest.mark.skipif(not TRUTH.is_file(), reason="MPII's validation persons are not there")
def test_boxes_of_real_persons_are_the_published_ones(tmp_path, monkeypatch):
    truth = np.load(TRUTH)
    known, scales = ~np.isnan(truth["joints"]).any(2), truth["scale"] / 1.25  # as published they are enlarged
    places = truth["center"] - np.column_stack([0 * scales, 15 * scales])     # and moved down
    (tmp_path / "valid.json").write_text(json.dumps([
        {"image": str(image), "center": place.tolist(), "scale": float(scale), "joints": joints.tolist(),
         "joints_vis": seen.astype(int).tolist()} for image, place, scale, joints, seen in
        zip(truth["image"], places, scales, np.nan_to_num(truth["joints"]), known)]))
    annotated = mpii_annotations.read_pair([tmp_path / "valid.json"])
    monkeypatch.setattr(mpii_data, "named", lambda path, names, within: (names, [None] * len(names)))  # all are there
    persons = mpii_data.locate(annotated, "images", "", mpii_data.parse_settings(vars(mpii_data), []))
    assert persons.image.tolist() == truth["image"].tolist() and persons.test.all()  # in the usual order
    np.testing.assert_array_equal(persons.joints, truth["joints"] - 1.0)
    np.testing.assert_allclose(persons.boxes[:, 2], 200 * truth["scale"], rtol=1e-5)
    np.testing.assert_allclose(persons.boxes[:, :2] + persons.boxes[:, 2:] / 2 - 0.5, truth["center"] - 1, atol=1e-3)


def test_nobody_of_a_test_image_is_trained_on(tmp_path):
    raw, own = tmp_path / "raw", poses(24)
    write_lists(raw, "list", own)
    draw_images(raw / "images", [f"{number:03d}.jpg" for number in range(12)])
    listed = json.loads((raw / "mpii_annotations.json").read_text())
    listed[18]["isValidation"] = 0  # the other person of its image stays on the list
    listed = [*listed[1:20], listed[0], *listed[20:]]  # and an image's persons need not follow each other
    (raw / "mpii_annotations.json").write_text(json.dumps(listed))
    dataset, _ = prepare(tmp_path)
    assert dataset["left_out"] == {"training persons in images of test persons": 1}
    assert dataset["train"]["image"] == [f"{row // 2:03d}.jpg" for row in range(18)]


def test_missing_images_are_tolerated_to_a_share(mat_dir):
    (mat_dir / "raw" / "images" / "003.jpg").unlink()
    (mat_dir / "raw" / "images" / "005.jpg").write_bytes(b"no image")
    with pytest.raises(Failure, match=r"4 images \(5.0%\) can't be used, e.g. mpii 003.jpg: no such image"):
        prepare(mat_dir, "--split", "share")
    assert not list((mat_dir / "data").glob("*.*"))
    dataset, _ = prepare(mat_dir, "--split", "share", "--largest-unreadable", 0.1)
    assert [fault["reason"].split(" in ")[0] for fault in dataset["unreadable"]] == ["no such image"] * 2 \
        + ["not an image"] * 2


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-2000])


def hdf5(path):
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512))


@pytest.mark.parametrize("damage, told", [
    (cut_short, "mat can't be used .it ends early"),
    (hdf5, "a MATLAB 7.3 file; save it from MATLAB with"),
    (lambda path: path.write_text("no table" * 100), "no MATLAB 5 file"),
    (lambda path: scipy.io.savemat(path, {"joints": 3}), "it holds no RELEASE"),
    (lambda path: scipy.io.savemat(path, {"RELEASE": 3}), "RELEASE is no single struct"),
    (lambda path: scipy.io.savemat(path, {"RELEASE": {"version": 12}}), "it lacks annolist"),
    (lambda path: scipy.io.savemat(path, {"RELEASE": {"annolist": 12}}), "annolist is no struct array"),
    (lambda path: save_mat(path, [("a.jpg", EMPTY, 1)] * 3, train=np.ones(2)), "it has 3 images and 2 of img_train"),
])
def test_bad_official_files_are_told_in_a_line(mat_dir, damage, told):
    damage(mat_dir / "raw" / "mpii_human_pose_v1_u12_1.mat")
    with pytest.raises(Failure, match=told):
        prepare(mat_dir, "--split", "share")
    assert not list((mat_dir / "data").glob("*.*"))


def test_any_damage_to_an_official_file_ends_in_a_line(mat_dir):
    path = mat_dir / "raw" / "mpii_human_pose_v1_u12_1.mat"
    scipy.io.savemat(path, {"RELEASE": scipy.io.loadmat(path)["RELEASE"]}, do_compression=False)
    content, generator = path.read_bytes(), np.random.default_rng(0)
    told = 0
    for _ in range(150):
        broken = bytearray(content[:generator.integers(1, len(content))] if generator.random() < 0.3 else content)
        for place in generator.integers(0, min(len(broken), 6000), 4):
            broken[place] = generator.integers(256)
        path.write_bytes(broken)
        try:
            mpii_annotations.read_official(path)
        except Failure as error:
            told += "can't be used" in str(error)
    assert told > 50


@pytest.mark.parametrize("change, told", [
    (lambda text: text[:len(text) // 2], "no JSON, or cut short"),
    (lambda text: "[" * 100_000, "no JSON, or cut short"),
    (lambda text: '{"people": []}', "expected a list of persons with img_paths, joint_self"),
    (lambda text: '[{"file_name": 3}]', "json: entry 1 lacks img_paths and joint_self"),
    (lambda text: text.replace('"img_paths": "001.jpg"', '"img_paths": 1', 1), "entry 3: img_paths is 1, expected the"),
    (lambda text: text.replace('"joint_self": [[', '"joint_self": [["5", ', 1), "entry 1: joint_self is .* 16 x 3"),
    (lambda text: text.replace('"objpos": [60.0', '"objpos": ["60"', 1), "entry 1: objpos is .*expected 2 numbers"),
    (lambda text: text.replace('"objpos": [60.0', '"objpos": [NaN', 1), "entry 1: objpos is .*expected 2 numbers"),
    (lambda text: text.replace('"objpos": [60.0', '"objpos": [true', 1), "entry 1: objpos is .*expected 2 numbers"),
    (lambda text: text.replace('"objpos": [60.0', '"objpos": [6000.0', 1), "000.jpg: a box at .* beside the image of"),
    (lambda text: text.replace('"objpos"', '"headbox": 5, "objpos"', 1), "entry 1: headbox is 5, expected 4 numbers"),
    (lambda text: text.replace('"objpos"', '"headbox": [[5], 6], "objpos"', 1), "headbox is .*expected 2 x 2 numbers"),
    (lambda text: text.replace('"isValidation": 0.0', '"isValidation": "no"', 1), "isValidation is 'no', expected"),
    (lambda text: text.replace('"isValidation": 1.0', '"isValidation": 0.0'), "has nobody on its validation list"),
])
def test_bad_json_is_told_in_a_line_that_names_the_entry(tmp_path, change, told):
    raw = tmp_path / "raw"
    write_lists(raw, "list", poses(24))
    draw_images(raw / "images", [f"{number:03d}.jpg" for number in range(12)])
    path = raw / "mpii_annotations.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(Failure, match=told):
        prepare(tmp_path)
    assert not list((tmp_path / "data").glob("*.*"))


def test_what_is_missing_is_named(mat_dir, tmp_path_factory):
    with pytest.raises(UserError, match="holds no official validation list: put mpii_annotations.json, or"):
        prepare(mat_dir)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match="raw is no folder"):
        prepare(empty, "--split", "share")
    (empty / "raw").mkdir()
    with pytest.raises(UserError, match="holds no annotations: put mpii_human_pose_v1_u12_1.mat"):
        prepare(empty, "--split", "share")
    (mat_dir / "raw" / "images").rename(mat_dir / "elsewhere")
    with pytest.raises(UserError, match="holds no folder images, images.zip or images.tar of images; put it"):
        prepare(mat_dir, "--split", "share")
    (mat_dir / "raw" / "mpii_human_pose_v1.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match="is a packed tar.*tar -xf mpii_human_pose_v1.tar.gz"):
        prepare(mat_dir, "--split", "share")
    write_lists(empty / "raw", "list", poses(24))
    with pytest.raises(UserError, match="alone tells who stands apart"):
        prepare(empty, "--persons", "single")
