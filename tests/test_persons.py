"""Prepared persons: read whole and as one preparation left them, or not at all."""
import copy
import hashlib
import json
import re

import numpy as np
import pytest
import torch

import lsp_data
from deeppose import arrays
from deeppose.errors import Failure, UserError
from deeppose.persons import Persons, load_dataset, load_persons
from deeppose.pixels import RGB, Pixels
from deeppose.skeletons import LSP

CPU = torch.device("cpu")
NAN = float("nan")
DATASET = {
    "dataset": "lsp", "skeleton": LSP.plain(), "crop_size": 8, "context": 1.5,
    "train": {"source": ["lsp", "lsp", "lspet"], "image": ["im0001.jpg", "im0002.jpg", "im00001.jpg"]},
    "test": {"source": ["lsp", "lsp"], "image": ["im0003.jpg", "im0004.jpg"]},
    "test_duplicates": [{"test_row": 1, "test_image": "im0004.jpg", "train_image": "im0001.jpg"}],
    "prepare": "python lsp_data.py", "box": "the whole image squared", "pixels": RGB.plain(),
}
WITHOUT = object()  # in place of a value that is left out


def made_up(count, seed):
    random = np.random.default_rng(seed)
    return {"images": random.integers(0, 256, (count, 8, 8, 3), np.uint8),
            "labels": random.uniform(0, 8, (count, 14, 2)).astype(np.float32),
            "boxes": np.ones((count, 3), np.float32), "head_sizes": np.ones(count, np.float32)}


def write(folder, seed=0, **changes):
    """What step 1 leaves: three training persons, of whom the last is held out, and two test persons."""
    for split, count in (("train", 3), ("test", 2)):
        for name, array in made_up(count, seed).items():
            arrays.save(folder / f"{split}_{name}.npy", array)
    arrays.save(folder / "train_split.npy", np.array([0, 0, 1], np.uint8))
    arrays.save_json(folder / "dataset.json", DATASET | {"digests": arrays.digests(folder)} | changes)


def refused(kind, words, folder, split="train"):
    with pytest.raises(UserError, match=words) as told:
        load_persons(folder, split, CPU)
    assert type(told.value) is kind
    assert re.fullmatch(r"\S+.{5,400}; run(?: again)?: python lsp_data\.py(, or the step 1 of another data set)?",
                        str(told.value))
    return str(told.value)


def test_both_splits_are_read(tmp_path):
    write(tmp_path)
    train, test = (load_persons(tmp_path, split, CPU) for split in ("train", "test"))
    assert train.held_out.tolist() == [False, False, True] and test.held_out.tolist() == [False, False]
    assert train.sources.tolist() == ["lsp", "lsp", "lspet"] and test.sources.tolist() == ["lsp", "lsp"]
    for persons, count in ((train, 3), (test, 2)):
        known = made_up(count, 0)
        assert np.array_equal(persons.crops, known["images"]) and np.array_equal(persons.truth, known["labels"])
        assert persons.crop_size == 8 and persons.box_side == 8 / 1.5 and persons.skeleton == LSP


def test_boxes_are_told_in_extents_of_those_with_most_joints(tmp_path):
    def of(extents, known, held_out, copies=None):
        crops, joints_px = torch.zeros(len(extents), 12, 12, 3), torch.full((len(extents), 4, 2), NAN)
        persons = Persons(crops, joints_px, None, np.array(held_out, bool), None, None, 1.5,
                          {"train": {} if copies is None else {"copy": copies}})
        for joints, extent, count in zip(joints_px, extents, known):
            joints[:count] = torch.linspace(0, extent, count)[:, None] * torch.tensor([1, 0.5])
        return persons.box_extents  # the box's side is 8

    assert of([2, 4, 5], [4, 4, 4], [0, 0, 0]) == 2
    assert of([2, 4, 5, 1, 1], [4, 4, 4, 1, 2], [0, 0, 0, 0, 0]) == 2  # who has fewer joints tells less
    assert of([2, 4, 5, 8, 8, 8], [4] * 6, [0, 0, 0, 1, 1, 1]) == of([2, 4, 5, 8, 8], [4] * 5, [0] * 5,
                                                                    [0, 0, 0, 1, 2]) == 2
    assert of([0, 4, 4], [4] * 3, [0] * 3) == 2 and of([0, 0], [1, 1], [0, 0]) is None


