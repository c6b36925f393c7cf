"""Step 1 for COCO keypoints: persons, skeletons from names, splits, and what can be wrong with a file."""
import json
import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image

import coco_data
from deeppose import json_lists, stored_crops
from deeppose.coco_json import SIGMAS
from deeppose.errors import Failure, UserError
from deeppose.skeleton_names import skeleton_from_names
from deeppose.skeletons import skeleton_of

pytestmark = pytest.mark.usefixtures("undrawn")
NAMES = ["nose", "left_shoulder", "right_shoulder", "left hip", "right hip"]
SIZE = (90, 60)
PEOPLE = list(SIGMAS)
EDGES = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10], [9, 11],
         [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]  # of COCO's own category


@pytest.fixture(autouse=True)
def few_pictures(request, monkeypatch):
    """Crops are drawn in one test alone: it takes longer than all the rest of step 1."""
    if not request.node.name.startswith("test_drawn"):
        monkeypatch.setattr(coco_data, "save_picture", lambda *given: "no picture")


def content(images=12, first=0, **category):
    """What a JSON holds: two persons in every third image, of the others one; joints are whole numbers + 0.25."""
    rng, annotations = np.random.default_rng(first), []
    category = {"id": 1, "name": "toy", "keypoints": NAMES, "skeleton": [[2, 3], [2, 4]]} | category
    for image in range(first, first + images):
        for person in range(1 + (image % 3 == 0)):
            x, y, width, height = rng.integers((2, 2, 20, 10), (30, 20, 50, 35)).tolist()
            joints = rng.integers((x, y), (x + width, y + height), (len(category["keypoints"]), 2)) + 0.25
            annotations.append({
                "id": 100 * image + person, "image_id": image, "category_id": category["id"], "iscrowd": 0,
                "bbox": [x, y, width, height], "area": width * height / 2,
                "keypoints": np.column_stack([joints, np.full(len(joints), 2)]).ravel().tolist()})
    return {"info": {"a": [1, {}]}, "annotations": annotations[::-1],  # not in the images' order
            "images": [{"id": image, "file_name": f"{image}.png", "width": SIZE[0], "height": SIZE[1]}
                       for image in range(first, first + images)],
            "categories": [category, {"id": 7, "name": "box"}]}


