"""Step 1 for Look Into Person: turn its images and annotations into person crops, labels and splits.

Reads   data/raw/lip/, or data/raw/ itself, where in it or up to two folders below lie
        lip_train_set.csv, lip_val_set.csv    a line an image: name.jpg, then x, y, v of each of 16 joints
        train_images/, val_images/            each a folder, zip or tar, or such a folder in a zip or tar
Writes  data/{train,test}_{images,labels,boxes,head_sizes}.npy, data/train_split.npy, data/dataset.json
        runs/dataset.png    crops with their joints, to see that the labels fit
Next    python train_stage1.py

Its validation set has the test persons here, since the joints of its test set are not published. Coordinates count from
0; v is 0 where a joint is visible, 1 where it is hidden, and nan where it is not annotated.
"""
from deeppose.errors import Failure, run  # first, so that Ctrl-C while the others load ends in a line

import os
from pathlib import PurePosixPath

import numpy as np

from deeppose import archives, stored_crops
from deeppose.claims import claimed
from deeppose.parallel import worker_map
from deeppose.preparing import both_splits, hold_out, print_table, save_picture, survey, write
from deeppose.raw_files import find_images, located, named, raw_home
from deeppose.raw_persons import RawPersons, objects
from deeppose.settings import next_command, parse_settings
from deeppose.skeletons import LSP, Skeleton

RAW_DIR = "data/raw"    # folder of the raw data, or the one that holds it as lip/
DATA_DIR = "data"       # folder for the arrays
RUN_DIR = "runs"        # folder for the picture of crops
TRAIN_ANNOTATIONS = "lip_train_set.csv"  # name of the file
TEST_ANNOTATIONS = "lip_val_set.csv"  # name of the file
TRAIN_IMAGES = "train_images"  # name of the folder, zip or tar, without .zip or .tar
TEST_IMAGES = "val_images"  # name of the folder, zip or tar, without .zip or .tar
SEED = 0                # 0 ... 4294967295: seed of the validation split
VALIDATION_SHARE = 0.1  # 0.001 ... 0.9: of the training persons, held out for validation
CROP_SIZE = 256         # 16 ... 4096: side of a stored crop, pixels
CONTEXT = 1.5           # 1.0 ... 10: side of a stored crop, in box sides; round a whole image is nothing, and 1 will do
LARGEST_UNREADABLE = 0.01  # 0.0 ... 1: share of absent, unreadable or misannotated images above which the run stops
WORKERS = 0             # 0 ... 61: processes that decode; 0 = one for each core

LIP = Skeleton(
    joints=("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "spine", "neck", "head",
            "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist"),
    pairs=LSP.pairs, limbs=LSP.limbs | {"head": (("neck",), ("head",))}, paper_limbs=LSP.paper_limbs,
    groups=LSP.groups | {"head": ("neck", "head"), "trunk": ("pelvis", "spine")},
    diameter=LSP.diameter, head=("neck", "head"), lower=(*LSP.lower, "pelvis"), unscored=("pelvis", "spine"))


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.data_dir, "arrays"), claimed(settings.run_dir, "picture of crops"):
        prepare(settings)
    print(next_command(globals(), settings, "train_stage1.py"))


def prepare(settings):
    """Read the raw data, write arrays and picture, and print what was found."""
    home = raw_home(settings.raw_dir, "lip")
    parts = [(located(home, getattr(settings, f"{split}_annotations"), f"{split}-annotations"),
              *find_images(home, getattr(settings, f"{split}_images"), f"{split}-images"), split == "test")
             for split in ("train", "test")]
    persons, absent = list_persons(parts)
    with worker_map(settings.workers if len(persons) > 400 else 1) as parallel:
        found = survey(persons, LIP, settings.largest_unreadable, parallel, absent)
        persons = found.persons
        groups = group(persons.image)
        held_out = hold_out(persons, groups, settings.validation_share, np.random.default_rng(settings.seed))
        persons.boxes = stored_crops.image_boxes(persons.sizes)  # the images are person crops by their authors
        splits = both_splits(persons)
        write(settings.data_dir, persons, splits, held_out, LIP, found.pixels, settings.crop_size, settings.context,
              parallel, groups, dataset="lip", prepare="python lip_data.py", box="the whole image squared",
              settings=vars(settings), unreadable=found.unreadable,
              sources={os.path.realpath(path): archives.sha256_of(path) for path, *_ in parts})
    picture = save_picture(settings.run_dir, settings.data_dir, persons, splits, LIP)
    print_table(persons, found.unreadable, splits, held_out, {"lip": "LIP"})
    print(f"\narrays in {settings.data_dir}, crops with their joints in {picture}: see that they fit")