def test_fingerprints_tell_which_photographs_train_are_held_out_and_test(tmp_path):
    write(tmp_path)
    usual = load_persons(tmp_path, "train", CPU)
    test = load_persons(tmp_path, "test", CPU)
    assert (test.split, test.test_set) == (usual.split, usual.test_set) and usual.split != usual.test_set

    def of(**changes):
        write(tmp_path, **changes)
        persons = load_persons(tmp_path, "test", CPU)
        return persons.split, persons.test_set

    assert of(context=2) == of(seed=1) == (usual.split, usual.test_set)  # whatever the crops show
    split, test_set = of(train=DATASET["train"] | {"image": ["im0001.jpg", "im0002.jpg", "im00009.jpg"]})
    assert split != usual.split and test_set == usual.test_set
    split, test_set = of(test=DATASET["test"] | {"image": ["im0003.jpg", "im0009.jpg"]})
    assert split == usual.split and test_set != usual.test_set
    split, test_set = of(test=DATASET["test"] | {"source": ["lsp", "lspet"]})
    assert split == usual.split and test_set != usual.test_set
    arrays.save(tmp_path / "train_split.npy", np.array([1, 0, 0], np.uint8))
    write_digests(tmp_path)
    persons = load_persons(tmp_path, "test", CPU)
    assert persons.split != usual.split


def write_digests(folder):
    dataset = json.loads((folder / "dataset.json").read_text())
    arrays.save_json(folder / "dataset.json", dataset | {"digests": arrays.digests(folder)})


def test_the_split_of_given_photographs_keeps_its_fingerprint(tmp_path):
    """Checkpoints that were trained before hold it."""
    write(tmp_path)
    rows = b"lsp/im0001.jpg 0\nlsp/im0002.jpg 0\nlspet/im00001.jpg 1"
    split = load_persons(tmp_path, "train", CPU).split
    assert split == hashlib.sha256(rows).hexdigest()[:16]
    path = tmp_path / "dataset.json"  # varied copies of a person divide the persons as before
    dataset = json.loads(path.read_text())
    rows = dataset["train"] | {"image": ["im0001.jpg", "im0001.jpg", "im00001.jpg"], "copy": [0, 1, 0]}
    path.write_text(json.dumps(dataset | {"train": rows}))
    alone = hashlib.sha256(b"lsp/im0001.jpg 0\nlspet/im00001.jpg 1").hexdigest()[:16]
    assert load_persons(tmp_path, "train", CPU).split == alone


@pytest.mark.parametrize("name", arrays.PREPARED)
def test_an_array_of_another_preparation_is_refused(name, tmp_path):
    write(tmp_path)
    array = arrays.load(tmp_path / f"{name}.npy")
    array.reshape(-1)[-1] = 0 if name == "train_split" else 7
    arrays.save(tmp_path / f"{name}.npy", array)
    splits = ["train", "test"] if name == "train_split" else [name.split("_")[0]]
    for split in ("train", "test"):
        if split in splits:
            assert name in refused(UserError, "do not belong together", tmp_path, split)
        else:
            load_persons(tmp_path, split, CPU)  # only what is used is looked at


def test_arrays_prepared_with_another_context_are_refused(raw_dir, tmp_path):
    for context in ("1.5", "1.6"):
        lsp_data.main(["--raw-dir", str(raw_dir), "--train-on", "lsp", "--crop-size", "32", "--lsp-train-images", "30",
                       "--workers", "1", "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "runs"),
                       "--context", context])
        load_persons(tmp_path, "train", CPU)
        if context == "1.5":
            older = (tmp_path / "dataset.json").read_bytes()
    (tmp_path / "dataset.json").write_bytes(older)
    refused(UserError, "do not belong together", tmp_path)


@pytest.mark.parametrize("name", [*arrays.PREPARED, "dataset"])
def test_a_missing_or_broken_file_is_refused(name, tmp_path):
    write(tmp_path)
    split = "test" if name.startswith("test") else "train"
    path = tmp_path / (f"{name}.npy" if name != "dataset" else "dataset.json")
    path.write_bytes(path.read_bytes()[:-3])
    assert path.name in refused(Failure, "can't be read", tmp_path, split)
    path.unlink()
    assert path.name in refused(UserError, "not found", tmp_path, split)


