"""predictions.json and predictions.csv, and COCO's results: poses found in photographs and films, written as they come.
"""
import contextlib
import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import whole

DIGITS, CONFIDENCE_DIGITS = 3, 4  # behind the point: of pixels and seconds; of confidences
MEANING = {
    "joints": "image pixels after EXIF orientation: x right, y down, pixel centres at integers",
    "box": "outer edges x0, y0, x1, y1 of the square that the network saw last, from the image's corner: the image "
           "spans 0 ... width, and a joint's x + 0.5 lies in it",
}


@dataclass
class Found:
    """What was found in a photograph, or in a frame of a film.

    file        as it was given or found
    size        (width, height), image pixels
    joints      (P, J, 2) image pixels
    confidence  (P, J) 0 ... 1, or None
    boxes       (P, 3) edges of the squares looked at, image pixels
    frame       number of the frame, from 0; None of a photograph
    seconds     when the frame is shown
    image_id    in COCO's results
    categories  list of P: in COCO's results; None = 1 of all
    smoothed    (P, J, 2) joints smoothed over time; None where they are not
    """
    file: str
    size: tuple
    joints: np.ndarray
    confidence: np.ndarray | None
    boxes: np.ndarray
    frame: int | None = None
    seconds: float | None = None
    image_id: int | str | None = None
    categories: list | None = None
    smoothed: np.ndarray | None = None


def output_paths(out, coco):
    """The files that `writing` makes in a folder."""
    return [Path(out, name) for name in ("predictions.json", "predictions.csv", *["predictions_coco.json"] * coco)]


def image_numbers(inputs):
    """COCO's ids of photographs, by their paths: the numbers that they are named by, as COCO's own are. None at all
    where those do not tell them apart."""
    names = [Path(one.path).stem for one in inputs]
    if not all(name.isdecimal() for name in names) or len(set(map(int, names))) < len(names) \
            or any(one.video for one in inputs):
        return {}
    return {one.path: int(name) for one, name in zip(inputs, names)}


@contextlib.contextmanager
def writing(out, skeleton, facts, name, coco=False, smooth=False):
    """Write predictions, each file whole at the end of the block or not at all.

    facts   what predictions.json begins with
    name    what the confidence is called
    coco    whether COCO's results are written as well
    smooth  whether there are smoothed joints
    Gives   add(Found), and a dictionary whose content at the end predictions.json ends with
    """
    ending = {}
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(stack.enter_context(whole(path)), "w", encoding="utf-8", newline="",
                                          errors="surrogateescape")) for path in output_paths(out, coco)]
        page, table = files[0], csv.writer(files[1])
        facts = facts | {"meaning": MEANING, "joints": list(skeleton.joints), "skeleton": skeleton.plain()}
        page.write("{\n" + "".join(f" {_json(key)}: {_json(value)},\n" for key, value in facts.items()))
        page.write(' "images": [')
        table.writerow(["file", "frame", "seconds", "person", "joint", "x", "y", name,
                        *(["x_smoothed", "y_smoothed"] if smooth else [])])
        counts = {"images": 0, "results": 0}

        def add(found):
            page.write(",\n  " if counts["images"] else "\n  ")
            page.write(_json(_entry(found, name)))
            counts["images"] += 1
            table.writerows(_rows(found, skeleton, smooth))
            for result in _results(found) if coco else ():
                files[2].write((",\n" if counts["results"] else "[\n") + _json(result))
                counts["results"] += 1

        yield add, ending
        page.write("\n ]" + "".join(f",\n {_json(key)}: {_json(value)}" for key, value in ending.items()) + "\n}\n")
        if coco:
            files[2].write("\n]\n" if counts["results"] else "[]\n")


def corners(boxes):
    """Edges (P, 3) x0, y0, side -> (P, 4) x0, y0, x1, y1."""
    return np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def _entry(found, name):
    persons = []
    for person, joints in enumerate(found.joints):
        persons.append({"box": _rounded(corners(found.boxes)[person]), "joints": _rounded(joints),
                        name: None if found.confidence is None else _rounded(found.confidence[person],
                                                                             CONFIDENCE_DIGITS)})
        if found.smoothed is not None:
            persons[-1]["joints_smoothed"] = _rounded(found.smoothed[person])
    entry = {"file": found.file, "width": found.size[0], "height": found.size[1]}
    if found.frame is not None:
        entry |= {"frame": found.frame, "seconds": _rounded(found.seconds)}
    if found.image_id is not None:
        entry["image_id"] = found.image_id
    return entry | {"persons": persons}


def _rows(found, skeleton, smooth):
    """The table's rows: one for each joint, or one without a person where there is none."""
    start = [found.file, "" if found.frame is None else found.frame,
             "" if found.seconds is None else _rounded(found.seconds)]
    if not len(found.joints):
        yield [*start, *[""] * (5 + 2 * smooth)]
    for person, joints in enumerate(found.joints):
        for joint, name in enumerate(skeleton.joints):
            sure = "" if found.confidence is None else _rounded(found.confidence[person, joint], CONFIDENCE_DIGITS)
            row = [*start, person, name, *_rounded(joints[joint]), sure]
            if smooth:
                row += ["", ""] if found.smoothed is None else _rounded(found.smoothed[person, joint])
            yield row


def _results(found):
    """COCO's results of keypoint detection."""
    for person, joints in enumerate(found.joints):
        sure = np.ones(len(joints)) if found.confidence is None else found.confidence[person]
        points = [number for (x, y), value in zip(_rounded(joints), _rounded(sure, CONFIDENCE_DIGITS))
                  for number in (x, y, value)]
        yield {"image_id": found.image_id, "category_id": found.categories[person] if found.categories else 1,
               "keypoints": points, "score": _rounded(np.mean(sure), CONFIDENCE_DIGITS)}


def _rounded(values, digits=DIGITS):
    """Numbers as plain ones; None for what is none."""
    if isinstance(values, np.ndarray) and values.ndim:
        return [_rounded(value, digits) for value in values]
    value = float(values)
    return round(value, digits) if math.isfinite(value) else None


def _json(value):
    return json.dumps(value, allow_nan=False)