def save(folder, **files):
    """NAME.json for each, and the images that they name, of random blocks that no hash confuses."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, made in files.items():
        (folder / f"{name}.json").write_text(json.dumps(made))
        for image in made["images"]:
            blocks = np.random.default_rng(image["id"]).integers(0, 256, (12, 18, 3), np.uint8)
            Image.fromarray(blocks).resize(SIZE).save(folder / "images" / image["file_name"])
    return folder


def prepare(folder, raw, *flags):
    coco_data.main(["--raw-dir", str(raw), "--data-dir", str(folder / "data"), "--run-dir", str(folder / "runs"),
                    "--crop-size", "32", "--validation-share", "0.25", "--workers", "1", *map(str, flags)])
    made = {name: np.load(folder / "data" / f"{name}.npy") for name in
            ("train_images", "test_images", "train_labels", "test_labels", "train_boxes", "test_boxes", "train_split",
             "test_head_sizes")}
    return made | {"dataset": json.loads((folder / "data" / "dataset.json").read_text())}


def image_joints(made, split):
    return stored_crops.to_image_px(made[f"{split}_labels"], made[f"{split}_boxes"], 32)


def told(kind, words, call, *given):
    with pytest.raises(UserError, match=words) as caught:
        call(*given)
    assert type(caught.value) is kind and "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_persons_come_in_the_images_order_with_boxes_joints_and_what_oks_needs(tmp_path, capsys):
    train, more, test = content(6), content(3, 20), content(6, 40)
    rest = test["annotations"][0]
    rest["keypoints"][2], rest["keypoints"][0] = 0, -1e9  # not annotated, and no number that counts
    del rest["area"]
    train["annotations"] += [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "keypoints": [0] * 15, "bbox": [0, 0, 1, 1]},
        {"id": 2, "image_id": 1, "category_id": 1, "keypoints": [5, 5, 0] * 5, "num_keypoints": 0},
        {"id": 3, "image_id": 1, "category_id": 7, "bbox": [0, 0, 1, 1]}]
    test["annotations"] += [{"id": 901, "image_id": 41, "category_id": 1, "iscrowd": 1, "area": 6,
                             "bbox": [1, 2, 3, 4]},
                            {"id": 902, "image_id": 41, "category_id": 1, "iscrowd": 1, "bbox": [1, 2, 3, 4]}]
    save(tmp_path, train=train, more=more, test=test)
    made = prepare(tmp_path, tmp_path, "--train", "train.json", "more.json", "--test", "test.json")
    dataset = made["dataset"]
    assert dataset["coco"]["ignored"] == {"image_id": [41], "area": [6], "bbox": [[1, 2, 3, 4]], "iscrowd": [1]}
    assert dataset["train"]["image"] == [f"{k}.png" for k in (0, 0, 1, 2, 3, 3, 4, 5, 20, 21, 21, 22)]
    assert dataset["train"]["person"] == [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    assert dataset["train"]["source"] == ["train"] * 8 + ["more"] * 4 and set(dataset["test"]["source"]) == {"test"}
    by_id = {entry["id"]: entry for entry in test["annotations"]}
    entries = [by_id[number] for number in dataset["coco"]["annotation_id"]]
    assert [entry["image_id"] for entry in entries] == dataset["coco"]["image_id"] == [40, 41, 42, 42, 43, 44, 45, 45]
    assert [entry["bbox"] for entry in entries] == dataset["coco"]["bbox"]
    areas = [entry.get("area", entry["bbox"][2] * entry["bbox"][3]) for entry in entries]
    assert dataset["coco"]["area"] == areas and dataset["coco"]["sigmas"] == [0.05] * 5

    expected = np.array([entry["keypoints"] for entry in entries]).reshape(-1, 5, 3)
    joints = np.where(expected[..., 2:] > 0, expected[..., :2], np.nan)
    np.testing.assert_allclose(image_joints(made, "test"), joints, atol=1e-4)
    assert np.isnan(made["test_labels"]).sum() == 2
    x, y, width, height = np.array(dataset["coco"]["bbox"]).T
    sides = 1.5 * 1.25 * np.maximum(width, height)
    np.testing.assert_allclose(made["test_boxes"].T, [x + width / 2 - sides / 2, y + height / 2 - sides / 2, sides],
                               atol=1e-4)
    assert np.isnan(made["test_head_sizes"]).all()
    skeleton = skeleton_of(dataset["skeleton"])
    assert skeleton.joints == ("nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
    assert skeleton.pairs == (("right_shoulder", "left_shoulder"), ("right_hip", "left_hip"))
    printed = capsys.readouterr().out
    for words in ("3 crowds", "1 persons without an annotated joint", "1 annotations without keypoints",
                  "torso: left_shoulder to right_hip; head: none"):
        assert words in printed


def test_images_of_two_test_files_with_the_same_ids_stay_two(tmp_path):
    one, other = content(3), content(3, 40)
    for image in other["images"]:
        image["id"] -= 40
    for entry in other["annotations"]:
        entry["image_id"] -= 40
    crowd = {"id": 901, "image_id": 0, "category_id": 1, "iscrowd": 1, "area": 6, "bbox": [1, 2, 3, 4]}
    other["annotations"].append(crowd)
    save(tmp_path, train=content(6, 60), one=one)
    save(tmp_path, other=other)
    for name in ("40.png", "41.png", "42.png"):  # drawn by their ids, which the others have
        blocks = np.random.default_rng(int(name[:2])).integers(0, 256, (12, 18, 3), np.uint8)
        Image.fromarray(blocks).resize(SIZE).save(tmp_path / "images" / name)
    made = prepare(tmp_path, tmp_path, "--train", "train.json", "--test", "one.json", "other.json")["dataset"]
    ids = dict(zip(made["test"]["image"], made["coco"]["image_id"]))
    assert len(set(ids.values())) == len(ids) == 6
    assert made["coco"]["ignored"]["image_id"] == [ids["40.png"]] != [ids["0.png"]]


def test_images_that_are_turned_by_exif_or_named_otherwise_composed_are_told_or_found(tmp_path):
    train = content(12)
    train["images"][3]["file_name"] = "gr\u00f6\u00dfe.png"
    save(tmp_path, train=train)
    (tmp_path / "images/gr\u00f6\u00dfe.png").rename(tmp_path / "images/gro\u0308\u00dfe.png")  # as macOS may have it
    assert "gr\u00f6\u00dfe.png" in str(prepare(tmp_path, tmp_path)["dataset"])
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: its size tells nothing
    with Image.open(tmp_path / "images/5.png") as image:
        image.save(tmp_path / "images/5.png", exif=exif)
    told(Failure, r"5.png: its EXIF orientation turns it, .* save it upright", prepare, tmp_path, tmp_path)
    assert "EXIF" in str(prepare(tmp_path, tmp_path, "--largest-unreadable", 0.5)["dataset"]["unreadable"])


def test_without_test_files_whole_images_are_drawn_to_test(tmp_path):
    save(tmp_path, train=content(15))
    made = prepare(tmp_path, tmp_path, "--test-share", 0.3)
    dataset, sides = made["dataset"], made["train_split"] == 1
    kept, held_out = ({name for name, side in zip(dataset["train"]["image"], sides) if side == which}
                      for which in (False, True))
    test = set(dataset["test"]["image"])
    assert kept and held_out and test and not kept & held_out and not (kept | held_out) & test
    assert len(dataset["test"]["image"]) in (5, 6) and len(kept | held_out | test) == 15
    assert prepare(tmp_path / "again", tmp_path, "--test-share", 0.3)["dataset"]["test"] == dataset["test"]
    other = prepare(tmp_path / "other", tmp_path, "--test-share", 0.3, "--seed", 1)["dataset"]["test"]
    assert other["image"] != dataset["test"]["image"]


def test_near_duplicates_never_stand_on_both_sides(tmp_path, capsys):
    save(tmp_path, train=content(12), test=content(4, 12))
    for copy, original in ((3, 1), (5, 1), (9, 8), (12, 0)):
        (tmp_path / "images" / f"{copy}.png").write_bytes((tmp_path / "images" / f"{original}.png").read_bytes())
    for seed in range(2):
        dataset = prepare(tmp_path, tmp_path, "--test-share", 0.4, "--validation-share", 0.4, "--seed", seed)
        train, sides = dataset["dataset"]["train"]["image"], dataset["train_split"]
        side = dict(zip(train, sides)) | dict.fromkeys(dataset["dataset"]["test"]["image"], 2)
        assert side["3.png"] == side["5.png"] == side["1.png"] and side["9.png"] == side["8.png"]
        assert dataset["dataset"]["near_duplicates"]["pairs"] == 4
    made = prepare(tmp_path, tmp_path, "--test", "test.json")  # official files stay; what leaks is listed
    duplicates = made["dataset"]["test_duplicates"]
    assert {(pair["test_row"], pair["train_image"]) for pair in duplicates} == {(0, "0.png"), (1, "0.png")}
    assert made["train_split"][0] == 0
    capsys.readouterr()
    prepare(tmp_path, tmp_path, "--test", "test.json", "--duplicates-up-to", 5)
    assert "not looked for: there are more than --duplicates-up-to" in capsys.readouterr().out


def test_the_test_share_is_reached_with_whole_groups_of_near_duplicates(tmp_path):
    save(tmp_path, train=content(20))
    for number in range(20):  # as of a camera that takes two at once
        (tmp_path / f"images/{number}.png").write_bytes((tmp_path / f"images/{number // 2 * 2}.png").read_bytes())
    for seed in range(3):
        made = prepare(tmp_path, tmp_path, "--test-share", 0.3, "--seed", seed)["dataset"]
        test, train = ({int(name[:-4]) // 2 for name in made[side]["image"]} for side in ("test", "train"))
        assert len(made["test"]["image"]) in (7, 8) and not test & train  # of 27
    for number in range(20):
        (tmp_path / f"images/{number}.png").write_bytes((tmp_path / "images/0.png").read_bytes())
    told(UserError, "no person to test among 27, of whom up to 27 must stay together; change --test-share, lower "
         "--duplicate-distance", prepare, tmp_path, tmp_path)


def test_films_are_held_out_by_blocks(tmp_path):
    save(tmp_path, train=content(16))
    made = prepare(tmp_path, tmp_path, "--block", 4, "--test-share", 0.34, "--validation-share", 0.5)
    side = {int(name[:-4]) // 4: int(side) for name, side in zip(made["dataset"]["train"]["image"],
                                                                 made["train_split"])}
    test = {int(name[:-4]) // 4 for name in made["dataset"]["test"]["image"]}
    assert len(test) == 1 and set(side.values()) == {0, 1} and set(side) | test == {0, 1, 2, 3} and not set(side) & test
    told(UserError, "up to .* must stay together.*--block", prepare, tmp_path, tmp_path, "--block", 40)


def test_depth_images_stay_of_one_channel_and_16_bits(tmp_path):
    save(tmp_path, train=content(8))
    for number in range(8):
        depth = np.random.default_rng(number % 7).integers(500, 4000, (12, 18)).astype(np.uint16)
        Image.fromarray(depth.repeat(5, 0).repeat(5, 1)).save(tmp_path / "images" / f"{number}.png")
    made = prepare(tmp_path, tmp_path, "--channels", "one")
    assert made["train_images"].dtype == np.uint16 and made["train_images"].shape[1:] == (32, 32, 1)
    assert 1000 < made["train_images"].mean() < 3500
    assert made["dataset"]["near_duplicates"] == {"looked_for": True, "pairs": 1}


def test_boxes_may_come_from_joints_and_coordinates_from_the_corner(tmp_path):
    train = content(8)
    for entry in train["annotations"]:
        del entry["bbox"]
    save(tmp_path, train=train)
    made = prepare(tmp_path, tmp_path, "--boxes", "joints", "--first-pixel", 0.5, "--context", 1, "--box-extension", 2)
    by_image = {f"{entry['image_id']}.png": entry["keypoints"] for entry in train["annotations"][::-1]}
    first = np.flatnonzero(np.array(made["dataset"]["train"]["person"]) == 0)
    joints = np.array([by_image[made["dataset"]["train"]["image"][row]] for row in first]).reshape(-1, 5, 3)[..., :2]
    np.testing.assert_allclose(image_joints(made, "train")[first], joints - 0.5, atol=1e-4)
    np.testing.assert_allclose(made["train_boxes"][first, 2], 2 * np.ptp(joints, axis=1).max(1), rtol=1e-5)
    assert "coco" not in made["dataset"]  # OKS needs areas
    for entry in train["annotations"]:
        entry["bbox"] = [5, 5, 0, 0]  # as some programs write, and nothing that counts
    save(tmp_path, train=train)
    again = prepare(tmp_path, tmp_path, "--boxes", "joints", "--first-pixel", 0.5, "--context", 1, "--box-extension", 2)
    np.testing.assert_array_equal(again["train_boxes"], made["train_boxes"])


def test_coco_s_own_skeleton_has_torso_arms_legs_and_sigmas(tmp_path):
    save(tmp_path, train=content(8, name="person", keypoints=PEOPLE, skeleton=EDGES))
    dataset = prepare(tmp_path, tmp_path)["dataset"]
    skeleton = skeleton_of(dataset["skeleton"])
    assert skeleton.diameter == ("left_shoulder", "right_hip") and skeleton.head == () and len(skeleton.pairs) == 8
    assert skeleton.limbs["left_ankle-left_knee"] == (("left_ankle",), ("left_knee",)) and len(skeleton.limbs) == 19
    assert {frozenset(name.split("-")) for name in skeleton.paper_limbs} == {
        frozenset((f"{side}_{a}", f"{side}_{b}")) for side in ("left", "right")
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))}
    assert skeleton.lower == tuple(name for name in PEOPLE if name.split("_")[-1] in ("hip", "knee", "ankle"))
    assert dataset["coco"]["sigmas"] == list(SIGMAS.values())


def test_a_joint_that_lost_its_partner_is_named(tmp_path, capsys):
    for last, told in (("right_eey", True), ("right_eye", False)):
        save(tmp_path, train=content(8, keypoints=["left_eye", "rump", "upright", "L5", last], skeleton=None))
        prepare(tmp_path, tmp_path)
        assert ("no partner on the other: left_eye, right_eey; mirrored" in capsys.readouterr().out) is told


def test_a_joint_that_hardly_anybody_has_is_named(tmp_path, capsys):
    train = content(40)
    for entry in train["annotations"]:
        entry["keypoints"][12:15] = 0, 0, 0
    save(tmp_path, train=train)
    made = prepare(tmp_path, tmp_path, "--validation-share", 0.3)
    name = made["dataset"]["skeleton"]["joints"][4]
    assert f"fewer than three validation persons: {name}. Stage 1 can be trained" in capsys.readouterr().out


def test_of_two_folders_of_images_one_can_be_named(tmp_path):
    save(tmp_path, train=content(8))
    for folder in ("a", "b"):
        shutil.copytree(tmp_path / "images", tmp_path / folder / "images")
    shutil.rmtree(tmp_path / "images")
    told(Failure, "holds both a/images and b/images; leave one of them there, or name one in full with "
         "--train-images", prepare, tmp_path, tmp_path)
    assert prepare(tmp_path, tmp_path, "--train-images", "b/images")


@pytest.mark.parametrize("names, pairs, diameter", [
    (["left_目", "left_耳", "right_耳", "right_目"], [("right_耳", "left_耳"), ("right_目", "left_目")], ()),
    (["rücken", "lücken", "l1", "r1"], [("r1", "l1")], ()),
    (["left_हाथ", "left_हथ", "right_हाथ"], [("right_हाथ", "left_हाथ")], ()),
    (["l_hip", "r_hip", "l_shoulder"], [("r_hip", "l_hip")], ("l_shoulder", "r_hip")),
    (["hip_l", "hip_r", "Neck"], [("hip_r", "hip_l")], ()),
    (["LHip", "RHip", "LShoulder"], [("RHip", "LHip")], ("LShoulder", "RHip")),
    (["hipL", "hipR"], [("hipR", "hipL")], ()),
    (["lhip", "rhip", "lshoulder"], [("rhip", "lhip")], ("lshoulder", "rhip")),
    (["Left Paw", "Right Paw", "paw-left-2", "paw-right-2"], [("Right Paw", "Left Paw"),
                                                             ("paw-right-2", "paw-left-2")], ()),
    (["left_eye_left_corner", "left_eye_right_corner", "right_eye_left_corner", "right_eye_right_corner"],
     [("right_eye_left_corner", "left_eye_right_corner"), ("right_eye_right_corner", "left_eye_left_corner")], ()),
    (["l_eye_left", "l_eye_right", "r_eye_left", "r_eye_right"],
     [("r_eye_left", "l_eye_right"), ("r_eye_right", "l_eye_left")], ()),
    (["left_of_left_eyebrow", "right_of_left_eyebrow"], [], ()),  # both of one eyebrow
    (["rear", "left_ear", "root", "left_eye", "ring_tip"], [], ()),  # an r is no side where no l answers it
])
def test_names_tell_sides(names, pairs, diameter):
    skeleton = skeleton_from_names(names, [])
    assert list(skeleton.pairs) == pairs and skeleton.diameter == diameter
    skeleton_of(skeleton.plain())


def test_a_fifth_is_of_the_persons_and_what_can_not_be_used_is_told_first(tmp_path):
    raw = save(tmp_path, train=content(12))
    for number in range(1, 12):
        (raw / f"images/{number}.png").unlink()
    told(Failure, r"14 images \(87.5%\) can't be used, e.g. .* in 11.png: no such image", prepare, tmp_path, raw)


def test_a_skeleton_of_one_joint_has_no_extent(tmp_path):
    train = content(12)
    train["categories"][0]["keypoints"], train["categories"][0]["skeleton"] = ["ball"], []
    for annotation in train["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][:3]
    raw = save(tmp_path, train=train)
    assert prepare(tmp_path, raw)["train_labels"].shape[1] == 1
    told(UserError, "one joint has no extent; take --boxes bbox", prepare, tmp_path / "joints", raw, "--boxes",
         "joints")


def test_of_several_categories_the_one_named_is_taken(tmp_path):
    train = content(8)
    train["categories"].insert(0, {"id": 3, "name": "dog", "keypoints": ["nose", "tail"]})
    train["annotations"].append({"id": 900, "image_id": 1, "category_id": 3, "bbox": [5, 5, 30, 20],
                                 "keypoints": [10, 10, 2, 20, 15, 2]})
    made = prepare(tmp_path, save(tmp_path, train=train), "--category", "toy")
    assert made["train_labels"].shape[1] == 5 and made["dataset"]["left_out"] == {"annotations of other categories": 1}


def test_test_images_lie_in_a_folder_of_their_own_as_cocos_do(tmp_path):
    (tmp_path / "annotations").mkdir()
    for split, first in (("train", 0), ("val", 20)):
        save(tmp_path, **{split: content(6, first)})
        (tmp_path / "images").rename(tmp_path / f"{split}2017")
        (tmp_path / f"{split}.json").rename(tmp_path / f"annotations/person_keypoints_{split}2017.json")
    made = prepare(tmp_path, tmp_path, "--train", "annotations/person_keypoints_train2017.json", "--train-images",
                   "train2017", "--test", "annotations/person_keypoints_val2017.json", "--test-images", "val2017")
    assert set(made["dataset"]["test"]["image"]) == {f"{number}.png" for number in range(20, 26)}


def test_an_edge_that_stands_there_both_ways_is_one_limb():
    skeleton = skeleton_from_names(NAMES, [("nose", "left hip"), ("left hip", "nose"), ("nose", "left hip"),
                                           ("nose", "right hip")])
    assert list(skeleton.limbs) == ["nose-left hip", "nose-right hip"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_torso_that_nobody_has_is_none(tmp_path, capsys, split):
    """Whether nobody to train on has it, or nobody to test."""
    files = {"train": content(8), "test": content(4, 40)}
    for annotation in files[split]["annotations"]:
        annotation["keypoints"][3 * NAMES.index("right hip") + 2] = 0
    flags = ("--test", "test.json")
    made = prepare(tmp_path, save(tmp_path, **files), *flags)
    assert skeleton_of(made["dataset"]["skeleton"]).diameter == ()
    printed = capsys.readouterr().out
    assert "torso: none" in printed and ("no torso, and no scores that are measured with it: nobody to "
                                         f"{split}{' on' * (split == 'train')} has both left_shoulder and right_hip "
                                         "annotated") in printed
    told(UserError, "--diameter: nobody to .* has both nose and right_hip annotated; name two others", prepare,
         tmp_path / "named", tmp_path, *flags, "--diameter", "nose", "right_hip")
    made = prepare(tmp_path / "other", tmp_path, *flags, "--diameter", "nose", "left_hip")
    assert skeleton_of(made["dataset"]["skeleton"]).diameter == ("nose", "left_hip")


def test_settings_go_before_names(tmp_path):
    names = ["a", "b", "c d", "left_x", "right_x"]
    save(tmp_path, train=content(8, keypoints=names, skeleton=None))
    flags = ("--pairs", "a=b", "--diameter", "a", "c d", "--head", "b", "c_d")
    made = prepare(tmp_path, tmp_path, *flags)
    skeleton = skeleton_of(made["dataset"]["skeleton"])
    assert skeleton.pairs == (("a", "b"),) and skeleton.diameter == ("a", "c_d") and skeleton.limbs == {}
    heads = np.linalg.norm(made["test_labels"][:, 1] - made["test_labels"][:, 2], axis=1)
    np.testing.assert_allclose(made["test_head_sizes"], heads, rtol=1e-5)
    for wrong, words in ((("--pairs", "a=z"), "--pairs names 'z', which is no joint; there are: a, b, c_d"),
                         (("--pairs", "a"), "--pairs is a, expected two joints"),
                         (("--pairs", "a=b", "b=c d"), "names a joint twice"),
                         (("--pairs", "a=b=b"), "--pairs is a b b, expected two joints"),
                         (("--diameter", "a", "b", "b"), "--diameter is a b b, expected two joints"),
                         (("--diameter", "a", "a"), "--diameter is a a, expected two")):
        told(UserError, words, prepare, tmp_path, tmp_path, *wrong)


def changed(**entries):
    """A change of the first annotation's entries; None = without it."""
    def change(made):
        made["annotations"][0] = {key: value for key, value in (made["annotations"][0] | entries).items()
                                  if value is not None}
    return change


