"""COCO's keypoint JSON, of people or of anything else: its images, annotations and categories, and their skeletons."""
import math
import os
import re
import reprlib
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from . import json_lists
from .arrays import FARTHEST
from .errors import Failure, UserError
from .skeleton_names import skeleton_from_names

EXPECTED = "COCO's keypoint JSON, with lists of images, annotations and categories"
SIGMAS = dict(  # of OKS, by the names of COCO's own seventeen
    nose=.026, left_eye=.025, right_eye=.025, left_ear=.035, right_ear=.035, left_shoulder=.079, right_shoulder=.079,
    left_elbow=.072, right_elbow=.072, left_wrist=.062, right_wrist=.062, left_hip=.107, right_hip=.107,
    left_knee=.087, right_knee=.087, left_ankle=.089, right_ankle=.089)


@dataclass
class Annotated:
    """The annotated persons of one category, or whatever it is, in the file's order.

    joints                   J
    numbers, ids, image_ids  lists of N: place among the annotations, id, image_id
    points                   N * J * 3 numbers, x, y, v
    boxes                    N * 5 numbers: bbox, NaN where there is none, and area, that of bbox where none is told
    """
    joints: int
    numbers: list = field(default_factory=list)
    ids: list = field(default_factory=list)
    image_ids: list = field(default_factory=list)
    points: array = field(default_factory=lambda: array("d"))
    boxes: array = field(default_factory=lambda: array("d"))


@dataclass
class CocoFile:
    """categories  list of dictionaries
    images      id -> (file name, width, height), 0 where a size is not told
    persons     id of a category -> Annotated
    left_out    why -> how many annotations
    ignored     (category, image_id, area, bbox, iscrowd) of those that COCO's evaluation ignores: crowds, no keypoints
    """
    path: Path
    categories: list = field(default_factory=list)
    images: dict = field(default_factory=dict)
    persons: dict = field(default_factory=dict)
    left_out: dict = field(default_factory=dict)
    ignored: list = field(default_factory=list)

    def ignore(self, entry, why):
        """Leave out an annotation; remember where it is, if it tells that."""
        box, area = entry.get("bbox"), entry.get("area")
        if isinstance(box, list) and len(box) == 4 and all(
                type(value) in (int, float) and abs(value) < FARTHEST ** 2 for value in (*box, area)):
            self.ignored.append((entry.get("category_id"), _id(entry, "image_id"), area, box,
                                 int(bool(entry.get("iscrowd")))))
        self.leave_out(why)

    def leave_out(self, why, count=1):
        self.left_out[why] = self.left_out.get(why, 0) + count


def read_file(path):
    """CocoFile of a JSON, read an entry at a time. Raises Failure, which names the entry."""
    file = CocoFile(Path(path))
    readers = {"images": _read_image, "categories": _read_category, "annotations": _read_annotation}
    for key, number, entry in json_lists.entries(path, tuple(readers), EXPECTED):
        where = f"{os.path.realpath(path)}: {key}[{number}]"
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"is {reprlib.repr(entry)}, expected an object")
            readers[key](file, number, entry)
        except KeyError as error:
            raise Failure(f"{where} lacks {error}; expected {EXPECTED}") from None
        except ValueError as error:
            raise Failure(f"{where} {error}; correct it, or get the file anew") from None
    return file


def _read_image(file, number, entry):
    name, sizes = entry["file_name"], [entry.get("width"), entry.get("height")]
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"has file_name {reprlib.repr(name)}, expected an image's name")
    image = (name.replace("\\", "/").removeprefix("./"),
             *(size if type(size) is int and abs(size) < FARTHEST else 0 for size in sizes))
    if file.images.setdefault(_id(entry, "id"), image) != image:
        raise ValueError(f"has the id {entry['id']!r} of another image")


def _read_category(file, number, entry):
    _id(entry, "id")
    file.categories.append(entry)


