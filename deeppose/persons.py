"""One split of the prepared data, ready for a device."""
import hashlib
import reprlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import arrays
from .errors import Failure, UserError
from .feeding import crops_fit, stream
from .pixels import RGB, Pixels, pixels_of
from .skeletons import Skeleton, skeleton_of
from .stored_crops import extents

FIRST = f"{arrays.PREPARE}, or the step 1 of another data set"


class Crops:
    """Stored crops that networks look at, of prepared persons or of anybody's photographs.

    Has  crops     (N, S, S, C) uint8, or int16 that holds the bits of uint16
         context   side of a crop, in boxes
         pixels    Pixels of the crops
         skeleton  Skeleton of the persons on them
         device    where they are looked at
         streamed  whether batches are gathered in the background, ahead of the step that needs them
    """

    def crop_batches(self, batches):
        """Where each of a sequence of batches of row indices (B,) finds its crops.

        Yields  crops (M, S, S, C) on the device, and the batch's rows (B,) in them; valid until the next
        """
        if not self.streamed:
            return ((self.crops, rows) for rows in batches)
        return ((crops, torch.arange(len(crops), device=self.device))
                for crops in stream(self.crops, batches, self.device))

    def boxes_shown(self, rows):
        """What chosen persons' boxes show, without the context round them, for pictures.

        Returns  (M, B, B, C) numpy of the pixels' type; and the margin that was left out, crop pixels
        """
        margin = round((self.crop_size - self.box_side) / 2)
        shown = self.crops[list(rows), margin:-margin or None, margin:-margin or None]
        return shown.cpu().numpy().view(self.pixels.dtype), margin

    @property
    def crop_size(self):
        return self.crops.shape[1]

    @property
    def box_side(self):
        """Side of the box, crop pixels."""
        return self.crop_size / self.context


@dataclass
class LooseCrops(Crops):
    """Crops on the device, of nobody who was prepared."""
    crops: torch.Tensor
    context: float
    pixels: Pixels
    skeleton: Skeleton
    streamed = False

    @property
    def device(self):
        return self.crops.device


@dataclass
class Persons(Crops):
    """crops       as Crops has them: on the device, or mapped from the file
    joints_px   (N, J, 2) float32 on the device, crop pixels, NaN = not annotated
    head_sizes  (N,) float32 numpy, crop pixels, NaN = none
    held_out    (N,) bool numpy, the validation persons (all False in the test split)
    sources     (N,) str numpy, the part of the data that each row comes from
    dataset     dataset.json
    split       fingerprint of which photographs train and which are held out, whatever the crops' size
    test_set    fingerprint of which photographs are test persons
    prepare     the command that prepared them
    """
    crops: torch.Tensor
    joints_px: torch.Tensor
    head_sizes: np.ndarray
    held_out: np.ndarray
    sources: np.ndarray
    skeleton: Skeleton
    context: float
    dataset: dict
    streamed: bool = False
    split: str = ""
    test_set: str = ""
    pixels: Pixels = RGB
    prepare: str = arrays.PREPARE

    @property
    def device(self):
        return self.joints_px.device

    @property
    def truth(self):
        """joints_px as numpy."""
        return self.joints_px.cpu().numpy()

    @property
    def groups(self):
        """Step 1's group of each training person, (N,) of numbers: near-duplicate photographs and a film's neighbouring
        frames share one. Older dataset.json do not tell them, and photographs' names (N,) stand for them."""
        return np.array(self.dataset.get("train_groups") or _photographs(self.dataset["train"]))

    @property
    def box_extents(self):
        """Median side of the training persons' boxes, in extents of their joints, of those who have as many joints
        annotated as the middle one has; None where those lie at one place."""
        rows = ~self.held_out & (np.array(self.dataset["train"].get("copy", np.zeros(len(self.held_out)))) == 0)
        known = np.isfinite(self.truth).all(2).sum(1)
        longer = extents(self.truth[rows & (known >= np.median(known[rows]))])
        return float(np.median(self.box_side / longer[longer > 0])) if longer.any() else None

    def parts(self, count):
        """Which of `count` parts of the training persons each belongs to, (N,) int of 1 ... count; 0 = a validation
        person. Who shares a group shares a part."""
        numbers = np.array([int(_fingerprint(str(name).encode()), 16) % count + 1 for name in self.groups])
        return np.where(self.held_out, 0, numbers)

    def parts_fingerprint(self, count):
        """Of who belongs to which of `count` parts."""
        return _fingerprint(self.parts(count).astype(np.int64).tobytes())

    @property
    def labels(self):
        """Fingerprint of the joints in crop pixels and of the split."""
        return _fingerprint(self.truth.tobytes() + self.held_out.tobytes())


def _fingerprint(content):
    return hashlib.sha256(content).hexdigest()[:16]