def test_an_older_versions_dataset_is_refused(tmp_path):
    write(tmp_path)
    arrays.save_json(tmp_path / "dataset.json", DATASET)
    refused(UserError, "dataset.json was written by an older version", tmp_path)


BAD = {  # where in dataset.json, what stands there
    "no data set": (["dataset"], WITHOUT), "an empty data set": (["dataset"], ""), "a list as data set":
    (["dataset"], ["lsp"]), "no skeleton": (["skeleton"], WITHOUT), "a list as skeleton": (["skeleton"], []),
    "no joints": (["skeleton", "joints"], WITHOUT), "no joint": (["skeleton", "joints"], []), "other joints":
    (["skeleton", "joints"], ["head", "tail"]), "a joint twice": (["skeleton", "joints"], [*LSP.joints, "neck"]),
    "a joint more": (["skeleton", "joints"], [*LSP.joints, "tail"]), "joints are a number":
    (["skeleton", "joints"], 14),
    "a joint is a number": (["skeleton", "joints"], [*LSP.joints[1:], 3]), "a pair of one": (["skeleton", "pairs"],
    [["r_knee"]]), "a pair of strangers": (["skeleton", "pairs"], [["r_knee", "tail"]]), "a joint in two pairs":
    (["skeleton", "pairs"], [["r_knee", "l_knee"], ["r_knee", "l_hip"]]), "a limb of three ends":
    (["skeleton", "limbs", "head"], [["neck"], ["neck"], ["head_top"]]), "a limb's end is nothing":
    (["skeleton", "limbs", "head"], [["neck"], []]), "limbs are a list": (["skeleton", "limbs"], ["head"]),
    "an unknown paper limb": (["skeleton", "paper_limbs"], ["tail"]), "groups are a text":
    (["skeleton", "groups"], "x"),
    "a diameter of one end": (["skeleton", "diameter"], ["neck"]), "no head": (["skeleton", "head"], WITHOUT),
    "the lower half is a number": (["skeleton", "lower"], 3),
    "no crop size": (["crop_size"], WITHOUT), "crop size 0": (["crop_size"], 0), "crop size is a text":
    (["crop_size"], "8"), "crop size is true": (["crop_size"], True), "crop size is half": (["crop_size"], 8.5),
    "another crop size": (["crop_size"], 16), "no context": (["context"], WITHOUT), "context 0": (["context"], 0),
    "context below 1": (["context"], 0.99), "negative context": (["context"], -1.5), "context is a text":
    (["context"], "1.5"), "context is null": (["context"], None), "context is true": (["context"], True),
    "endless context": (["context"], 1e300), "enormous context": (["context"], 10 ** 400), "no train": (["train"],
    WITHOUT), "train is a list": (["train"], ["im0001.jpg"]), "train is null": (["train"], None), "no test":
    (["test"], WITHOUT), "test is a number": (["test"], 2), "no images": (["train", "image"], WITHOUT),
    "images are a text": (["train", "image"], "im0001.jpg"), "images are numbers": (["train", "image"], [1, 2, 3]),
    "an image is null": (["train", "image"], ["a", "b", None]), "images are lists": (["test", "image"], [["a"], ["b"]]),
    "images are an object": (["train", "image"], {"a": 1, "b": 2, "c": 3}), "an image too few": (["train", "image"],
    ["a", "b"]), "an image too many": (["test", "image"], ["a", "b", "c"]), "half a character": (["train", "image"],
    ["a", "b", "\ud800"]), "no sources": (["train", "source"], WITHOUT), "sources are numbers": (["train", "source"],
    [1, 2, 3]), "a source too many": (["train", "source"], ["lsp"] * 4), "sources are null": (["test", "source"], None),
    "no duplicates": (["test_duplicates"], WITHOUT), "duplicates are a number": (["test_duplicates"], 3),
    "duplicates are rows": (["test_duplicates"], [1]), "a duplicate without a row": (["test_duplicates"], [{}]),
    "a duplicate beyond the end": (["test_duplicates"], [{"test_row": 2}]), "a negative duplicate":
    (["test_duplicates"], [{"test_row": -1}]), "half a duplicate": (["test_duplicates"], [{"test_row": 0.5}]),
    "a true duplicate": (["test_duplicates"], [{"test_row": True}]),
    "a duplicate by name": (["test_duplicates"], [{"test_row": "im0004.jpg"}]),
    "no channels": (["pixels", "channels"], WITHOUT), "pixels are a list": (["pixels"], []), "two channels": (["pixels",
    "channels"], 2), "7 bits": (["pixels", "bits"], 7), "bits are a list": (["pixels", "bits"], [8]),
    "bits with a point": (["pixels", "bits"], 8.0), "no deviation": (["pixels", "deviation"], [1, 1, 0]),
    "one mean": (["pixels", "mean"], [1]), "a mean beyond all": (["pixels", "mean"], [1, 2, 300]), "a box is a list":
    (["box"], ["image"]), "curves to nowhere": (["pdj_to"], 0), "coco is a text": (["coco"], "a"),
    "no command": (["prepare"], 3), "a command of two lines": (["prepare"], "a\nb"),
    "digests are null": (["digests"], None), "digests are a list": (["digests"], ["0" * 16]),
    "no digest of images": (["digests", "train_images"], WITHOUT),
}