def group(images):
    """Who must stay on one side: those of one photograph, whose number stands before "_". Returns (N,) int."""
    return np.unique([PurePosixPath(image).stem.split("_")[0] for image in images], return_inverse=True)[1]


def list_persons(parts):
    """RawPersons, a row an image, and a list of {source, image, reason} for images that are absent.

    parts  list of (annotations, path and within of raw_files.find_images, whether they are for tests)
    """
    rows, absent = [], []
    for annotations, path, within, test in parts:
        images, joints = zip(*read(annotations))
        for image, pose, member, fault in zip(images, joints, *named(path, images, within)):
            if member:
                rows.append((str(path), member, image, pose, test))
            else:
                absent.append({"source": "lip", "image": image, "reason": fault})
    path, member, image, joints, test = zip(*rows) if rows else [()] * 5
    joints = np.array(joints, float).reshape(-1, len(LIP.joints), 2)
    neck, top = (joints[:, LIP.index(name)] for name in LIP.head)
    return RawPersons(
        source=np.full(len(rows), "lip"), path=objects(path), member=objects(member), image=objects(image),
        joints=joints, test=np.array(test, bool), boxes=np.full((len(rows), 3), np.nan),
        head_sizes=np.linalg.norm(neck - top, axis=1), person=np.zeros(len(rows), int)), absent


def read(path):
    """An annotation file: yields file name, joints (16, 2), pixels from 0, NaN = not annotated. Raises Failure."""
    count, first = 3 * len(LIP.joints), {}
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            name, *values = (value.strip() for value in line.split(","))
            if not name and not values:
                continue
            where = f"{os.path.realpath(path)}: line {number}"
            if len(values) != count and (len(values) != count + 1 or values[-1]):  # a last comma may be there
                raise Failure(f"{where} has {1 + len(values)} columns, expected {1 + count}: name.jpg, then x, y, v of "
                              f"{len(LIP.joints)} joints; correct it, or get the file anew")
            image = PurePosixPath(name).name
            if not image.lower().endswith(archives.IMAGE_SUFFIXES):
                raise Failure(f"{where} begins with {ascii(name[:80])}, expected the name of an image; correct it, or "
                              "get the file anew")
            if first.setdefault(image, number) != number:
                raise Failure(f"{where} is of {image}, as line {first[image]} is; leave one of them there")
            table = np.array([_number(value, where) for value in values[:count]]).reshape(-1, 3)
            if not np.isin(visible := table[~np.isnan(table[:, 2]), 2], (0, 1, -1)).all():
                odd = visible[~np.isin(visible, (0, 1, -1))][0]
                raise Failure(f"{where} has a v of {odd:g}, expected 0 (visible), 1 (hidden), or nan (not annotated); "
                              "correct it, or get the file anew")
            table[np.isnan(table).any(1) | (table[:, 2] == -1)] = np.nan
            yield image, table[:, :2]
    if not first:
        raise Failure(f"{os.path.realpath(path)} holds no line; get it anew")


def _number(text, where):
    try:
        return float(text or "nan")
    except ValueError:
        raise Failure(f"{where} has {ascii(text[:80])} where a number or nan should be; correct it, or get the file "
                      "anew") from None


if __name__ == "__main__":
    run(main)
