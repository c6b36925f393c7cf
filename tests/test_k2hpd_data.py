"""Step 1 for K2HPD: odd lines, depths kept as stored, films' neighbours on one side, and what can be wrong."""
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

import k2hpd_data
from deeppose import near_duplicates, raw_files, stored_crops
from deeppose.errors import Failure, UserError
from deeppose.skeletons import skeleton_of

pytestmark = pytest.mark.usefixtures("undrawn")
JOINTS = len(k2hpd_data.K2HPD.joints)


@pytest.fixture(autouse=True)
def few_pictures(request, monkeypatch):
    """Crops are drawn in one test alone: it takes longer than all the rest of step 1."""
    if not request.node.name.startswith("test_drawn"):
        monkeypatch.setattr(k2hpd_data, "save_picture", lambda *given: "no picture")


def line(name, joints, before="", after=""):
    return before + name + " " + ",".join(f"{value:g}" for value in np.ravel(joints)) + after


def draw(folder, count=40, bits=16, films=2):
    """Depth images of noise, `films` folders, the last quarter to test; returns names and joints (N, 15, 2)."""
    rng, names, lines = np.random.default_rng(0), [], []
    joints = rng.uniform((20, 20), (236, 192), (count, JOINTS, 2)).round(2)
    for number in range(count):
        name = f"film{number * films // count}/frame{number}.png"
        (folder / "depth_data" / name).parent.mkdir(parents=True, exist_ok=True)
        depth = rng.integers(0, 2 ** bits - 1, (212, 256), np.uint16).astype(f"u{bits // 8}")
        Image.fromarray(depth).save(folder / "depth_data" / name, compress_level=1)
        names.append(name)
        lines.append(line(name, joints[number]))
    save(folder, lines[:count * 3 // 4], lines[count * 3 // 4:])
    return names, joints


def save(folder, train, test):
    for name, lines in (("train", train), ("test", test)):
        (folder / f"{name}_annos.txt").write_text("\n".join(lines) + "\n")


def prepare(folder, raw, *flags):
    k2hpd_data.main(["--raw-dir", str(raw), "--data-dir", str(folder / "data"), "--run-dir", str(folder / "runs"),
                     "--crop-size", "32", "--block", "5", "--validation-share", "0.2", "--workers", "1",
                     *map(str, flags)])
    made = {name: np.load(folder / "data" / f"{name}.npy") for name in
            ("train_images", "test_images", "train_labels", "test_labels", "train_boxes", "test_boxes", "train_split")}
    return made | {"dataset": json.loads((folder / "data" / "dataset.json").read_text())}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("k2hpd")
    return folder, *draw(folder)


@pytest.fixture
def copy(raw, tmp_path):
    """A raw folder whose text files may be changed."""
    (tmp_path / "raw").mkdir()
    os.symlink(raw[0] / "depth_data", tmp_path / "raw" / "depth_data")
    save(tmp_path / "raw", *([line(name, joints) for name, joints in zip(raw[1][part], raw[2][part])]
                             for part in (slice(30), slice(30, 40))))
    return tmp_path / "raw"


def test_lines_are_read_whatever_is_odd_about_them(tmp_path):
    joints = np.random.default_rng(1).uniform(0, 200, (8, JOINTS, 2)).round(1)
    rows = [line("a.png", joints[0], "\0\0"), line("depth/b c.png", joints[1], after=",7,8,9"),
            line("d\0.png", joints[2], after=","), "", line("./e/f.png", joints[3]).replace(",", ", ") + " \r",
            line(r"g\h.png", joints[4], after=",what follows,does not count"),
            line("v1.0 take/2.png", joints[5]), line("v1.0 2nd take/a,b.png", joints[6]), line("no_suffix", joints[7])]
    (tmp_path / "annos.txt").write_bytes(b"\xef\xbb\xbf" + "\n".join(rows).encode())
    names, read = k2hpd_data.read_annotations(tmp_path / "annos.txt")
    assert names == ["a.png", "depth/b c.png", "d.png", "e/f.png", "g/h.png", "v1.0 take/2.png",
                     "v1.0 2nd take/a,b.png", "no_suffix"]
    np.testing.assert_array_equal(read, joints)


@pytest.mark.parametrize("wrong, words", [
    ("b.png " + "1,2," * 14 + "3", "b.png has 29 numbers"),
    ("b.png " + "1,2," * 14 + "3,", "b.png has 29 numbers"),
    ("b.png " + "1,2," * 14 + "3,left", "could not convert string to float: 'left'"),
    ("b.png " + "1,,2," * 14 + "3", "could not convert string to float: ''"),
    ("b.png", "it reads 'b.png'"),
    ("b.png left" + ",1" * 29, "it reads 'b.png left,1"),
    ("b.png 1,2\xff", "can't decode byte"),
])
def test_a_broken_line_is_told_by_its_number(tmp_path, wrong, words):
    good = line("a.png", np.ones((JOINTS, 2)))
    (tmp_path / "annos.txt").write_bytes(f"{good}\n{wrong}\n{good}".encode("latin-1"))
    with pytest.raises(Failure, match=rf"annos\.txt, line 2: .*{words}.*15 points.*name\.png x,y") as told:
        k2hpd_data.read_annotations(tmp_path / "annos.txt")
    assert "\n" not in str(told.value)


def test_depths_stay_as_stored_and_joints_lie_where_they_were(raw, tmp_path):
    folder, names, joints = raw
    made = prepare(tmp_path, folder, "--crop-size", 384)
    dataset = made["dataset"]
    assert dataset["train"]["image"] + dataset["test"]["image"] == names
    assert made["train_images"].shape == (30, 384, 384, 1) and made["train_images"].dtype == np.uint16
    assert dataset["pdj_to"] == 0.75 and dataset["pixels"]["bits"] == 16 and dataset["pixels"]["channels"] == 1
    assert skeleton_of(dataset["skeleton"]) == k2hpd_data.K2HPD
    images = [np.asarray(Image.open(folder / "depth_data" / name)) for name in names]
    assert dataset["pixels"]["mean"][0] == pytest.approx(np.mean(images[:30]), rel=1e-6)
    assert dataset["pixels"]["deviation"][0] == pytest.approx(np.std(images[:30]), rel=1e-6)
    for split, rows in (("train", slice(30)), ("test", slice(30, 40))):  # 1.5 boxes of 256 px: crops of full scale
        np.testing.assert_array_equal(made[f"{split}_images"][:, 86:298, 64:320, 0], images[rows])
        assert (made[f"{split}_images"][:, :80] == round(dataset["pixels"]["mean"][0])).all()
        np.testing.assert_allclose(stored_crops.to_image_px(made[f"{split}_labels"], made[f"{split}_boxes"], 384),
                                   joints[rows], atol=1e-3)


def test_validation_frames_are_whole_blocks_of_a_film(raw, tmp_path, capsys):
    folder, names, _ = raw
    made = prepare(tmp_path, folder, "--validation-share", 0.4)
    held_out = [name for name, side in zip(names, made["train_split"]) if side]
    blocks = [names[start:start + 5] for start in (0, 5, 10, 15)] + [names[20:25], names[25:30]]
    assert len(held_out) in (10, 12) and all(set(block) <= set(held_out) or not set(block) & set(held_out)
                                             for block in blocks)
    assert "2 of 6 blocks of up to 5 neighbouring frames" in capsys.readouterr().out
    with pytest.raises(UserError, match="up to 20 must stay together; raise --validation-share, or choose a smaller "
                                        "--block"):
        prepare(tmp_path, folder, "--block", 500)


def test_blocks_follow_the_frames_numbers_within_each_folder():
    names = [f"b/{number}.png" for number in (10, 9, 2, 1, 11)] + ["a/1.png", "a/1.png"]
    numbers = near_duplicates.blocks(names, 2)
    assert [numbers[k] for k in (3, 2, 1, 0, 4)] == [0, 0, 1, 1, 2] and numbers[5] == numbers[6] == 3
    many = near_duplicates.blocks([f"{number}.png" for number in range(20_000)], 500)  # no chain, and in no time
    assert (np.bincount(many) == 500).all() and (np.diff(many) >= 0).all()


def test_names_may_leave_out_folders_and_lead_to_one_image_alone(tmp_path):
    for name in ("x/one.png", "x/deep/two.png", "y/one.png", "one.png", "note.txt"):
        path = tmp_path / "depth" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = ["x/one.png", "one.png", "two.png", "deep/two.png", "depth/y/one.png", "y/two.png", "note.txt", "p/one.png"]
    expected = ["x/one.png", "one.png", "x/deep/two.png", "x/deep/two.png", "y/one.png", None, None, None]
    members, faults = raw_files.named(tmp_path / "depth", names)
    assert members == expected and [fault is None for fault in faults] == [member is not None for member in expected]
    # whatever other names there are, and by all folders that lead there
    names = ["one.png", f"{tmp_path.name}/depth/x/deep/two.png", "two/three/four.png", f"{tmp_path}/depth/y/one.png"]
    assert raw_files.named(tmp_path / "depth", names)[0] == ["one.png", "x/deep/two.png", None, "y/one.png"]
    assert raw_files.named(tmp_path / "depth", ["depth/one.png", "a/b/c/two.png"])[0] == ["one.png", None]
    (tmp_path / "depth" / "one.png").unlink()
    members, faults = raw_files.named(tmp_path / "depth", ["one.png"])
    assert members == [None] and "several images" in faults[0]
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("packed/x/one.png", b"")
    assert raw_files.named(tmp_path / "packed.zip", ["packed/x/one.png", "x/one.png"])[0] == ["packed/x/one.png"] * 2
    with tarfile.open(tmp_path / "here.tar", "w") as archive:  # as tar -C here . makes it
        archive.add(tmp_path / "packed.zip", "./x/one.png")
    names = ["x/one.png", "here/x/one.png", "one.png"]
    assert raw_files.named(tmp_path / "here.tar", names)[0] == ["./x/one.png"] * 3


def test_no_data_set_gives_more_than_its_share_to_validation():
    sources = np.array(["a"] * 40 + ["b"] * 100)
    for seed in range(20):
        groups = np.arange(140)
        groups[40:70] = groups[:30]  # most of "a" has a namesake in "b"
        numbers = np.unique(groups, return_inverse=True)[1]
        held_out = near_duplicates.hold_out(numbers, sources, np.zeros(140, bool), 0.1, np.random.default_rng(seed))
        assert (held_out[:30] == held_out[40:70]).all()
        assert [held_out[sources == source].sum() for source in "ab"] == [4, 10]


def test_a_group_too_large_for_a_share_is_passed_over():
    groups = np.repeat(np.arange(64), [40] * 4 + [1] * 60)  # most come first to one of the four
    for seed in range(20):
        held_out = near_duplicates.hold_out(groups, np.full(220, "a"), np.zeros(220, bool), 0.1,
                                            np.random.default_rng(seed))
        assert held_out.sum() == 22 and not held_out[:160].any()


def test_images_missing_named_twice_or_of_another_depth_are_left_out_within_the_share(copy, raw, tmp_path, capsys):
    _, names, joints = raw
    grey = copy / "grey.png"
    Image.new("L", (256, 212)).save(grey)
    real = (copy / "depth_data").resolve()
    (copy / "depth_data").unlink()
    (copy / "depth_data").mkdir()
    for entry in real.iterdir():
        os.symlink(entry, copy / "depth_data" / entry.name)
    grey.rename(copy / "depth_data" / "grey.png")
    Image.new("RGB", (256, 212), "red").save(copy / "depth_data" / "red.png")
    extra = ["gone.png", "grey.png", "red.png", names[3], names[35]]
    save(copy, [line(name, joints[0]) for name in names[:30] + extra],
         [line(name, joints[0]) for name in names[30:40]])
    dataset = prepare(tmp_path, copy, "--largest-unreadable", 0.2)["dataset"]
    assert dataset["train"]["image"] == names[:30] and len(dataset["test"]["image"]) == 10
    reasons = {fault["image"]: fault["reason"] for fault in dataset["unreadable"]}
    assert set(reasons) == set(extra) and "no such image" in reasons["gone.png"]
    assert "8 bits a pixel, 16 in the other" in reasons["grey.png"] and "in colour" in reasons["red.png"]
    assert reasons[names[3]] == "named twice" and reasons[names[35]] == "a test image, too"
    assert "skipped k2hpd gone.png" in capsys.readouterr().out
    with pytest.raises(Failure, match=r"5 images \(11.1%\) can't be used.*gone\.png"):
        prepare(tmp_path / "again", copy)
    assert not (tmp_path / "again" / "data" / "dataset.json").exists()


def test_what_is_missing_is_named(copy, tmp_path):
    for name in ("train_annos.txt", "test_annos.txt", "depth_data"):
        (copy / name).rename(copy / "away")
        with pytest.raises(UserError, match=f"raw holds no .*{name}.*put it there, or .*--raw-dir.*--") as told:
            prepare(tmp_path, copy)
        assert told.value.status == 2 and "\n" not in str(told.value)
        (copy / "away").rename(copy / name)
    (copy / "test_annos.txt").write_text("\n\0\n")
    with pytest.raises(Failure, match=r"test_annos\.txt holds no line"):
        prepare(tmp_path, copy)
    assert not list(tmp_path.glob("data/*.npy"))


def test_boxes_from_joints_and_coordinates_from_one(raw, tmp_path):
    folder, _, joints = raw
    made = prepare(tmp_path, folder, "--boxes", "joints", "--box-extension", 2, "--first-pixel", 1, "--context", 1)
    np.testing.assert_allclose(made["train_boxes"][:, 2], 2 * np.ptp(joints[:30], axis=1).max(1), rtol=1e-5)
    np.testing.assert_allclose(stored_crops.to_image_px(made["train_labels"], made["train_boxes"], 32),
                               joints[:30] - 1, atol=1e-3)
    assert "joints" in made["dataset"]["box"]


def test_drawn_films_are_read(tmp_path):
    from figures import k2hpd
    k2hpd.write(tmp_path / "raw", 24, seed=1, workers=1, test=8, bits=8, frames=4)
    made = prepare(tmp_path, tmp_path / "raw", "--validation-share", 0.25)
    assert made["train_images"].dtype == np.uint8 and len(made["train_images"]) == 16
    assert made["train_split"].reshape(4, 4).all(1).any() and not np.isnan(made["train_labels"]).any()
