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
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load ends in a line

import json
import math
import os
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from deeppose import archives, matlab, stored_crops
from deeppose.archives import Unreadable
from deeppose.claims import claimed
from deeppose.parallel import worker_map
from deeppose.preparing import hold_out, originals, print_table, save_picture, survey, write
from deeppose.raw_files import find, find_images, raw_home
from deeppose.raw_persons import RawPersons, objects
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
SCALE_PX = 200.0        # 1 ... 10000: a person's height where scale is 1, pixels
BOX_EXTENSION = 1.25    # 0.1 ... 10: side of a box, in persons' heights, or in joint extents
BOX_DOWN = 15.0         # -1000 ... 1000: box centre below objpos where scale is 1, pixels; others' systems have it, too
LEAST_EXTENT = 0.5      # 0 ... 1: joint extent taken at least for persons with missing joints, in their heights
CROP_SIZE = 256         # 16 ... 4096: side of a stored crop, pixels
CONTEXT = 1.5           # 1 ... 10: side of a stored crop, in box sides: room for turning, scaling and shifting
LARGEST_UNREADABLE = 0.01  # 0 ... 1: share of persons with unreadable images or annotations above which the run stops
WORKERS = 0             # 0 ... 61: processes that decode; 0 = one for each core

MPII = Skeleton(
    joints=("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "neck", "head_top",
            "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist"),
    pairs=LSP.pairs, limbs=LSP.limbs, paper_limbs=LSP.paper_limbs,
    groups=LSP.groups | {"trunk": ("pelvis", "thorax")},
    diameter=LSP.diameter,  # no head: its size comes from the annotated box
    lower=(*LSP.lower, "pelvis"),
    unscored=("pelvis", "thorax"))

# head size in diagonals of the head box, as in MPII's own evaluation
HEAD_FACTOR = 0.6
OFFICIAL_FIELDS = {"annolist": ("image", "annorect", "vididx", "vidx"), "img_train": None, "single_person": None}
APART = "persons who do not stand apart from others"
LISTS = ("mpii_annotations.json", "annot/train.json", "annot/valid.json")
JSON_KEYS = ("img_paths", "image", "joint_self", "joints", "joints_vis", "objpos", "center", "scale_provided", "scale",
             "isValidation", "headbox", "headboxes", "head_size")
# of a JSON file, bytes
LARGEST_JSON = 1 << 30