def with_value(dataset, place, value):
    dataset = copy.deepcopy(dataset)
    *outer, last = place
    inner = dataset
    for name in outer:
        inner = inner[name]
    if value is WITHOUT:
        del inner[last]
    else:
        inner[last] = value
    return dataset


@pytest.mark.parametrize("place, value", BAD.values(), ids=BAD)
def test_a_dataset_json_of_the_wrong_form_is_told_in_a_line(place, value, tmp_path):
    write(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(with_value(json.loads(path.read_text()), place, value)))
    split = "test" if place[0] == "test" else "train"
    assert "dataset.json" in refused(Failure, f"{place[0]}|crop size", tmp_path, split)


@pytest.mark.parametrize("value", [None, 5, ["x"], "0" * 16], ids=str)
def test_a_digest_of_another_kind_is_no_arrays(value, tmp_path):
    write(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(with_value(json.loads(path.read_text()), ["digests", "train_boxes"], value)))
    refused(UserError, "train_boxes.npy and dataset.json beside it do not belong together", tmp_path)


@pytest.mark.parametrize("name, array", [
    ("train_labels", np.zeros((3, 16, 2), np.float32)), ("train_labels", np.zeros((2, 14, 2), np.float32)),
    ("train_images", np.zeros((3, 9, 9, 3), np.uint8)), ("train_images", np.zeros((4, 8, 8, 3), np.uint8)),
    ("train_boxes", np.ones((1, 3), np.float32)), ("train_head_sizes", np.ones(30, np.float32)),
    ("train_split", np.ones(2, np.uint8)),
], ids=lambda it: it if isinstance(it, str) else "x".join(map(str, it.shape)))
def test_arrays_of_other_rows_joints_or_size_are_refused(name, array, tmp_path):
    write(tmp_path)
    arrays.save(tmp_path / f"{name}.npy", array)
    write_digests(tmp_path)
    refused(Failure, "not of the rows, joints, crop size", tmp_path)
    if name == "train_split":
        refused(Failure, "not of the rows, joints, crop size", tmp_path, "test")
    else:
        load_persons(tmp_path, "test", CPU)


def test_facts_beyond_those_that_scripts_use_may_change(tmp_path):
    write(tmp_path, more={"later": "versions"})
    assert load_dataset(tmp_path / "dataset.json")["more"] == {"later": "versions"}


def test_crops_of_one_channel_and_sixteen_bits_keep_all_of_them(tmp_path):
    write(tmp_path)
    deep = {split: np.random.default_rng(1).integers(0, 2 ** 16, (count, 8, 8, 1)).astype(np.uint16)
            for split, count in (("train", 3), ("test", 2))}
    for split, images in deep.items():
        arrays.save(tmp_path / f"{split}_images.npy", images)
    pixels = Pixels(1, 16, (20000.0,), (300.0,))
    arrays.save_json(tmp_path / "dataset.json", DATASET | {"pixels": pixels.plain(), "prepare": "python own_data.py",
                                                           "digests": arrays.digests(tmp_path)})
    persons = load_persons(tmp_path, "train", CPU)
    assert persons.pixels == pixels and persons.prepare == "python own_data.py"
    assert np.array_equal(persons.crops.numpy().view(np.uint16), deep["train"])
    arrays.save_json(tmp_path / "dataset.json", DATASET | {"digests": arrays.digests(tmp_path)})
    with pytest.raises(Failure, match="crop size and pixels"):
        load_persons(tmp_path, "train", CPU)
