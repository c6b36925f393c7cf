"""Compare two runs on the same test persons: what every score gained, with 95% intervals, and whom it changed most.

    python compare.py runs/small/runs runs/lite/runs --data-dir runs/small/data --other-data-dir runs/lite/data
    python compare.py runs/stage1_predictions.npy runs/stage2_predictions.npy

Reads   of either run its folder, of which the last stage counts, or a file stage{s}_predictions.npy;
        data/test_*.npy, data/dataset.json
Writes  runs/comparison.json         every score of both, gains and intervals (paired bootstrap over persons)
        runs/comparison.png          the gains of joints and limbs
        runs/comparison_persons.png  the persons that became better and worse most, in both runs
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import math
import re
from pathlib import Path

import numpy as np
import torch

from deeppose import arrays
from deeppose.claims import claimed
from deeppose.comparison import changed_most, differences, person_errors, table
from deeppose.devices import Stopwatch
from deeppose.drawing import contact_sheet, gains
from deeppose.persons import load_persons
from deeppose.reports import provenance
from deeppose.settings import parse_settings
from deeppose.stored_crops import to_crop_px, to_image_px
from deeppose.testing import score_persons, thresholds_of

DATA_DIR = "data"    # prepared arrays, whose test persons both runs are of
OTHER_DATA_DIR = ""  # those of the second run, where the same persons were prepared for it in another folder
RUN_DIR = "runs"     # for what is written
SEED = 0             # 0 ... 4294967295: of the bootstrap
DRAWS = 2000         # 100 ... 1000000: of the bootstrap
SHOWN = 8            # 1 ... 64: persons that became better most, and as many that became worse


def main(argv=None):
    settings = parse_settings(globals(), argv, ("runs", "*", "folders of two runs, or files such as "
                                                "stage2_predictions.npy"))
    if len(settings.runs) != 2:
        raise UserError("name two runs: python compare.py BEFORE AFTER, folders or files such as "
                        f"stage2_predictions.npy; {len(settings.runs)} given")
    paths = [predictions_of(Path(place)) for place in settings.runs]
    with claimed(settings.run_dir, "comparison"):
        compare(settings, paths)


def compare(settings, paths):
    watch = Stopwatch()
    persons = load_persons(settings.data_dir, "test", torch.device("cpu"))
    other = load_persons(settings.other_data_dir, "test", torch.device("cpu")) if settings.other_data_dir else persons
    before, after = poses_of(paths[0], persons, "--data-dir"), poses_of(paths[1], other, "--other-data-dir")
    if other is not persons:
        after = moved(after, persons, settings.data_dir, other, settings.other_data_dir)
    truth, skeleton, names = persons.truth, persons.skeleton, names_of(settings.runs)
    found = differences(before, after, truth, persons.head_sizes, skeleton, persons.box_side, thresholds_of(persons),
                        settings.draws, settings.seed)
    errors = [person_errors(pose, truth, skeleton, persons.box_side) for pose in (before, after)]
    better, worse = changed_most(*errors, settings.shown)

    print(f"before: {paths[0]}\nafter:  {paths[1]}\n{len(truth)} persons")
    if np.array_equal(before, after, equal_nan=True):
        print("note: both predict the same")
    print(table(found, names))
    images, unit = persons.dataset["test"]["image"], "torso diameters" if skeleton.diameter else "half boxes"
    if np.isfinite(errors[0]).any():
        means = "{:.3f} before, {:.3f} after".format(*map(np.nanmean, errors))
        print(f"\nerror a joint, at most 1, {unit}: {means}")
    for title, rows in (("better", better), ("worse", worse)):
        print(f"{title} most: " + (", ".join(f"{images[row]} {errors[0][row]:.2f} to {errors[1][row]:.2f}"
                                             for row in rows) or "nobody"))

    folder = Path(settings.run_dir)
    arrays.save_json(folder / "comparison.json", {
        "before": str(paths[0]), "after": str(paths[1]), "scores": found, "persons": len(truth),
        "person_errors": {"unit": unit, "before": errors[0], "after": errors[1]},
        **provenance(settings, watch.seconds)})
    joints = "pck@0.2" if skeleton.diameter else "pck_box@0.1"
    panels = {"PCK@0.2" if skeleton.diameter else "PCK@0.1 of the box": found[joints]}
    if skeleton.limbs:
        panels["strict PCP@0.5"] = found["pcp_strict@0.5"]
    gains(folder / "comparison.png", panels)
    shown = show_persons(folder / "comparison_persons.png", persons, (before, after), errors, better, worse)
    print(f"written to {folder}: comparison.json, comparison.png{', comparison_persons.png' if shown else ''}")


def predictions_of(place):
    """The file of test predictions that a run is named by: the last stage's, of a folder."""
    if not place.is_dir():
        return place
    stages = {int(match[1]): path for path in place.iterdir()
              if (match := re.fullmatch(r"stage(\d+)_predictions\.npy", path.name))}
    if not stages:
        deeper = place / "runs"  # of a folder of run.py
        raise UserError(f"{place.resolve()} holds no stage1_predictions.npy; "
                        + (f"did you mean {deeper}?" if deeper.is_dir() else
                           f"run: python test_stage1.py --run-dir {place}"))
    return stages[max(stages)]


