"""Which poses a report may go by, and the intervals of its scores."""
import math

import numpy as np

from .comparison import differences
from .testing import score_persons, thresholds_of


def poses_scored(poses, persons, columns):
    """Those of the poses that are the ones scored.

    poses    name -> (N, J, 2) crop pixels
    persons  the test split
    columns  name -> result of reports.score; empty where there is no test run
    Returns  the same dictionary with fewer, and sentences on those that were left out
    """
    kept, told = {}, []
    metric = "pck@0.2" if persons.skeleton.diameter else "pck_box@0.1"
    for name, pose in poses.items():
        scored = columns.get(name, {}).get(metric, {}).get("mean")
        own = score_persons(pose, persons)[metric]["mean"]
        if columns and name not in columns:
            told.append(f"{name.capitalize()}'s predictions are of another test and left out: the scores here end "
                        "before it.")
        elif scored is not None and not math.isclose(scored, own, abs_tol=0.01):
            told.append(f"{name.capitalize()}'s predictions score {own:.1f} where the test of all stages says "
                        f"{scored:.1f}: they are of another run, or of another flip test, and left out.")
        else:
            kept[name] = pose
    return kept, told


def limits_of(columns, poses, persons, draws, seed):
    """95% intervals of scores: by bootstrap over persons where poses are known, else from the standard errors that a
    test run gave to its means.

    columns  name -> result of reports.score, null read back as None
    poses    name -> (N, J, 2) crop pixels, of those that are known
    persons  the test split; None where no pose is known
    Returns  {(name, metric, part): (low, high)}, percent; sentences on which are of which kind
    """
    limits, drawn = {}, []
    for name, scores in columns.items():
        if name in poses:
            drawn.append(name)
            found = differences(  # what no prediction at all scores is 0, so that the gain over it is the score
                np.full_like(poses[name], np.nan), poses[name], persons.truth, persons.head_sizes, persons.skeleton,
                persons.box_side, thresholds_of(persons), draws, seed)
            limits |= {(name, metric, part): (each["low"], each["high"])
                       for metric, parts in found.items() for part, each in parts.items()}
            continue
        for metric, parts in scores.items():
            for part in parts if isinstance(parts, dict) else ():
                key = metric if part == "mean" else f"{metric}_{part}"
                if None not in (error := scores["standard_error"].get(key), parts[part]):
                    limits[name, metric, part] = parts[part] - 1.96 * error, parts[part] + 1.96 * error
    told = [f"Intervals of {', '.join(drawn)}: bootstrap over persons, {draws} draws."] if drawn else []
    if others := [name for name in columns if name not in drawn]:
        told.append(f"Intervals of {', '.join(others)}: 1.96 standard errors, of means alone.")
    return limits, told