def load_persons(data_dir, split, device, images="auto"):
    """Read split "train" (training and validation persons) or "test".

    images  resident: on the device whole (on a CPU: mapped from the file); streamed: read ahead of each batch;
            auto: streamed where the device has not the memory, which is printed
    Raises  UserError where step 1 has not run, or the arrays are not those that dataset.json was written with; Failure
            where a file is broken
    """
    folder = Path(data_dir)
    dataset = load_dataset(folder / "dataset.json")
    read = {name: arrays.load(folder / f"{name}.npy", mmap=name.endswith("images"))
            for name in arrays.PREPARED if name.startswith(split) or name == "train_split"}
    for name, array in read.items():
        if arrays.digest(array) != dataset["digests"][name]:
            raise UserError(f"{(folder / name).resolve()}.npy and dataset.json beside it do not belong together; run "
                            f"again: {dataset['prepare']}")
    stored, labels = read[f"{split}_images"], read[f"{split}_labels"]
    crops = torch.from_numpy(stored.view(np.int16) if stored.dtype == np.uint16 else stored)  # torch has little uint16
    skeleton, pixels, sides = skeleton_of(dataset["skeleton"]), pixels_of(dataset["pixels"]), read["train_split"]
    expected = (len(dataset[split]["image"]), len(skeleton.joints), dataset["crop_size"], pixels.channels,
                pixels.dtype)
    if (*labels.shape[:2], crops.shape[1], crops.shape[3], stored.dtype) != expected \
            or len(sides) != len(dataset["train"]["image"]) \
            or any(len(array) != expected[0] for name, array in read.items() if name.startswith(split)):
        raise Failure(f"the {split} arrays in {folder.resolve()} are not of the rows, joints, crop size and pixels "
                      f"that dataset.json tells; run again: {dataset['prepare']}")
    held_out = sides == 1 if split == "train" else np.zeros(len(crops), bool)
    copies = dataset["train"].get("copy", [0] * len(sides))
    trained_on = [f"{photograph} {side}" for photograph, side, copy
                  in zip(_photographs(dataset["train"]), sides, copies) if copy == 0]
    streamed = images == "streamed" or images == "auto" and not crops_fit(crops, device)
    if device.type != "cpu":
        print(f"{split} images, {crops.nbytes / 1e9:.1f} GB: "
              + (f"streamed to {device} ahead of each batch" if streamed else f"resident on {device}"))
    return Persons(crops if streamed else crops.to(device), torch.from_numpy(labels).to(device),
                   read[f"{split}_head_sizes"], held_out, np.array(dataset[split]["source"]), skeleton,
                   dataset["context"], dataset, streamed, pixels=pixels, prepare=dataset["prepare"],
                   split=_fingerprint("\n".join(trained_on).encode()),
                   test_set=_fingerprint("\n".join(sorted(_photographs(dataset["test"]))).encode()))


def _photographs(rows):
    return [f"{source}/{image}" for source, image in zip(rows["source"], rows["image"])]


def load_dataset(path):
    """Read dataset.json: the facts that scripts take from it are of the types and values that step 1 gives them.

    Raises UserError where it is missing or an older version's, Failure where it is broken
    """
    # what older ones lack
    dataset = {"pixels": RGB.plain(), "prepare": arrays.PREPARE} | arrays.load_json(path, FIRST)
    if "digests" not in dataset:
        raise UserError(f"{path.resolve()} was written by an older version; run again: {arrays.PREPARE}")
    try:
        _check_dataset(dataset)
    except ValueError as error:
        raise Failure(f"{path.resolve()}: {error}; run again: {arrays.PREPARE}") from None
    return dataset


def _check_dataset(dataset):
    """Raise ValueError, in words, where a fact is not as step 1 writes it."""
    def expect(fact, value, holds, expected):
        if not holds:
            raise ValueError(f"{fact} is {reprlib.repr(value)}, expected {expected}")

    name, prepare, crop_size, context, pairs, digests = map(dataset.get, (
        "dataset", "prepare", "crop_size", "context", "test_duplicates", "digests"))
    expect("dataset", name, isinstance(name, str) and name, "a name")
    expect("prepare", prepare, isinstance(prepare, str) and prepare.isprintable() and prepare, "a command")
    skeleton_of(dataset.get("skeleton"))
    pixels_of(dataset["pixels"])
    expect("crop_size", crop_size, _is_count(crop_size) and crop_size > 0, "a number of pixels")
    expect("context", context, type(context) in (int, float) and 1 <= context <= 100, "a number of 1 ... 100")
    for split in ("train", "test"):
        rows = dataset.get(split)
        expect(split, rows, isinstance(rows, dict), "an object")
        for column in ("source", "image"):
            names = rows.get(column)
            expect(f"{split}'s {column}", names, isinstance(names, list) and _are_texts(names), "a list of names")
        expect(f"{split}'s number of images", len(rows["image"]), len(rows["image"]) == len(rows["source"]),
               f"{len(rows['source'])}, as of sources")
    groups = dataset.get("train_groups", dataset["train"]["image"])  # which older ones do not tell
    expect("train_groups", groups, isinstance(groups, list) and len(groups) == len(dataset["train"]["image"])
           and ("train_groups" not in dataset or all(map(_is_count, groups))), "a number for each training image")
    expect("test_duplicates", pairs, isinstance(pairs, list), "a list")
    for pair in pairs:
        row = pair.get("test_row") if isinstance(pair, dict) else None
        expect("a test_row among test_duplicates", row, _is_count(row) and row < len(dataset["test"]["image"]),
               f"below {len(dataset['test']['image'])}")
    box, farthest, coco = dataset.get("box", ""), dataset.get("pdj_to", 0.5), dataset.get("coco", {})
    expect("box", box, isinstance(box, str), "a sentence")
    expect("pdj_to", farthest, type(farthest) in (int, float) and 0.05 <= farthest <= 1, "a number of 0.05 ... 1")
    expect("coco", coco, isinstance(coco, dict), "an object")
    expect("digests", digests, isinstance(digests, dict) and digests.keys() >= set(arrays.PREPARED),
           f"one of each of {len(arrays.PREPARED)} arrays")


def _is_count(value):
    return type(value) is int and value >= 0  # a bool is none


def _are_texts(values):
    try:
        "".join(values).encode()
    except (TypeError, UnicodeEncodeError):
        return False
    return True