@pytest.mark.parametrize("kind, words, change", [
    (Failure, r"annotations\[0\] lacks 'bbox'.*--boxes joints", changed(bbox=None)),
    (Failure, r"annotations\[0\] has bbox \[1, 2, 3\], expected x, y, width, height", changed(bbox=[1, 2, 3])),
    (Failure, r"annotations\[0\] has bbox .*pixels", changed(bbox=[1, 2, 3, 1e9])),
    (Failure, r"annotations\[0\] has bbox \['1'.*expected numbers", changed(bbox=["1", 2, 3, 4])),
    (Failure, r"annotations\[0\] lacks 'image_id'; expected COCO", changed(image_id=None)),
    (Failure, r"annotations\[0\] has keypoints \['left'.*expected numbers: x, y, v", changed(keypoints=["left"] * 15)),
    (Failure, r"annotations\[0\] has 14 numbers as keypoints, expected x, y and v", changed(keypoints=[1] * 14)),
    (Failure, r"annotations\[1\] has 5 keypoints, others of its category 4", changed(keypoints=[1] * 12)),
    (Failure, r"annotations\[0\] has keypoints that can be in no image", changed(keypoints=[float("inf")] * 15)),
    (Failure, r"annotations\[0\] is 3, expected an object", lambda made: made["annotations"].insert(0, 3)),
    (Failure, r"annotations\[0\] has 5 keypoints, expected the 4 that its category names",
     lambda made: made["categories"][0].update(keypoints=list("abcd"))),
    (Failure, r"images\[0\] has file_name 3, expected an image's name", lambda made: made["images"][0].update(
        file_name=3)),
    (Failure, r"images\[1\] has the id 0 of another image", lambda made: made["images"][1].update(id=0)),
    (Failure, r"1 images \(9.1%\) can't be used, e.g. train annotations\[0\]: its image_id is none of the images",
     changed(image_id=77)),
    (Failure, r"annotations\[0\] in 7.png: bbox of 0 x 3 pixels", changed(bbox=[1, 2, 0, 3])),
    (Failure, r"7.png: bbox of 6 x 3 pixels at \(901, 2\) holds none of the joints", changed(bbox=[901, 2, 6, 3])),
    (Failure, r"7.png: bbox of 1e-07 x 1e-07 pixels at \(0, 0\) holds none", changed(bbox=[0, 0, 1e-7, 1e-7])),
    (Failure, r"annotations\[0\] has bbox \[1, 2, True, 3\], expected numbers", changed(bbox=[1, 2, True, 3])),
    (Failure, r"images \(.*no such image in .*images", lambda made: made["images"][1].update(file_name="gone.png")),
    (Failure, r"1.png has 90 x 60 pixels and train.json tells 60 x 90, as of 1 images", lambda made: made["images"][1]
     .update(width=60, height=90)),
    (Failure, "holds no list 'annotations'; expected COCO's keypoint JSON", lambda made: made.pop("annotations")),
    (Failure, "no category with keypoints", lambda made: made["categories"].pop(0)),
    (Failure, r"its skeleton holds \[0, 4\], expected two of 1 ... 5, for COCO counts keypoints from 1",
     lambda made: made["categories"][0].update(skeleton=[[0, 4]])),
    (Failure, "two keypoints 'a_b'", lambda made: made["categories"][0].update(
        keypoints=["a b", "a_b", "c", "d", "e"])),
    (UserError, "2 categories with keypoints, expected one; choose with --category, from: toy, box",
     lambda made: made["categories"][1].update(keypoints=["x"])),
    (Failure, "there is nobody to prepare; left out: nobody, for there is no annotation",
     lambda made: made["annotations"].clear()),
    (Failure, "there is nobody to prepare; left out: 11 persons without an annotated joint",
     lambda made: [annotation.update(keypoints=[0] * 15) for annotation in made["annotations"]]),
])
def test_a_broken_file_is_told_by_its_entry(tmp_path, kind, words, change):
    made = content(8)
    save(tmp_path, train=made)
    change(made)
    (tmp_path / "train.json").write_text(json.dumps(made))
    told(kind, words, prepare, tmp_path, tmp_path)
    assert not list(tmp_path.glob("data/*"))