def poses_of(path, persons, flag):
    """Test predictions (N, J, 2), crop pixels. Raises UserError where they are of other persons than `flag` names."""
    poses, expected = arrays.load(path, "predictions"), persons.truth.shape
    if poses.shape != expected:
        raise UserError(f"{path.resolve()} has {len(poses)} persons with {poses.shape[1]} joints, the test persons are "
                        f"{expected[0]} with {expected[1]}; name another {flag}")
    report = path.with_name(path.name.replace("_predictions.npy", ".json"))
    if report != path and report.exists():  # which tells whether they were scored on these persons
        told, own = arrays.load_json(report, "python test_stage1.py"), score_persons(poses, persons)
        for metric in ("pck@0.2", "pck_box@0.1"):
            score = (told.get(metric) or {}).get("mean")
            if score is not None and metric in own and not math.isclose(score, own[metric]["mean"], abs_tol=0.01):
                raise UserError(f"{path.resolve()} has {metric} {own[metric]['mean']:.2f} on these test persons, "
                                f"{report.name} beside it says {score:.2f}: it is of others; name its own by {flag}")
    return poses


def moved(poses, persons, data_dir, other, other_dir):
    """Poses (N, J, 2) from the pixels of another folder's crops into those of `persons`."""
    own, its = persons.dataset["test"], other.dataset["test"]
    # older ones do not tell which person of an image it is
    if any(own[column] != its[column] for column in ("source", "image", "person") if column in own and column in its):
        raise UserError(f"{Path(data_dir).resolve()} and {Path(other_dir).resolve()} have different test persons; "
                        "compare runs on the same")
    edges = [arrays.load(Path(folder, "test_boxes.npy")) for folder in (other_dir, data_dir)]
    return to_crop_px(to_image_px(poses, edges[0], other.crop_size), edges[1], persons.crop_size)


def names_of(runs):
    """What the two are called: the last parts of their paths that differ, without what every run's path ends in."""
    parts = [Path(place.removesuffix(".npy")).resolve().parts for place in runs]
    while min(map(len, parts)) > 1 and parts[0][-1] == parts[1][-1]:
        parts = [some[:-1] for some in parts]
    names = [some[-1].removesuffix("_predictions") for some in parts]
    return names if names[0] != names[1] else ["before", "after"]


def show_persons(path, persons, poses, errors, better, worse):
    """Crops of persons in both runs side by side, with true and predicted skeletons. Returns whether there are any."""
    rows = np.concatenate([better, worse])
    if not len(rows):
        path.unlink(missing_ok=True)  # an earlier comparison's
        return False
    kinds = ["better"] * len(better) + ["worse"] * len(worse)
    crops, margin = persons.boxes_shown(rows.tolist())
    images, shown = persons.dataset["test"]["image"], np.repeat(rows, 2)
    captions = [caption for kind, row in zip(kinds, rows) for caption in (
        f"before: {errors[0][row]:.2f}, {images[row]}", f"after, {kind}: {errors[1][row]:.2f}")]
    predicted = np.stack([pose[rows] for pose in poses], 1).reshape(-1, *poses[0].shape[1:])  # (2 K, J, 2)
    contact_sheet(path, crops.repeat(2, 0), persons.skeleton,
                  [(persons.truth[shown] - margin, "truth"), (predicted - margin, "predicted")], captions)
    return True


if __name__ == "__main__":
    run(main)
