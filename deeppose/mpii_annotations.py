"""MPII Human Pose's annotations: the official MATLAB file, and the two forms of it in JSON that are in common use."""
import json
import math
import os
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from . import archives, matlab
from .archives import Unreadable
from .errors import Failure, UserError
from .raw_files import find
from .raw_persons import RawPersons, objects

JOINTS = 16
HEAD_FACTOR = 0.6  # head size in diagonals of the head box, as in MPII's own evaluation
OFFICIAL_FIELDS = {"annolist": ("image", "annorect", "vididx", "vidx"), "img_train": None, "single_person": None}
APART = "persons who do not stand apart from others"
LISTS = ("mpii_annotations.json", "annot/train.json", "annot/valid.json")
JSON_KEYS = ("img_paths", "image", "joint_self", "joints", "joints_vis", "objpos", "center", "scale_provided", "scale",
             "isValidation", "headbox", "headboxes", "head_size")
LARGEST_JSON = 1 << 30  # bytes of a file
LARGEST_NUMBER = 1e9    # in one


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
    joints, seen = np.full((JOINTS, 2), np.nan), set()
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
        fits = boxes.shape == (2, 2, len(joints)) and positions.shape == (JOINTS, 2, len(joints))
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
    """Finite numbers of that shape, float64."""
    table = np.array(entry[key], object)  # as they are: true would be taken for 1
    if table.shape != shape or not set(map(type, table.flat)) <= {int, float} \
            or not all(abs(number) < LARGEST_NUMBER for number in table.flat):
        raise _bad(where, key, entry[key], f"{' x '.join(map(str, shape))} numbers" if shape else "a number")
    return table.astype(float)


def _place(entry, centre, scale, where):
    """objpos and scale, (3,); NaN where they are absent or empty."""
    if any(entry.get(key) in (None, [], "") for key in (centre, scale)):
        return np.full(3, np.nan)
    return np.append(_table(entry, centre, (2,), where), _table(entry, scale, (), where))


def _told_head(entry, where):
    """The head size that an entry tells by its box or itself; NaN where it does not."""
    for key in ("headbox", "headboxes"):
        if entry.get(key):
            rows = isinstance(entry[key], list) and isinstance(entry[key][0], list)
            return _head_size(*_table(entry, key, (2, 2) if rows else (4,), where).flat)
    return float(_table(entry, "head_size", (), where)) if entry.get("head_size") else math.nan


def _annotated(rows):
    """Annotated from rows of (image, person, joints, place, head size, official), coordinates counted from 1."""
    image, person, joints, place, heads, official = zip(*rows) if rows else [()] * 6
    count, place = len(rows), np.array(place, float).reshape(-1, 3)
    told = np.isfinite(place).all(1) & (place[:, 0] != -1) & (place[:, 2] > 0) & (place[:, 2] < 1e4)
    return Annotated(RawPersons(
        source=np.full(count, "mpii"), path=None, member=None, image=objects(image),
        joints=np.array(joints, float).reshape(-1, JOINTS, 2) - 1, test=np.array(official, bool),
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
