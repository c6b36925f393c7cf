"""Step 1 for MPII Human Pose: turn its images and annotations into person crops, labels and splits.

Reads   data/raw/mpii/, or data/raw/ itself, where in it or up to two folders below lie
        mpii_human_pose_v1_u12_1.mat    the official annotations
        mpii_annotations.json           or: a list of persons (img_paths, joint_self, objpos, ..., isValidation)
        annot/train.json, valid.json    or: two lists of persons (image, center, scale, joints, joints_vis)
        annot/gt_valid.mat              head boxes of valid.json's persons, if it is there
        images/, images.zip or .tar
Writes  data/{train,test}_{images,labels,boxes,head_sizes}.npy, data/train_split.npy, data/dataset.json
        runs/dataset.png    crops with their joints, to see that the labels fit
Next    python train_stage1.py

The official split stands in the JSON files alone, so the persons come from one of these then; the .mat beside it adds
head boxes, the reference of PCKh, and films. For another split they come from the .mat where there is one. The joints
of its own test images are not published: test persons are always some of the others.
"""
from deeppose.errors import run  # first, so that Ctrl-C while the others load ends in a line

import os

import numpy as np

from deeppose import archives, stored_crops
from deeppose.claims import claimed
from deeppose.mpii_annotations import read_annotations
from deeppose.parallel import worker_map
from deeppose.preparing import both_splits, draw_test, hold_out, print_table, save_picture, survey, write
from deeppose.raw_files import find_images, named, raw_home
from deeppose.raw_persons import objects
from deeppose.settings import next_command, parse_settings
from deeppose.skeletons import LSP, Skeleton

RAW_DIR = "data/raw"    # folder of the raw data, or the one that holds it as mpii/
DATA_DIR = "data"       # folder for the arrays
RUN_DIR = "runs"        # folder for the picture of crops
SEED = 0                # 0 ... 4294967295: seed of the splits
SPLIT = "official"      # official | full | share: test persons are the usual validation list, FULL_SPLIT's, or a share
FULL_SPLIT = (17928, 1991)  # 1 ... 1000000: training and test persons among those with all joints, or their ratio
TEST_SHARE = 0.1        # 0.001 ... 0.9: of all persons with joints, test persons where SPLIT is share
VALIDATION_SHARE = 0.1  # 0.001 ... 0.9: of the other persons, held out for validation
PERSONS = "all"         # all | single: every annotated person, or those who stand apart from others, as the .mat tells
BOXES = "person"        # person | joints: a box comes from objpos and scale, or from the true joints, at test as well
SCALE_PX = 200.0        # 1.0 ... 10000: a person's height where scale is 1, pixels
BOX_EXTENSION = 1.25    # 0.1 ... 10: side of a box, in persons' heights, or in joint extents
BOX_DOWN = 15.0         # -1000.0 ... 1000: box centre below objpos where scale is 1, pixels; others have it, too
LEAST_EXTENT = 0.5      # 0.0 ... 1: joint extent taken at least for persons with missing joints, in their heights
CROP_SIZE = 256         # 16 ... 4096: side of a stored crop, pixels
CONTEXT = 1.5           # 1.0 ... 10: side of a stored crop, in box sides: room for turning, scaling and shifting
LARGEST_UNREADABLE = 0.01  # 0.0 ... 1: share of persons with unreadable images or annotations above which the run stops
WORKERS = 0             # 0 ... 61: processes that decode; 0 = one for each core

MPII = Skeleton(
    joints=("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "neck", "head_top",
            "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist"),
    pairs=LSP.pairs, limbs=LSP.limbs, paper_limbs=LSP.paper_limbs,
    groups=LSP.groups | {"trunk": ("pelvis", "thorax")},
    diameter=LSP.diameter,  # no head: its size comes from the annotated box
    lower=(*LSP.lower, "pelvis"),
    unscored=("pelvis", "thorax"))

def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.data_dir, "arrays"), claimed(settings.run_dir, "picture of crops"):
        prepare(settings)
    print(next_command(globals(), settings, "train_stage1.py"))