def test_files_that_are_missing_no_json_or_do_not_fit_are_named(tmp_path):
    save(tmp_path, train=content(8), other=content(4, 20, keypoints=list("abcde")), same=content(4, 6))
    text = (tmp_path / "train.json").read_text()
    for wrong, words in ((text[:900], r"ends within annotations\[\d\]"), (text[:-1], "it ends after 'categories'"),
                         (text.replace('"bbox"', "bbox", 1), r"annotations\[0\]: Expecting property name"),
                         ("[1, 2]", "'\\[' after its beginning"), ("", "it ends after its beginning"),
                         ("{}", "holds no list 'annotations'"), ("[" * 100_000, "after its beginning"),
                         ('{"a": ' + "[" * 100_000, "nested too deeply"), ('{1: 2}', "1 in place of a name"),
                         ('{"list": [{}}', r"'}' after list\[0\]"), (text + text, "'{' after its end")):
        (tmp_path / "broken.json").write_text(wrong)
        told(Failure, rf"broken\.json .*{words}", prepare, tmp_path, tmp_path, "--train", "broken.json")
    (tmp_path / "broken.json").write_bytes((tmp_path / "images" / "0.png").read_bytes())
    told(Failure, "broken.json is not in UTF-8", prepare, tmp_path, tmp_path, "--train", "broken.json")
    told(UserError, "differ in their keypoints", prepare, tmp_path, tmp_path, "--train", "train.json", "other.json")
    told(UserError, "holds no gone.json; .*--raw-dir.*--test", prepare, tmp_path, tmp_path, "--test", "gone.json")
    told(UserError, r"no folder pictures, pictures.zip .*--train-images", prepare, tmp_path, tmp_path,
         "--train-images", "pictures")
    told(UserError, r"0 categories named 'dog' with keypoints, expected one; choose with --category, from: toy",
         prepare, tmp_path, tmp_path, "--category", "dog")
    told(Failure, "can't be used, e.g. train 6.png: a test image, too", prepare, tmp_path, tmp_path,
         "--test", "same.json")
    assert not list(tmp_path.glob("data/*"))


