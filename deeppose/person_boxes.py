"""Boxes round persons as others give them: by hand, in a CSV or JSON, in COCO's form; and the squares to look at."""
import csv
import json
import math
import os
import reprlib
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from .errors import Failure, UserError, reason
from .raw_files import composed

EXPECTED = ("a CSV with columns file, x0, y0, x1, y1; a JSON of file -> [[x0, y0, x1, y1], ...]; a predictions.json of "
            "photographs; or COCO's JSON with images and annotations")
LARGEST_FILE = 1 << 30  # bytes
FARTHEST = 1e6          # pixels


@dataclass
class PersonBoxes:
    """boxes       image's name in the file -> list of (x0, y0, x1, y1), outer edges from the image's corner
    ids         image's name -> its id in COCO's form; empty in another
    categories  image's name -> category of each of its boxes; likewise
    seen        whether they are squares that a network saw, so that nothing need be added round the person"""
    boxes: dict = field(default_factory=lambda: defaultdict(list))
    ids: dict = field(default_factory=dict)
    categories: dict = field(default_factory=lambda: defaultdict(list))
    seen: bool = False

    def name_of(self, path):
        """The longest name in the file that an image's path ends in; None where the file does not tell of it."""
        parts = composed(os.path.abspath(path)).replace("\\", "/").split("/")
        names = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((name for name in names if name in self.boxes or name in self.ids), None)

    def of(self, path):
        """Boxes (P, 4) of the persons of an image by its path, none where the file does not tell of it; and what COCO's
        results shall tell of them: {image_id, categories}, None each where the file is not in that form."""
        name = self.name_of(path)
        return np.array(self.boxes.get(name, ()), float).reshape(-1, 4), {
            "image_id": self.ids.get(name), "categories": self.categories.get(name)}


def squares(boxes, margin):
    """Squares to look at round boxes (P, 4): their centres, `margin` times their longer sides. Returns edges (P, 3)."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    sides = margin * (boxes[:, 2:] - boxes[:, :2]).max(1)
    return np.column_stack([(boxes[:, :2] + boxes[:, 2:]) / 2 - sides[:, None] / 2, sides])


def shared(a, b):
    """What two squares share, as a part of what they cover: edges (P, 3) both; returns (P,), 0 ... 1."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    both = (high - low).clip(min=0).prod(1)
    return both / (a[:, 2] ** 2 + b[:, 2] ** 2 - both)


def check_box(box):
    """Four numbers that are a box. Raises ValueError, in words, where they are none."""
    x0, y0, x1, y1 = box
    if not all(math.isfinite(value) and abs(value) <= FARTHEST for value in box) or x1 <= x0 or y1 <= y0:
        raise ValueError(f"the box {' '.join(f'{value:g}' for value in box)} has no area; expected x0 y0 x1 y1, x1 "
                         "right of x0 and y1 below y0")
    return box


def read_boxes(path):
    """PersonBoxes of a file. Raises UserError where there is none, Failure where it is something else."""
    where = os.path.realpath(path)
    try:
        if not os.path.isfile(path):
            raise UserError(f"{where} not found, or no file; --boxes takes {EXPECTED}")
        if os.path.getsize(path) > LARGEST_FILE:
            raise Failure(f"{where} is larger than {LARGEST_FILE >> 20} MiB; leave out what is no box")
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise Failure(f"boxes can't be read: {reason(error)}; see what keeps it") from None
    except UnicodeDecodeError:
        raise Failure(f"{where} is not in UTF-8, which spreadsheets save as well; --boxes takes {EXPECTED}") from None
    found = PersonBoxes()
    try:
        if text.lstrip()[:1] in ("{", "["):
            _read_json(found, json.loads(text))
        else:
            _read_csv(found, text)
    except (ValueError, RecursionError, csv.Error) as error:
        raise Failure(f"{where}: {error}; --boxes takes {EXPECTED}") from None
    return found


def _read_csv(found, text):
    head = text.partition("\n")[0]
    semicolons = ";" in head and "," not in head  # as spreadsheets write where a comma is the decimal sign
    lines = csv.DictReader(text.splitlines(), delimiter=";" if semicolons else ",")
    names = [(name or "").strip() for name in lines.fieldnames or []]
    if lacking := [name for name in ("file", "x0", "y0", "x1", "y1") if name not in names]:
        raise ValueError(f"its first line names no column {lacking[0]!r}")
    lines.fieldnames = names
    for row in lines:
        box = [row[name] for name in ("x0", "y0", "x1", "y1")]
        if semicolons:
            box = [value and value.replace(",", ".") for value in box]
        _add(found, row["file"], box, f"line {lines.line_num}")


def _read_json(found, content):
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        (_read_coco if "annotations" in content else _read_predictions)(found, content)
    elif isinstance(content, dict):
        for name, boxes in content.items():
            if not isinstance(boxes, list):
                raise ValueError(f"{name!r} has {reprlib.repr(boxes)}, expected a list of boxes")
            found.boxes[_plain(name)]  # also of an image without a person
            for box in boxes if not boxes or isinstance(boxes[0], list) else [boxes]:
                _add(found, name, box, repr(name))
    else:
        raise ValueError("it holds a list")


def _read_predictions(found, content):
    found.seen = True
    for number, image in enumerate(content["images"]):
        where = f"images[{number}]"
        name, persons = _fact(image, "file", str, where), _fact(image, "persons", list, where)
        found.boxes[_plain(name)]
        if image.get("frame") is not None:
            raise ValueError(f"{where} is a frame of a film, whose boxes change; name boxes of photographs")
        for person in persons:
            _add(found, name, _fact(person, "box", list, where), where)


def _read_coco(found, content):
    names = {}
    for number, image in enumerate(content["images"]):
        name = _fact(image, "file_name", str, f"images[{number}]")
        number = _fact(image, "id", (int, str), f"images[{number}]")
        names[number] = name
        found.ids[_plain(name)] = number
    persons = {_fact(category, "id", (int, str), "the category person") for category in content.get("categories") or ()
               if isinstance(category, dict) and category.get("name") == "person"}
    for number, annotation in enumerate(content["annotations"] or ()):
        where = f"annotations[{number}]"
        image = _fact(annotation, "image_id", (int, str), where)
        if annotation.get("iscrowd") or persons and "category_id" in annotation \
                and _fact(annotation, "category_id", (int, str), where) not in persons:
            continue
        if image not in names:
            raise ValueError(f"{where} is of the image {image!r}, which it does not list")
        box = _fact(annotation, "bbox", list, where)
        if len(box) != 4 or not all(type(value) in (int, float) for value in box):
            raise ValueError(f"{where} has the bbox {reprlib.repr(box)}, expected x, y, width, height")
        _add(found, names[image], [box[0], box[1], box[0] + box[2], box[1] + box[3]], where)
        found.categories[_plain(names[image])].append(annotation.get("category_id", 1))


def _fact(entry, key, kind, where):
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where} has no {key}")
    return value


def _add(found, name, box, where):
    try:
        if not isinstance(name, str) or not name.strip():
            raise ValueError("it names no file")
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{reprlib.repr(box)} is no box, expected x0, y0, x1, y1")
        try:
            box = [float(value) for value in box]
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{reprlib.repr(box)} are not numbers") from None
        check_box(box)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    found.boxes[_plain(name)].append(tuple(box))


def _plain(name):
    """A file's name with / between folders, without ./ before it, `composed`."""
    name = composed(name.strip()).replace("\\", "/").removeprefix("./")
    return os.path.abspath(name).replace("\\", "/") if name.startswith("../") else name
