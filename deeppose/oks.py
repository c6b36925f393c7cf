"""COCO's score of keypoints: object keypoint similarity, OKS, and the average precision over its thresholds.

What it needs to know of the test persons stands in dataset.json under "coco", a row of each list for each of them:
    image_id  whatever names the image: persons of one image are matched together
    area      square image pixels, of the person
    bbox      x, y, width, height, image pixels
    sigmas    of each joint, in roots of the area: how far apart annotators are
    ignored   image_id, area, bbox and iscrowd of the images' annotations that are crowds or have no keypoints, if any:
              as in COCO's own evaluation, a prediction that lies on one and on no person counts neither way
The boxes that a network sees come from the annotated ones here, so that the figures are not those of a detector.
"""
import contextlib
import io

import numpy as np

from .errors import Failure
from .metrics import distances
from .stored_crops import bounds

NOT_INSTALLED = "pycocotools is not installed; pip install pycocotools"
# names of pycocotools' ten numbers
STATISTICS = ("AP", "AP@0.5", "AP@0.75", "AP medium", "AP large", "AR", "AR@0.5", "AR@0.75", "AR medium", "AR large")
_FAR = -1e7  # image pixels: where a missing prediction is said to be


def similarities(predicted, truth, areas, sigmas):
    """Object keypoint similarity: the mean over a person's annotated joints of exp(-d^2 / (2 area (2 sigma)^2)).

    predicted, truth  (N, J, 2) image pixels; NaN truth = not annotated, NaN prediction = similarity 0
    areas             (N,) square pixels
    sigmas            (J,) in roots of the area
    Returns           (N,) 0 ... 1; NaN where no joint is annotated
    Source            https://cocodataset.org/#keypoints-eval
    """
    apart = distances(predicted, truth)
    known = ~np.isnan(truth).any(-1)
    variances = (np.asarray(areas, float)[:, None] + np.spacing(1)) * (2 * np.asarray(sigmas, float)) ** 2
    each = np.where(known, np.exp(-np.nan_to_num(apart, nan=np.inf) ** 2 / variances / 2), 0)
    counts = known.sum(1)
    return np.divide(each.sum(1), counts, out=np.full(len(counts), np.nan), where=counts > 0)


def scores(predicted, truth, facts, confidence=None):
    """What a test run tells, in percent: "mean", of `similarities`, and where pycocotools is there STATISTICS.

    predicted, truth  (N, J, 2) image pixels, as `similarities` takes them
    facts             dataset.json's "coco"
    confidence        (N,) by which persons are ranked, as precision has it; None = all alike
    Raises            Failure where the facts are not of these persons
    """
    count, joints = truth.shape[:2]
    try:
        areas, boxes, sigmas = (np.array(facts[name], float) for name in ("area", "bbox", "sigmas"))
        images = [str(image) for image in facts["image_id"]]
        fits = (areas.shape, boxes.shape, sigmas.shape, len(images)) == ((count,), (count, 4), (joints,), count)
        columns = facts.get("ignored", {})
        ignored = list(zip(*(columns.get(name, ()) for name in ("image_id", "area", "bbox", "iscrowd")), strict=True))
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise Failure(f"dataset.json's \"coco\" does not tell image_id, area and bbox of {count} test persons and "
                      f"sigmas of {joints} joints; prepare the data again")
    similar = similarities(predicted, truth, areas, sigmas)
    found = {"mean": 100 * float(np.nanmean(similar)) if np.isfinite(similar).any() else float("nan")}
    return found | (average_precision(predicted, truth, areas, boxes, sigmas, images, ignored, confidence) or {})


def average_precision(predicted, truth, areas, boxes, sigmas, images, ignored=(), confidence=None):
    """pycocotools' evaluation of one prediction for each person; ignored: (image, area, bbox, iscrowd) of each. Returns
    STATISTICS -> percent, NaN where they are of nobody; None where pycocotools is not installed."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        return None
    if not len(truth):
        return dict.fromkeys(STATISTICS, float("nan"))
    numbers = {image: number for number, image in enumerate(dict.fromkeys(images), 1)}
    known = ~np.isnan(truth).any(-1)
    ranks = np.ones(len(truth)) if confidence is None else np.nan_to_num(confidence)
    annotated, detected = [], []
    for row, image in enumerate(images):
        of = {"image_id": numbers[image], "category_id": 1}
        annotated.append({**of, "id": row + 1, "keypoints": _keypoints(truth[row], 2 * known[row], 0),  # id 0 is taken
                          "num_keypoints": int(known[row].sum()), "area": float(areas[row]),        # for no match
                          "bbox": boxes[row].tolist(), "iscrowd": 0})
        detected.append({**of, "score": float(ranks[row]), "keypoints": _keypoints(predicted[row], 1, _FAR)})
    for image, area, bbox, crowd in ignored:
        if str(image) in numbers:
            annotated.append({"image_id": numbers[str(image)], "category_id": 1, "id": len(annotated) + 1, "bbox": bbox,
                              "keypoints": [0] * 3 * len(sigmas), "num_keypoints": 0, "area": area,
                              "iscrowd": int(crowd)})
    with contextlib.redirect_stdout(io.StringIO()):
        persons = COCO()
        persons.dataset = {"images": [{"id": number} for number in numbers.values()], "annotations": annotated,
                           "categories": [{"id": 1}]}
        persons.createIndex()
        found = persons.loadRes(detected)
        low, high = bounds(np.where(np.isnan(predicted).any(-1, keepdims=True), np.nan, predicted))
        for row, area in enumerate((high - low).prod(1), 1):  # what it made of missing joints' places would count for
            found.anns[row]["area"] = area                    # larger than any size that is evaluated
        evaluation = COCOeval(persons, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100 * float(value) if value >= 0 else float("nan")
            for name, value in zip(STATISTICS, evaluation.stats, strict=True)}


def _keypoints(pose, seen, missing):
    """(J, 2) -> x, y, v, x, ... as COCO lists them."""
    return np.column_stack([np.nan_to_num(pose, nan=missing), np.broadcast_to(seen, len(pose))]).ravel().tolist()