def test_a_large_json_is_never_in_memory_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lists, "CHUNK", 1000)  # entries and numbers cut anywhere
    made = {"version": 12345, "skip": {"a": [1]}, "images": [{"id": k, "text": "é" * (k % 700)} for k in range(3000)],
            "annotations": [], "other": [[1, 2], "x"], "categories": [1.5, 23456]}
    path = tmp_path / "large.json"
    path.write_text(json.dumps(made, indent=1, ensure_ascii=False), encoding="utf-8")
    tracemalloc.start()
    count = 0
    for key, number, entry in json_lists.entries(path, ("images", "annotations", "categories"), "COCO"):
        assert entry == made[key][number]
        count += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3002 and peak < 100_000 < path.stat().st_size / 10


def test_a_number_may_be_cut_anywhere_by_what_is_read_at_once(tmp_path, monkeypatch):
    path = tmp_path / "numbers.json"
    path.write_text('{"a": [-1.5, 2.5e+10, 3E-2, 40]}')
    for chunk in range(1, 40):
        monkeypatch.setattr(json_lists, "CHUNK", chunk)
        assert [entry for _, _, entry in json_lists.entries(path, ("a",), "numbers")] == [-1.5, 2.5e10, 0.03, 40]
    path.write_text('{"a": [1.]}')
    with pytest.raises(Failure, match="no whole JSON"):
        list(json_lists.entries(path, ("a",), "numbers"))


def test_drawn_animals_are_read(tmp_path, monkeypatch):
    monkeypatch.undo()  # with the picture
    from figures import coco
    coco.write(tmp_path / "raw", 12, seed=1, workers=1, test=4)
    made = prepare(tmp_path, tmp_path / "raw", "--test", "test.json")
    assert len(made["dataset"]["skeleton"]["pairs"]) == 4 and len(set(made["dataset"]["test"]["image"])) == 4
    assert made["train_labels"].shape[1:] == (11, 2) and (tmp_path / "runs" / "dataset.png").stat().st_size > 1000
