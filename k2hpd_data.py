"""Step 1 for K2HPD: turn its depth images into person crops of one channel, labels and splits.

Reads   data/raw/k2hpd/ or, where that is not there, data/raw/ itself:
        train_annos.txt, test_annos.txt    a line an image: name x,y,x,y,... of 15 points or more, the first 15 count
        depth_data/, depth_data.zip or .tar    the images, with the folders that their names begin with, or more
Writes  data/{train,test}_{images,labels,boxes,head_sizes}.npy, data/train_split.npy, data/dataset.json
        runs/dataset.png    crops with their joints, to see that the labels fit
Next    python train_stage1.py

Crops keep the images' bits, 8 or 16.
"""
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load ends in a line

import os
import re
import reprlib
from array import array

import numpy as np

from deeppose import archives, near_duplicates, stored_crops
from deeppose.claims import claimed
from deeppose.parallel import worker_map
from deeppose.preparing import both_splits, hold_out, print_table, save_picture, survey, write
from deeppose.raw_files import find_images, located, named, raw_home
from deeppose.raw_persons import RawPersons, objects
from deeppose.settings import next_command, parse_settings
from deeppose.skeletons import LSP, Skeleton

RAW_DIR = "data/raw"    # folder of the raw data, or the one that holds it as k2hpd/
DATA_DIR = "data"       # folder for the arrays
RUN_DIR = "runs"        # folder for the picture of crops
TRAIN = "train_annos.txt"  # the training images and their joints
TEST = "test_annos.txt"  # the test images and their joints
IMAGES = "depth_data"   # folder of the images, or zip or tar without its suffix
SEED = 0                # 0 ... 4294967295: seed of the validation split
FIRST_PIXEL = 0.0       # 0.0 ... 1: what the coordinates count the first pixel's centre as; undocumented, 0 is assumed
VALIDATION_SHARE = 0.1  # 0.001 ... 0.9: of the training images, held out for validation
BLOCK = 500             # 1 ... 1000000: neighbouring frames of a folder that are held out together, being nearly alike
BOXES = "image"         # image | joints: a person's box is the whole image, or comes from the true joints, at test too
BOX_EXTENSION = 1.5     # 0.1 ... 10: side of a box from the joints, in joint extents
LEAST_EXTENT = 0.5      # 0.0 ... 1: joint extent taken at least for persons with missing joints, in median extents
CROP_SIZE = 256         # 16 ... 4096: side of a stored crop, pixels
CONTEXT = 1.5           # 1.0 ... 10: side of a stored crop, in box sides; round a whole image is nothing, and 1 will do
LARGEST_UNREADABLE = 0.01  # 0.0 ... 1: share of absent, unreadable or misannotated images above which the run stops
WORKERS = 0             # 0 ... 61: processes that decode; 0 = one for each core

LIMBS = ("upper_arm", "lower_arm", "upper_leg", "lower_leg")
K2HPD = Skeleton(
    joints=("head", "neck", "spine", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist",
            "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle"),
    pairs=LSP.pairs,
    limbs={"head": (("head",), ("neck",)), "spine": (("neck",), ("spine",)),
           **{f"{side}_{limb}": LSP.limbs[f"{side}_{limb}"] for limb in LIMBS for side in "rl"}},
    paper_limbs=LSP.paper_limbs,
    groups=LSP.groups | {"head": ("head",), "trunk": ("neck", "spine")},
    diameter=("r_shoulder", "l_hip"),  # no head: its joint is the middle of it
    lower=LSP.lower)


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.data_dir, "arrays"), claimed(settings.run_dir, "picture of crops"):
        prepare(settings)
    print(next_command(globals(), settings, "train_stage1.py"))


def prepare(settings):
    """Read the raw data, write arrays and picture, and print what was found."""
    home = raw_home(settings.raw_dir, "k2hpd")
    annotations = [located(home, getattr(settings, flag), flag) for flag in ("train", "test")]
    images = find_images(home, settings.images, "images")
    persons, lost = list_persons(annotations, *images, settings.first_pixel)
    with worker_map(settings.workers if len(persons) > 400 else 1) as parallel:
        found = survey(persons, K2HPD, settings.largest_unreadable, parallel, lost, channels=1)
        persons = found.persons
        groups = group(persons, settings.block)
        try:
            held_out = hold_out(persons, groups, settings.validation_share, np.random.default_rng(settings.seed))
        except UserError as error:
            raise UserError(f"{error}, or choose a smaller --block") from None
        persons.boxes, box = find_boxes(persons, settings)
        splits = both_splits(persons)
        write(settings.data_dir, persons, splits, held_out, K2HPD, found.pixels, settings.crop_size, settings.context,
              parallel, groups, dataset="k2hpd", prepare="python k2hpd_data.py", box=box, settings=vars(settings),
              unreadable=found.unreadable, pdj_to=0.75,  # to where others draw their PDJ curves here
              sources={os.path.realpath(path): archives.sha256_of(path) for path in annotations})
    picture = save_picture(settings.run_dir, settings.data_dir, persons, splits, K2HPD)
    print_table(persons, found.unreadable, splits, held_out, {"k2hpd": "K2HPD"})
    print(f"\ndepth: {found.pixels.bits} bits, mean {found.pixels.mean[0]:.0f} ± {found.pixels.deviation[0]:.0f} over "
          "the training images")
    print(f"validation: {len(set(groups[held_out]))} of {len(set(groups[~persons.test]))} blocks of up to "
          f"{settings.block} neighbouring frames")
    print(f"arrays in {settings.data_dir}, crops with their joints in {picture}: see that they fit")


