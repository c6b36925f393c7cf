"""Look Into Person's lines and images, groups of one photograph, and bad files."""
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import lip_data
from deeppose import stored_crops
from deeppose.errors import Failure, UserError
from lip_data import LIP

pytestmark = pytest.mark.usefixtures("undrawn")
JOINTS = np.random.default_rng(0).integers(5, 60, (40, 16, 2)).astype(float)


def line(name, joints, visible=0):
    return ",".join([name, *(f"{x:g},{y:g},{visible}" for x, y in joints)])


def names(first, last):
    """Two persons of each photograph."""
    return [f"{100 + number // 2}_{4000 + number}.jpg" for number in range(first, last)]


@pytest.fixture
def folder(tmp_path):
    """30 training and 10 test images in the official layout; the first nine lack joint 3, in nine spellings."""
    raw = tmp_path / "raw" / "lip"
    missing = ["nan,nan,nan", "NaN,NAN,nan", ",,", "-1,-1,-1", "4,5,nan", "4,5,", "nan,5,0", " nan, nan , NaN ",
               "4,5,-1"]
    for part, first, last in (("train", 0, 30), ("val", 30, 40)):
        (raw / "TrainVal_images" / f"{part}_images").mkdir(parents=True)
        lines = []
        for row, name in zip(range(first, last), names(first, last)):
            Image.new("RGB", (60 + row, 90), (row, 90, 90)).save(raw / "TrainVal_images" / f"{part}_images" / name)
            cells = line(name, JOINTS[row], row % 2).split(",")
            if row < len(missing):
                cells[1 + 9:1 + 12] = missing[row].split(",")
            lines.append(",".join(cells) + "," * (row % 7 == 0))
        (raw / "TrainVal_pose_annotations").mkdir(exist_ok=True)
        (raw / "TrainVal_pose_annotations" / f"lip_{part}_set.csv").write_text("\r\n".join(lines) + "\n\n")
    return tmp_path


def prepare(folder, *flags):
    lip_data.main(["--raw-dir", str(folder / "raw"), "--data-dir", str(folder / "data"), "--run-dir",
                   str(folder / "runs"), "--crop-size", "32", "--workers", "1", *map(str, flags)])
    arrays = {file.stem: np.load(file) for file in (folder / "data").glob("*.npy")}
    return json.loads((folder / "data" / "dataset.json").read_text()), arrays


def test_lines_become_arrays(folder):
    dataset, arrays = prepare(folder)
    assert dataset["train"]["image"] == names(0, 30) and dataset["test"]["image"] == names(30, 40)
    assert dataset["skeleton"] == LIP.plain() and dataset["box"] == "the whole image squared"
    labels, boxes, heads = (np.concatenate([arrays[f"{split}_{name}"] for split in ("train", "test")])
                            for name in ("labels", "boxes", "head_sizes"))
    expected = JOINTS.copy()
    expected[:9, 3] = np.nan
    np.testing.assert_allclose(stored_crops.to_image_px(labels, boxes, 32), expected, atol=1e-3)
    np.testing.assert_allclose(boxes[:, 2], 1.5 * np.maximum(60 + np.arange(40), 90), rtol=1e-6)
    neck, head = JOINTS[:, LIP.index("neck")], JOINTS[:, LIP.index("head")]
    np.testing.assert_allclose(heads * boxes[:, 2] / 32, np.linalg.norm(neck - head, axis=1), rtol=1e-5)
    held_out = arrays["train_split"] == 1
    photographs = np.array([name[:3] for name in dataset["train"]["image"]])
    assert 0 < held_out.sum() <= 3 and not set(photographs[held_out]) & set(photographs[~held_out])


@pytest.mark.parametrize("layout", ["two zips", "one zip", "names of one's own"])
def test_images_may_lie_in_zips(folder, layout):
    raw, flags = folder / "raw" / "lip", []
    images = raw / "TrainVal_images"
    if layout == "names of one's own":
        (images / "train_images").rename(images / "mine")
        (raw / "TrainVal_pose_annotations" / "lip_train_set.csv").rename(raw / "mine.csv")
        flags = ["--train-images", "mine", "--train-annotations", "mine.csv"]
    else:
        for part in ("train", "val"):
            with zipfile.ZipFile(raw / (f"{part}_images.zip" if layout == "two zips" else "all.zip"), "a") as archive:
                for path in (images / f"{part}_images").iterdir():
                    archive.write(path, f"deep/{part}_images/{path.name}")
        images.rename(folder / "elsewhere")
    dataset, _ = prepare(folder, *flags)
    assert dataset["train"]["image"] == names(0, 30) and dataset["test"]["image"] == names(30, 40)


@pytest.mark.parametrize("change, told", [
    (lambda text: text.replace("4003.jpg,", "4003.jpg,4,", 1), "csv: line 4 has 50 columns, expected 49: name.jpg, "),
    (lambda text: text[:-30], r"csv: line 30 has \d+ columns, expected 49"),
    (lambda text: text.replace("4003.jpg,", "4003.jpg,left", 1), "csv: line 4 has 'left.*' where a number or nan sh"),
    (lambda text: text.replace("101_4003.jpg", "17", 1), "csv: line 4 begins with '17', expected the name of an image"),
    (lambda text: text.replace("101_4003", "101_4002", 1), "csv: line 4 is of 101_4002.jpg, as line 3 is"),
    (lambda text: line("100_4000.jpg", JOINTS[0], 2), "csv: line 1 has a v of 2, expected 0 .visible., 1"),
    (lambda text: '{"not": "it"}', "csv: line 1 has 1 columns, expected 49"),
    (lambda text: "\n", "csv holds no line"),
])
def test_a_bad_line_is_named(folder, change, told):
    path = folder / "raw" / "lip" / "TrainVal_pose_annotations" / "lip_train_set.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(Failure, match=told):
        prepare(folder)
    assert not list((folder / "data").glob("*.*"))


def test_images_that_are_missing_or_unreadable_are_tolerated_to_a_share(folder):
    images = folder / "raw" / "lip" / "TrainVal_images" / "train_images"
    (images / names(0, 9)[3]).unlink()
    (images / names(0, 9)[5]).write_bytes(b"no image")
    with pytest.raises(Failure, match=r"2 images \(5.0%\) can't be used, e.g. lip 101_4003.jpg: no such image in "):
        prepare(folder)
    assert not list((folder / "data").glob("*.*"))
    dataset, _ = prepare(folder, "--largest-unreadable", 0.05)
    assert [fault["image"] for fault in dataset["unreadable"]] == ["101_4003.jpg", "102_4005.jpg"]
    assert len(dataset["train"]["image"]) == 28


def test_what_is_missing_is_named(folder):
    raw = folder / "raw" / "lip"
    (raw / "TrainVal_images" / "val_images").rename(folder / "elsewhere")
    with pytest.raises(UserError, match="holds no folder val_images, val_images.zip or val_images.tar of images;"):
        prepare(folder)
    (raw / "TrainVal_images" / "val_images").mkdir()
    with pytest.raises(UserError, match="val_images holds no images"):
        prepare(folder)
    (raw / "TrainVal_pose_annotations" / "lip_val_set.csv").unlink()
    with pytest.raises(UserError, match="holds no lip_val_set.csv; put it there"):
        prepare(folder)
