"""What a folder of runs holds: test runs' scores, their poses, training logs. Each is checked before it is shown."""
import csv
import math
import re
from pathlib import Path

from . import arrays
from .errors import Failure
from .reports import cell, headlines

METRICS = re.compile(r"(pck|pckh|pdj|pcp|pck_box|oks)\b.*|pc[kp]_.*")  # of reports.score
COLUMNS = re.compile(r"mean pose|stage \d+")                      # what else than a stage's own scores its JSON holds


def test_runs(run_dir):
    """The test runs in a folder, as test_stage1.py or test_stage2.py wrote it.

    Returns  {stage's number: content of its JSON}
    Raises   Failure where a file is broken or something else
    """
    found = {}
    for path in Path(run_dir).glob("stage*.json"):
        if match := re.fullmatch(r"stage(\d+)\.json", path.name):
            number = int(match[1])
            again = f"python test_stage{min(number, 2)}.py"
            content = arrays.load_json(path, again)
            if fault := _fault(content):
                raise Failure(f"{path.resolve()} is not what {again.split()[1]} writes ({fault}); run again: {again}")
            found[number] = content
    return dict(sorted(found.items()))


def columns_of(number, content):
    """A test run's scores by what they are of: "mean pose", "stage 1" ... in order."""
    return {name: scores for name, scores in content.items() if COLUMNS.fullmatch(name)} | {f"stage {number}": content}


def notes_of(content):
    """Sentences on how a test run came to its scores, from its JSON."""
    settings, duplicates = content.get("settings"), content.get("without_training_duplicates")
    flip_test = content.get("flip_test", isinstance(settings, dict) and settings.get("flip_test"))
    notes = [f"{content['persons']:,} test persons; what a network sees of each: {content.get('box', 'not told')}"
             + (", and mirrored." if flip_test else "."),
             f"Tested at {content.get('date', 'a time not told')}, commit {content.get('commit', 'not told')}, on "
             f"{content.get('hardware', 'hardware not told')}."]
    if content.get("other_split"):
        notes.append("Warning: a stage was trained on another split of the data; test persons may be among those that "
                     "it was trained on, and its scores too good.")
    if isinstance(duplicates, dict):
        notes.append("Without the test persons whose photographs are also in training: " + ", ".join(
            f"{title} {cell(rate)}" for title, rate in headlines(duplicates).items()) + ".")
    left_out = content.get("left_out")
    return notes + [f"{what}: left out, {why}." for what, why in (left_out if isinstance(left_out, dict) else
                                                                 {}).items()]


def training_log(path):
    """Rows of runs/stage{s}_training.csv, numbers but for "joint"; None where there is no such file. Raises Failure."""
    path = Path(path)
    if not path.exists():
        return None
    with arrays.opened(path, "python train_stage1.py") as file:
        rows = list(csv.DictReader(file.read().decode().splitlines()))
        if not rows or not {"epoch", "loss"} <= rows[0].keys():
            raise ValueError("it is no log of a training")
        try:
            return [{key: value if key == "joint" else float(value) if value else math.nan
                     for key, value in row.items()} for row in rows]
        except TypeError:
            raise ValueError("its lines are not of one length") from None


def stages_of(run_dir, ending):
    """Numbers of the stages of which a folder holds stage{s}{ending}, in order."""
    matches = (re.fullmatch(rf"stage(\d+){re.escape(ending)}", path.name) for path in Path(run_dir).glob("stage*"))
    return sorted(int(match[1]) for match in matches if match)


def _fault(content):
    """What is wrong with a test run's content, in words; None where nothing is."""
    duplicates = {key: content[key] for key in ("without_training_duplicates",) if key in content}
    for name, scores in (columns_of(0, content) | duplicates).items():
        if not isinstance(scores, dict) or not any(METRICS.fullmatch(key) for key in scores):
            return "it holds no scores"
        for key, value in scores.items():
            if METRICS.fullmatch(key) and not _are_numbers(value) \
                    or key == "pdj" and not all(re.fullmatch(r"0\.\d+|1\.0+", threshold) for threshold in value) \
                    or key in ("confidence", "score") and not _is_confidence(value, key == "confidence"):
                return f"its {key} is none"
        if not _are_numbers(scores.get("standard_error")) or type(scores.get("persons")) is not int:
            return f"it lacks the standard errors or the number of persons of {name}"
        try:
            headlines(scores)
        except KeyError as error:
            return f"it lacks the {error.args[0]} of a score of {name}"
    for key, gains in content.items():
        if key.startswith("gain_over_") and not (isinstance(gains, dict) and all(
                _are_numbers(gain, "gain", "low", "high") for gain in gains.values())):
            return f"its {key} is none"
    return None


def _is_number(value):
    return value is None or type(value) in (int, float) and abs(value) < 1e12


def _are_numbers(values, *keys):
    """Whether a dictionary holds numbers and null, and all those keys."""
    return isinstance(values, dict) and all(map(_is_number, values.values())) and values.keys() >= set(keys)


def _is_row(values, length):
    """Whether a list has so many numbers and null."""
    return isinstance(values, list) and len(values) == length and all(map(_is_number, values))


def _is_confidence(found, fitted):
    """Whether it is a result of reliability.confidence_scores."""
    if not isinstance(found, dict) or not _are_numbers({key: value for key, value in found.items() if key in (
            "auroc", "brier", "surest_50%", "surest_80%")}, "auroc"):
        return False
    intervals = found.get("intervals", {})
    if not isinstance(intervals, dict) or not all(_is_row(pair, 2) for each in intervals.values() for pair in (
            each.values() if isinstance(each, dict) else [each])):
        return False
    if not fitted:
        return True
    errors, curves = found.get("calibration_error"), found.get("reliability")
    if not _are_numbers(errors, "all") or not isinstance(curves, dict):
        return False
    edges, names = curves.get("edges"), curves.keys() - {"edges"}
    return isinstance(edges, list) and _is_row(edges, len(edges)) and None not in edges and "all" in names and all(
        isinstance(curves[name], dict) and name in errors and all(
            _is_row(curves[name].get(key), len(edges) - 1)
            for key in ("counts", "confidence", "right", "low", "high")) for name in names)