def group(persons, frames):
    """Number what must stay together, (N,) int: blocks of neighbouring training images; each test image by itself."""
    groups = np.empty(len(persons), int)
    groups[~persons.test] = near_duplicates.blocks(persons.image[~persons.test], frames)
    groups[persons.test] = groups[~persons.test].max() + 1 + np.arange(persons.test.sum())
    return groups


def find_boxes(persons, settings):
    """Each person's box (N, 3) by its outer edges in the image, and a sentence on it."""
    if settings.boxes == "image":
        return stored_crops.image_boxes(persons.sizes), "the whole image squared"
    least = settings.least_extent * np.median(stored_crops.extents(persons.joints)[~persons.test])
    return (stored_crops.joint_boxes(persons.joints, persons.sizes, settings.box_extension, least),
            f"from the annotated joints x {settings.box_extension:g}")


def list_persons(annotations, images, within, first_pixel):
    """All persons in order of the two files, a row an image; those of the training file first.

    annotations  paths of the training and the test file
    images       path of the folder, zip or tar of images; within: what their names in there begin with
    first_pixel  what the coordinates count the first pixel's centre as
    Returns      RawPersons, and a list of {source, image, reason} for lines without an image of their own
    Raises       Failure where a file is no such list
    """
    (train, train_joints), (test, test_joints) = map(read_annotations, annotations)
    names = [*train, *test]
    is_test = np.arange(len(names)) >= len(train)
    members, faults = named(images, names, within)
    first = {}
    for row in (*np.flatnonzero(is_test), *np.flatnonzero(~is_test)):  # what both files name is a test image
        if members[row] and first.setdefault(members[row], row) != row:
            faults[row] = "a test image, too" if is_test[first[members[row]]] > is_test[row] else "named twice"
    kept = np.array([fault is None for fault in faults])
    count = int(kept.sum())
    persons = RawPersons(
        source=np.full(count, "k2hpd"), path=objects([str(images)] * count),
        member=objects([member for member, fault in zip(members, faults) if fault is None]),
        image=objects([name for name, fault in zip(names, faults) if fault is None]),
        joints=np.concatenate([train_joints, test_joints])[kept] - first_pixel, test=is_test[kept],
        boxes=np.full((count, 3), np.nan), head_sizes=np.full(count, np.nan), person=np.zeros(count, int))
    return persons, [{"source": "k2hpd", "image": name, "reason": fault}
                     for name, fault in zip(names, faults) if fault]


def read_annotations(path):
    """K2HPD's list of images.

    Returns  names, a list of N str with / between folders; joints (N, 15, 2) float64 as they stand there, NaN where
             the file has nan
    Raises   Failure for a line that is none
    """
    names, numbers = [], array("d")
    with open(path, "rb") as file:
        for count, line in enumerate(file, 1):
            line = line.replace(b"\0", b"").strip()
            if not line:
                continue
            try:
                name, joints = _read_line(line)
            except ValueError as error:
                raise Failure(f"{os.path.realpath(path)}, line {count}: {error}, expected an image's name and "
                              f"{len(K2HPD.joints)} points, as in: name.png x,y,x,y,...; get the file anew") from None
            names.append(name)
            numbers.extend(joints)
    if not names:
        raise Failure(f"{os.path.realpath(path)} holds no line, expected: name.png x,y,x,y,...; get the file anew")
    joints = np.array(numbers).reshape(-1, len(K2HPD.joints), 2)  # (N * 30,) -> (N, 15, 2)
    joints[np.isnan(joints).any(2)] = np.nan
    return names, joints


def _read_line(line):
    """An image's name and the first 30 numbers behind it. Raises ValueError, in words."""
    # a name ends in a suffix and may hold spaces, or has none
    found = re.fullmatch(r"(.+?\.\w+|\S+)[ \t]+([-+\d.][^\s,/]*[ \t]*(?:,.*)?|nan.*)", line.decode("utf-8-sig"),
                         re.IGNORECASE)
    if not found:
        raise ValueError(f"it reads {reprlib.repr(line.decode())}")
    name, rest = found.groups()
    fields = rest.rstrip(", \t").split(",", 2 * len(K2HPD.joints))[:2 * len(K2HPD.joints)]
    if len(fields) < 2 * len(K2HPD.joints):
        raise ValueError(f"{name} has {len(fields)} numbers")
    try:
        return name.replace("\\", "/").removeprefix("./").lstrip("/"), list(map(float, fields))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


if __name__ == "__main__":
    run(main)