@dataclass
class Annotated:
    """What files of annotations tell of the persons who have joints.

    persons   RawPersons, N of them, whose `test` is True on the official validation list; no boxes nor paths yet
    place     (N, 3) float64, objpos x and y, pixels from 0, and scale; NaN = not told
    films     image -> number of its film, where that is known
    lost      list of {source, image, reason}
    left_out  why -> how many were left out
    """
    persons: RawPersons
    place: np.ndarray
    films: dict = field(default_factory=dict)
    lost: list = field(default_factory=list)
    left_out: dict = field(default_factory=dict)

    def keep(self, rows, why):
        """Keep the persons of a mask, and count the others as left out."""
        if not rows.all():
            self.left_out[why] = int((~rows).sum())
        self.persons, self.place = self.persons.chosen(rows), self.place[rows]


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
        splits = {"train": originals(np.flatnonzero(~persons.test), persons.boxes),
                  "test": originals(np.flatnonzero(persons.test), persons.boxes)}
        beside = int(np.isin(groups[~persons.test], groups[persons.test]).sum())
        write(settings.data_dir, persons, splits, held_out, MPII, found.pixels, settings.crop_size, settings.context,
              parallel, dataset="mpii", prepare="python mpii_data.py", box=box, settings=vars(settings),
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


def read_annotations(home, official, single):
    """Annotated, and the paths it comes from.

    home      folder, see raw_files.raw_home
    official  whether the official validation list is needed
    single    whether to keep those alone who stand apart from others
    Raises    UserError where a file is missing, Failure where one is broken or tells no validation list
    """
    where = os.path.realpath(home)
    mat, listed, *pair = find(home, "mpii_human_pose*.mat"), *(find(home, name) for name in LISTS)
    truth = pair[1] and find(pair[1].parent, "gt_valid.mat")
    pair = [path for path in pair if path]
    if official and not listed and len(pair) < 2:
        raise UserError(f"{where} holds no official validation list: put mpii_annotations.json, or annot/train.json "
                        "and annot/valid.json there, or choose --split full or --split share")
    if not (mat or listed or pair):
        raise UserError(f"{where} holds no annotations: put mpii_human_pose_v1_u12_1.mat, mpii_annotations.json, or "
                        "annot/train.json and annot/valid.json there, or name another folder with --raw-dir")
    if single and not mat:
        raise UserError(f"{where} holds no mpii_human_pose_v1_u12_1.mat, which alone tells who stands apart from "
                        "others; put it there, or choose --persons all")
    if mat and not official:
        annotated, sources = read_official(mat, single), [mat]
    elif listed:
        annotated, sources = read_list(listed), [listed]
    else:
        annotated, sources = read_pair(pair), pair
        if truth:
            annotated.persons.head_sizes[annotated.persons.test] = read_heads(truth, annotated.persons)
            sources = [*sources, truth]
    if official and not annotated.persons.test.any():
        raise Failure(f"{os.path.realpath(sources[-1])} has nobody on its validation list; choose --split full or "
                      "--split share")
    if mat and official:
        found = add_from(annotated, read_official(mat, single))
        sources = [*sources, mat]
        if single:
            annotated.keep(found, APART)
    annotated.keep(~np.isnan(annotated.persons.joints).all((1, 2)), "persons without joints")
    return annotated, sources


def split(annotated, settings, generator):
    """Choose the test persons, and leave out those who are on neither side."""
    if settings.split == "official":
        persons = annotated.persons
        beside = np.isin(persons.image, persons.image[persons.test]) & ~persons.test
        annotated.keep(~beside, "training persons in images of test persons")
        return
    share = settings.test_share
    if settings.split == "full":
        complete = ~np.isnan(annotated.persons.joints).any((1, 2))
        annotated.keep(complete, "persons without some of the joints")
        share = settings.full_split[1] / sum(settings.full_split)
    persons = annotated.persons
    persons.test = draw(group(persons.image, annotated.films), round(share * len(persons)), generator)


def draw(groups, count, generator):
    """Choose whole groups at random, of `count` persons together, or as near below it as they allow.

    groups   (N,) int, 0 ... groups - 1
    Returns  (N,) bool
    """
    sizes = np.bincount(groups)
    chosen = np.zeros(len(sizes), bool)
    for number in generator.permutation(len(sizes)):
        if sizes[number] <= count:
            chosen[number] = True
            count -= sizes[number]
    return chosen[groups]


def group(images, films):
    """Who must stay on one side: the persons of a film, where it is known, or of an image. Returns (N,) int."""
    return np.unique([f"film {films[image]}" if image in films else f"image {image}" for image in images],
                     return_inverse=True)[1]


def locate(annotated, path, images, settings):
    """RawPersons whose image is there, each image's together, with boxes where they are told.

    path, images  see raw_files.find_images; whose image is not there goes to annotated.lost
    """
    there = np.array([image in images for image in annotated.persons.image], bool)
    annotated.lost += [{"source": "mpii", "image": image, "reason": "no such image"}
                       for image in annotated.persons.image[~there]]
    first = {}
    order = np.array([first.setdefault(image, len(first)) for image in annotated.persons.image], int)
    rows = np.argsort(order, kind="stable")
    rows = rows[there[rows]]
    persons, (x, y, scale) = annotated.persons.chosen(rows), annotated.place[rows].T
    persons.path = objects([str(path)] * len(rows))
    persons.member = objects([images[image] for image in persons.image])
    sides = settings.scale_px * settings.box_extension * scale
    centres = np.column_stack([x, y + settings.box_down * scale]) + 0.5  # -> edges
    persons.boxes = np.column_stack([centres - sides[:, None] / 2, sides])
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


def read_official(path, single=False):
    """Annotated from mpii_human_pose_v1_u12_1.mat, its training images alone. Raises Failure.

    single  whether to leave out those who do not stand apart from others

    A person whose entry makes no sense is lost; whatever is absent or empty is not known.
    """
    rows, images, films, faults, tables = [], [], {}, [], {}
    try:
        for name, index, value in matlab.walk(path, "RELEASE", OFFICIAL_FIELDS):
            if name != "annolist":
                tables[name] = value
            elif index is None:
                raise Unreadable("its annolist is no struct array")
            else:
                images.append(PurePosixPath(_text(_structs(value["image"]))).name if "image" in value else "")
                if film := _whole(value.get("vididx")) or _whole(value.get("vidx")):  # the latter in its README
                    films[images[-1]] = film
                for number, entry in enumerate(_structs(value.get("annorect"))):
                    try:
                        if not images[-1]:
                            raise Unreadable("its image has no name")
                        rows.append((index, images[-1], number, *_person(entry), False))
                    except Unreadable as fault:
                        faults.append((index, f"annolist({index + 1}).annorect({number + 1}): {fault}"))
        if not images:
            raise Unreadable("its annolist is empty")
        tables = {name: table for name, table in tables.items() if table}
        for name, table in tables.items():
            if len(table) != len(images):
                raise Unreadable(f"it has {len(images)} images and {len(table)} of {name}")
    except Unreadable as error:
        raise _broken(path, error) from None
    train = [_whole(number) == 1 for number in tables.get("img_train", [1] * len(images))]
    kept = [row for row in rows if train[row[0]]]
    annotated = _annotated([row[1:] for row in kept])
    if single:
        apart = [set(numbers if isinstance(numbers, list) else [numbers]) for numbers in
                 tables.get("single_person", [()] * len(images))]
        annotated.keep(np.array([row[2] + 1 in apart[row[0]] for row in kept], bool), APART)
    annotated.films = films
    annotated.lost = [{"source": "mpii", "image": images[index] or f"number {index + 1}", "reason": fault}
                      for index, fault in faults if train[index]]
    if tests := len(images) - sum(train):
        annotated.left_out["images of the official test set, whose joints are not published"] = tests
    return annotated


def _person(entry):
    """Joints (16, 2), place (3,) and head size of an annorect. Raises Unreadable."""
    joints, seen = np.full((len(MPII.joints), 2), np.nan), set()
    for points in _structs(entry.get("annopoints")):
        for point in _structs(points.get("point")):  # is_visible is not looked at: hidden joints count as well
            number = _whole(point.get("id"))
            if number not in range(len(joints)) or number in seen:
                raise Unreadable(f"a point with the id {reprlib.repr(point.get('id'))}, expected each of 0 ... 15 once")
            seen.add(number)
            joints[number] = _number(point, "x"), _number(point, "y")
    objpos = (_structs(entry.get("objpos")) or [{}])[0]
    head = [_number(entry, name) for name in ("x1", "y1", "x2", "y2")]
    joints[np.isnan(joints).any(1)] = np.nan
    return joints, (_number(objpos, "x"), _number(objpos, "y"), _number(entry, "scale")), _head_size(*head)


def _structs(value):
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(struct, name):
    """A field's number, also written as a text; NaN where it is absent or empty. Raises Unreadable."""
    value = struct.get(name)
    value = value[0] if isinstance(value, list) and value else value
    if value is None or value == []:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Unreadable(f"{name} is {reprlib.repr(value)}, expected a number") from None


def _whole(value):
    """The whole number of a field; None where it is none."""
    try:
        number = _number({"it": value}, "it")
    except Unreadable:
        return None
    return int(number) if number.is_integer() else None


def _text(structs):
    name = structs[0].get("name") if structs else None
    return name if isinstance(name, str) else ""


def _head_size(x1, y1, x2, y2):
    return HEAD_FACTOR * math.hypot(x2 - x1, y2 - y1)


def read_list(path):
    """Annotated from mpii_annotations.json. Raises Failure."""
    rows, persons = [], Counter()
    for entry, where in _entries(path, ("img_paths", "joint_self")):
        image = _name(entry, "img_paths", where)
        joints = _table(entry, "joint_self", (16, 3), where)[:, :2]
        joints[(joints == 0).all(1) | (joints == -1).all(1)] = np.nan
        validation = entry.get("isValidation", 0)
        if validation not in (0, 1):
            raise _bad(where, "isValidation", validation, "0 or 1")
        rows.append((image, persons[image], joints, _place(entry, "objpos", "scale_provided", where),
                     _told_head(entry, where), validation == 1))
        persons[image] += 1
    return _annotated(rows)


def read_pair(paths):
    """Annotated from train.json and valid.json, whose persons are the official validation list. Raises Failure."""
    rows, persons = [], Counter()
    for path in paths:
        for entry, where in _entries(path, ("image", "joints", "joints_vis")):
            image = _name(entry, "image", where)
            joints = _table(entry, "joints", (16, 2), where)
            seen = _table(entry, "joints_vis", (16,), where)
            joints[(seen == 0) | (joints == -1).all(1)] = np.nan
            rows.append((image, persons[image], joints, _place(entry, "center", "scale", where),
                         _told_head(entry, where), path.name == "valid.json"))
            persons[image] += 1
    return _annotated(rows)


def read_heads(path, persons):
    """Head sizes of valid.json's persons from gt_valid.mat, in its order. Raises Failure.

    Source  the evaluation of Xiao et al., Simple Baselines, ECCV 2018
    """
    joints = persons.joints[persons.test] + 1
    try:
        with archives.opened(path.parent) as read:
            tables = archives.matlab_tables(read(path.name), variable_names=["headboxes_src", "pos_gt_src"])
        boxes = np.asarray(tables["headboxes_src"], float)
        positions = np.asarray(tables.get("pos_gt_src", joints.transpose(1, 2, 0)), float)
        fits = boxes.shape == (2, 2, len(joints)) and positions.shape == (len(MPII.joints), 2, len(joints))
        if not fits or (np.abs(positions.transpose(2, 0, 1) - joints) > 1).any():
            raise ValueError("they are of others than valid.json's persons")
    except (Unreadable, KeyError, ValueError, TypeError) as error:
        raise _broken(path, f"its headboxes_src: {archives.in_words(error)}") from None
    return HEAD_FACTOR * np.linalg.norm(boxes[1] - boxes[0], axis=0)


def _entries(path, keys):
    """The entries of a JSON list of persons, and what to call each. Raises Failure."""
    def shortened(entry):  # of all persons at once the other fields would fill the memory
        return {key: entry[key] for key in JSON_KEYS if key in entry}

    where = os.path.realpath(path)
    if (size := os.path.getsize(path)) > LARGEST_JSON:
        raise _broken(path, f"{size:,} bytes, expected at most {LARGEST_JSON:,}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"), object_hook=shortened)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"no JSON, or cut short: {archives.in_words(error)}") from None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise _broken(path, f"expected a list of persons with {', '.join(keys)}")
    for number, entry in enumerate(entries, 1):
        place = f"{where}: entry {number}"
        if lacking := [key for key in keys if key not in entry]:
            raise Failure(f"{place} lacks {' and '.join(lacking)}; correct it, or get the file anew")
        yield entry, place