def prepare(settings):
    """Read the raw data, write arrays and picture, and print what was found."""
    home = raw_home(settings.raw_dir, "mpii")
    annotated, sources = read_annotations(home, settings.split == "official", settings.persons == "single")
    generator = np.random.default_rng(settings.seed)
    split(annotated, settings, generator)
    persons = locate(annotated, *find_images(home, "images"), settings)
    with worker_map(settings.workers if len(persons) > 400 else 1) as parallel:
        found = survey(persons, MPII, settings.largest_unreadable, parallel, annotated.lost)
        persons = found.persons
        groups = group(persons.image, annotated.films)
        held_out = hold_out(persons, groups, settings.validation_share, generator)
        box = fill_boxes(persons, settings)
        splits = both_splits(persons)
        beside = int(np.isin(groups[~persons.test], groups[persons.test]).sum())
        write(settings.data_dir, persons, splits, held_out, MPII, found.pixels, settings.crop_size, settings.context,
              parallel, groups, dataset="mpii", prepare="python mpii_data.py", box=box, settings=vars(settings),
              unreadable=found.unreadable, left_out=annotated.left_out, train_persons_in_films_of_test_persons=beside,
              sources={os.path.realpath(source): archives.sha256_of(source) for source in sources})
    picture = save_picture(settings.run_dir, settings.data_dir, persons, splits, MPII)
    print_table(persons, found.unreadable, splits, held_out, {"mpii": "MPII"})
    print(f"\nannotations: {' and '.join(os.path.realpath(source) for source in sources)}")
    for why, count in annotated.left_out.items():
        print(f"left out: {count:,} {why}")
    print(f"box: {box}")
    if beside:
        print(f"{beside:,} training persons are in films of test persons")
    for title, side in (("train and validation", ~persons.test), ("test", persons.test)):
        if unknown := np.isnan(persons.head_sizes[side]).sum():
            print(f"{title}: {unknown:,} of {side.sum():,} persons have no head box and count in no PCKh")
    print(f"arrays in {settings.data_dir}, crops with their joints in {picture}: see that they fit")


def split(annotated, settings, generator):
    """Choose the test persons, and leave out those who are on neither side."""
    if settings.split == "official":
        persons = annotated.persons
        beside = np.isin(persons.image, persons.image[persons.test]) & ~persons.test
        annotated.keep(~beside, "training persons in images of test persons")
        return
    share, setting = settings.test_share, "--test-share"
    if settings.split == "full":
        complete = ~np.isnan(annotated.persons.joints).any((1, 2))
        annotated.keep(complete, "persons without some of the joints")
        share, setting = settings.full_split[1] / sum(settings.full_split), "--full-split"
    persons = annotated.persons
    persons.test = draw_test(group(persons.image, annotated.films), share, generator, setting)


def group(images, films):
    """Who must stay on one side: the persons of a film, where it is known, or of an image. Returns (N,) int."""
    return np.unique([f"film {films[image]}" if image in films else f"image {image}" for image in images],
                     return_inverse=True)[1]


def locate(annotated, path, within, settings):
    """RawPersons whose image is there, each image's together, with boxes where they are told.

    path, within  see raw_files.find_images; whose image is not there goes to annotated.lost
    """
    members, faults = named(path, annotated.persons.image, within)
    annotated.lost += [{"source": "mpii", "image": image, "reason": fault}
                       for image, fault in zip(annotated.persons.image, faults) if fault]
    first = {}
    order = np.array([first.setdefault(image, len(first)) for image in annotated.persons.image], int)
    rows = np.array([row for row in np.argsort(order, kind="stable") if members[row]], int)
    persons, (x, y, scale) = annotated.persons.chosen(rows), annotated.place[rows].T
    persons.path = objects([str(path)] * len(rows))
    persons.member = objects([members[row] for row in rows])
    sides = settings.scale_px * settings.box_extension * scale
    centres = np.column_stack([x, y + settings.box_down * scale]) + 0.5  # -> edges
    persons.boxes = np.column_stack([centres - sides[:, None] / 2, sides])
    if settings.boxes == "joints":
        persons.boxes[:, :2] = np.nan  # of what is told the side alone counts, see fill_boxes
    return persons


def fill_boxes(persons, settings):
    """Boxes from the joints for those who shall have them or whose objpos or scale is not told.

    Returns  a sentence on what the boxes are
    """
    told = np.isfinite(persons.boxes[:, 2])
    by_joints = ~told | (settings.boxes == "joints")
    usual = np.median(stored_crops.extents(persons.joints))
    least = settings.least_extent * np.where(told, persons.boxes[:, 2] / settings.box_extension, usual)
    persons.boxes[by_joints] = stored_crops.joint_boxes(persons.joints[by_joints], persons.sizes[by_joints],
                                                        settings.box_extension, np.maximum(least[by_joints], 1))
    if settings.boxes == "joints":
        return f"from the annotated joints, {settings.box_extension:g} extents"
    others = int(by_joints[persons.test].sum())
    return (f"{settings.scale_px:g} x scale x {settings.box_extension:g} pixels, {settings.box_down:g} x scale pixels "
            "below objpos" + f"; of {others} test persons without these from the annotated joints" * (others > 0))


if __name__ == "__main__":
    run(main)