def _read_annotation(file, number, entry):
    if entry.get("iscrowd"):
        return file.ignore(entry, "crowds")
    if entry.get("keypoints") is None:
        return file.ignore(entry, "annotations without keypoints")
    points = _numbers(entry, "keypoints", "x, y, v, x, y, v, ...")
    joints, rest = divmod(len(points), 3)
    if rest:
        raise ValueError(f"has {len(points)} numbers as keypoints, expected x, y and v of each")
    known = [place for place in range(0, len(points), 3) if points[place + 2] > 0]
    if not known:
        return file.ignore(entry, "persons without an annotated joint")
    if not all(abs(points[place]) < FARTHEST > abs(points[place + 1]) for place in known):  # NaN is not less either
        raise ValueError("has keypoints that can be in no image")
    box = array("d", [math.nan] * 4)
    if entry.get("bbox") is not None:
        box = _numbers(entry, "bbox", "x, y, width, height")
        if len(box) != 4 or not all(abs(edge) < FARTHEST for edge in box):
            raise ValueError(f"has bbox {reprlib.repr(entry['bbox'])}, expected x, y, width, height in pixels")
    area = entry.get("area")
    if type(area) not in (int, float) or not 0 < area < FARTHEST ** 2:
        area = box[2] * box[3]
    persons = file.persons.setdefault(_id(entry, "category_id"), Annotated(joints))
    if persons.joints != joints:
        raise ValueError(f"has {joints} keypoints, others of its category {persons.joints}")
    persons.numbers.append(number)
    persons.ids.append(_id(entry, "id"))
    persons.image_ids.append(_id(entry, "image_id"))
    persons.points.extend(points)
    persons.boxes.extend((*box, area))


def _numbers(entry, key, expected):
    try:
        if bool in map(type, entry[key]):  # array would take true for 1
            raise TypeError
        return array("d", entry[key] if isinstance(entry[key], list) else None)
    except (TypeError, OverflowError):
        raise ValueError(f"has {key} {reprlib.repr(entry[key])}, expected numbers: {expected}") from None


def _id(entry, key):
    if type(entry[key]) not in (int, float, str):
        raise ValueError(f"has {key} {reprlib.repr(entry[key])}, expected a number or text")
    return entry[key]


def choose_category(file, name):
    """The category of that name, or the only one where it is "", among those of a CocoFile that have keypoints.

    Raises Failure where none has, UserError where one has to be chosen
    """
    where, usable = os.path.realpath(file.path), [category for category in file.categories if category.get("keypoints")]
    if not usable:
        raise Failure(f"{where} has no category with keypoints; expected {EXPECTED}, and in a category the keypoints' "
                      "names")
    chosen = [category for category in usable if name in ("", category.get("name"))]
    if len(chosen) != 1:
        of_name = f" named {name!r}" if name else ""
        names = ", ".join(str(category.get("name")) for category in usable)
        raise UserError(f"{where} has {len(chosen)} categories{of_name} with keypoints, expected one; choose with "
                        f"--category, from: {names}")
    return chosen[0]


def make_skeleton(path, category, pairs=(), diameter=(), head=()):
    """The skeleton of a category.

    path            file that it is from
    pairs           right=left each, as the names tell if empty
    diameter, head  two joints each, as the names tell if empty
    Raises          Failure where the category's keypoints or skeleton are none, UserError where others name no joints
    """
    where, names = f"{os.path.realpath(path)}, category {category.get('name')!r}", category["keypoints"]
    if not isinstance(names, list) or not all(isinstance(name, str) and re.search(r"\w", name) for name in names):
        raise Failure(f"{where}: its keypoints are {reprlib.repr(names)}, expected names")
    joints = [_clean(name) for name in names]
    if len(set(joints)) < len(joints):
        raise Failure(f"{where} has two keypoints {max(joints, key=joints.count)!r}; rename one")
    edges = category.get("skeleton") or []
    for edge in edges if isinstance(edges, list) else [edges]:
        if not isinstance(edge, list) or len(edge) != 2 or edge[0] == edge[1] or not all(
                type(end) is int and 1 <= end <= len(joints) for end in edge):
            raise Failure(f"{where}: its skeleton holds {reprlib.repr(edge)}, expected two of 1 ... {len(joints)}, for "
                          "COCO counts keypoints from 1")

    def two(flag, names):
        names = tuple(_clean(name) for name in names)
        if unknown := [name for name in names if name not in joints]:
            raise UserError(f"--{flag} names {unknown[0]!r}, which is no joint; there are: {', '.join(joints)}")
        if len(names) != 2 or names[0] == names[1]:
            raise UserError(f"--{flag} is {' '.join(names)}, expected two joints")
        return names

    pairs = [two("pairs", pair.split("=")) for pair in pairs]
    if len({name for pair in pairs for name in pair}) < 2 * len(pairs):
        raise UserError("--pairs names a joint twice, expected right=left of different joints")
    return skeleton_from_names(joints, [(joints[a - 1], joints[b - 1]) for a, b in edges], pairs,
                               diameter and two("diameter", diameter), head and two("head", head))


def sigmas(skeleton, other):
    """Of each joint in OKS: COCO's own for its seventeen, `other` of another skeleton."""
    own = set(skeleton.joints) == SIGMAS.keys()
    return [SIGMAS[name] if own else other for name in skeleton.joints]


def _clean(name):
    """A joint's name as files and flags can have it."""
    return re.sub(r"[^\w-]+", "_", name.strip())