def _name(entry, key, where):
    name = entry[key]
    if not isinstance(name, str) or not PurePosixPath(name).name:
        raise _bad(where, key, name, "the name of an image")
    return PurePosixPath(name).name


def _table(entry, key, shape, where):
    """Numbers of that shape, float64."""
    expected = f"{' x '.join(map(str, shape))} numbers"
    try:
        table = np.array(entry[key])
    except ValueError:  # rows of different lengths
        raise _bad(where, key, entry[key], expected) from None
    if table.shape != shape or table.dtype.kind not in "iuf":
        raise _bad(where, key, entry[key], expected)
    return table.astype(float)


def _place(entry, centre, scale, where):
    """objpos and scale, (3,); NaN where they are absent or empty."""
    if not isinstance(entry.get(centre), list) or not entry[centre] or entry.get(scale) in (None, []):
        return np.full(3, np.nan)
    return np.append(_table(entry, centre, (2,), where), _table(entry, scale, (), where))


def _told_head(entry, where):
    """The head size that an entry tells by its box or itself; NaN where it does not."""
    for key in ("headbox", "headboxes"):
        if entry.get(key):
            box = entry[key]
            return _head_size(*_table(entry, key, (2, 2) if isinstance(box[0], list) else (4,), where).flat)
    return float(_table(entry, "head_size", (), where)) if entry.get("head_size") else math.nan


def _annotated(rows):
    """Annotated from rows of (image, person, joints, place, head size, official), coordinates counted from 1."""
    image, person, joints, place, heads, official = zip(*rows) if rows else [()] * 6
    count, place = len(rows), np.array(place, float).reshape(-1, 3)
    told = np.isfinite(place).all(1) & (place[:, 0] != -1) & (place[:, 2] > 0) & (place[:, 2] < 1e4)
    return Annotated(RawPersons(
        source=np.full(count, "mpii"), path=None, member=None, image=objects(image),
        joints=np.array(joints, float).reshape(-1, len(MPII.joints), 2) - 1, test=np.array(official, bool),
        boxes=None, head_sizes=np.array(heads, float), person=np.array(person, int)),
        np.where(told[:, None], place - (1, 1, 0), np.nan))


def add_from(annotated, others):
    """Take films and head sizes from `others`, of the official file: of who has the same joints, to a pixel.

    Returns  (N,) bool, who is among the others
    """
    rows, found, persons = {}, np.zeros(len(annotated.persons), bool), annotated.persons
    for row, image in enumerate(others.persons.image):
        rows.setdefault(image, []).append(row)
    for row, image in enumerate(persons.image):
        near = rows.get(image, [])
        same = np.isclose(others.persons.joints[near], persons.joints[row], rtol=0, atol=1, equal_nan=True).all((1, 2))
        if same.any():
            found[row] = True
            persons.head_sizes[row] = others.persons.head_sizes[near[int(same.argmax())]]
    annotated.films = others.films
    return found


def _bad(where, key, value, expected):
    return Failure(f"{where}: {key} is {reprlib.repr(value)}, expected {expected}; correct it, or get the file anew")


def _broken(path, error):
    return Failure(f"{os.path.realpath(path)} can't be used ({error}); get it anew")


if __name__ == "__main__":
    run(main)
