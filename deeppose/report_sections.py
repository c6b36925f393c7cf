"""The parts of a report that tell numbers, as HTML. Where one is missing, its part says so and how to make it."""
import math

import numpy as np

from . import report_charts as charts
from .looks import LOSSES, SCORES, score_title
from .report_errors import KINDS, kind_shares, meanings, mirrored_persons
from .report_html import details, element, missing, paragraph, section, table
from .reports import TITLES, cell, headlines

MOST_SCORES = 5  # curves in one chart


def look_of(name):
    """How a stage's lines look: the number of its CSS class; "mean pose" has 0."""
    return int(name.removeprefix("stage ")) if name.startswith("stage ") else 0


# ---- what was trained

def training(stages, dataset, unfinished):
    """stages: with "title", and "facts" and "settings", both name -> text; dataset: name -> text, None without one;
    unfinished: names of networks."""
    parts = []
    if dataset:
        parts.append(table("The data", ["", "data set"], list(map(list, dataset.items())), words=True))
    else:
        parts.append(missing("The data: not here (no dataset.json), so persons and pictures are left out."))
    if not stages:
        parts.append(missing("No finished training here; run: python train_stage1.py"))
    else:
        parts.append(_side_by_side("The training", [(stage.title, stage.facts) for stage in stages]))
        parts.append(details("All settings", _side_by_side("Settings", [
            (stage.title, stage.settings) for stage in stages])))
    if unfinished:
        parts.append(missing(f"Begun and not finished: {', '.join(unfinished)}."))
    return section("training", "What was trained on what", *parts)


def _side_by_side(caption, columns):
    names = dict.fromkeys(name for _, facts in columns for name in facts)
    return table(caption, ["", *(title for title, _ in columns)],
                 [[name, *(facts.get(name, "–") for _, facts in columns)] for name in names], words=True)


# ---- scores

def scores(columns, limits, gains, told):
    """columns: name -> scores of reports.score; limits: (name, metric, part) -> (low, high), percent; gains: (before,
    after) -> metric -> {"gain", "low", "high"}; told: sentences on where the numbers are from."""
    if not columns:
        return section("scores", "Scores", missing("No scores here (no stage1.json); run: python test_stage1.py"))
    names, last = list(columns), list(columns)[-1]
    tiles = [element("div", element("b", cell(rate)), element("span", f"{title}, {last}"), class_="tile")
             for title, rate in headlines(columns[last]).items()]
    parts = [element("div", *tiles, class_="tiles"), *map(paragraph, told)]
    if gains:
        parts.append(table("What a stage gained over the one before, points (95% interval)", ["", *(
            f"{after} over {before}" for before, after in gains)], [
            [_metric(metric), *(_gain(found.get(metric)) for found in gains.values())]
            for metric in dict.fromkeys(key for found in gains.values() for key in found)]))
    parts.append(table("Means, percent (95% interval)", ["", *names], [
        [f"{title}, {part}" if part != "mean" else title, *(_rate(columns, limits, name, metric, part)
                                                           for name in names)]
        for title, metric in _shown(columns[last]) for part in columns[last][metric]
        if metric == "oks" or part == "total" or part.startswith("mean")]))
    parts += [_curve(columns), _parts_of(columns, limits)]
    return section("scores", "Scores", *parts)


def _shown(scores):
    """(title, metric) of the tables: the box is a reference for want of a torso."""
    return [(title, metric) for title, metric in TITLES.items() if isinstance(scores.get(metric), dict)
            and not (metric.startswith("pck_box") and "pck@0.2" in scores)]


def _metric(key):
    metric, _, count = key.partition("_mean")
    title = next((title for title, own in TITLES.items() if own == metric), metric)
    return f"{title}, mean of {count}" if count else title


def _gain(found):
    return "–" if found is None or any(map(_nan, found.values())) else \
        "{gain:+.1f} ({low:+.1f} to {high:+.1f})".format(**found)


def _rate(columns, limits, name, metric, part):
    rate = columns[name].get(metric, {}).get(part)
    low, high = limits.get((name, metric, part), (None, None))
    return cell(rate) + ("" if _nan(low) or _nan(high) else f" ({low:.1f} to {high:.1f})")


def _nan(value):
    return value is None or math.isnan(value)


def _curve(columns):
    """The PDJ curve of each column, where there is one, with its numbers."""
    own = {name: found["pdj"] for name, found in columns.items() if found.get("pdj")}
    if not own:
        return missing("PDJ curves: none, the skeleton has no torso diameter.")
    points = list(dict.fromkeys(point for found in own.values() for point in found))
    chart = charts.lines("Joints detected against the threshold, a line for each stage", [
        (look_of(name), list(map(float, found)), [_number(rate) for rate in found.values()])
        for name, found in own.items()], "threshold, torso diameters", "joints detected, %", (0, 100))
    return element("figure", element("h3", "PDJ curve"), charts.legend([(look_of(name), name) for name in own]), chart,
                   details("Numbers", table("PDJ, percent", ["threshold", *own], [
                       [point, *(cell(_number(found.get(point))) for found in own.values())] for point in points])))


def _parts_of(columns, limits):
    """Each joint's and limb's score: charts and tables."""
    last = list(columns)[-1]
    wanted = ["pck@0.2" if "pck@0.2" in columns[last] else "pck_box@0.1", "pcp_strict@0.5"]
    figures, tables = [], []
    for title, metric in _shown(columns[last]):
        parts = [part for part in columns[last][metric] if not part.startswith("mean") and part != "total"]
        if metric in ("pdj", "oks") or not parts:
            continue
        tables.append(table(f"{title}, percent (95% interval)", ["", *columns], [
            [part, *(_rate(columns, limits, name, metric, part) for name in columns)] for part in parts]))
        if metric not in wanted:
            continue
        rows = [(part, [(_number(found.get(metric, {}).get(part)), *limits.get((name, metric, part), (math.nan,) * 2))
                        for name, found in columns.items()]) for part in parts]
        chart = charts.intervals(f"{title} of each part, with 95% intervals where they are known; the table has the "
                                 "numbers", rows, [look_of(name) for name in columns], f"{title}, %")
        figures.append(element("figure", element("h3", title), charts.legend(
            [(look_of(name), name) for name in columns]), chart))
    return [element("div", *figures, class_="charts"), details("Every joint and limb, as tables", *tables)]


def _number(value):
    return math.nan if value is None else value


# ---- kinds of errors

def errors(kinds, skeleton, why):
    """kinds: name of a stage -> (N, J) of report_errors.error_kinds; why: where there are none, what is missing."""
    if not kinds:
        return section("errors", "Why joints are wrong", missing(why))
    meaning, names = meanings(skeleton), ["all joints", *skeleton.joints]
    shares = {name: kind_shares(found) for name, found in kinds.items()}
    figures = [element("figure", element("h3", name.capitalize()), charts.shares(
        f"{name}: of each joint the shares of predictions that are right, inaccurate, exchanged and missed; the table "
        "has the numbers", list(zip(names, own)), KINDS)) for name, own in shares.items()]
    parts = [element("dl", *(part for kind in KINDS for part in (element("dt", element("b", kind)),
                                                                 element("dd", meaning[kind])))),
             charts.kinds_legend([(kind, kind) for kind in KINDS]), element("div", *figures, class_="charts")]
    if skeleton.pairs:
        parts += [paragraph(f"{name}: {mirrored_persons(found, skeleton)} of {len(found)} persons have most of their "
                            "paired joints exchanged, as if seen from the other side.") for name, found in
                  kinds.items()]
    else:
        parts.append(missing("Left and right exchanged: not told, the skeleton has no pairs."))
    return section("errors", "Why joints are wrong", *parts, table(
        "Percent of all joints, the mean over joints", ["", *KINDS],
        [[name, *(cell(100 * share) for share in own[0])] for name, own in shares.items()]), details(
            "Every joint", *(table(f"{name}, percent", ["", *KINDS], [
                [joint, *(cell(100 * share) for share in own)] for joint, own in zip(skeleton.joints, found[1:])])
                for name, found in shares.items())))


# ---- training curves

def curves(logs):
    """logs: stage's number -> rows of its training."""
    if not logs:
        return section("curves", "Training curves", missing("No training log here, neither in a checkpoint nor as "
                                                                 "stage1_training.csv."))
    parts = []
    for number, rows in logs.items():
        parts.append(element("h3", f"Stage {number}"))
        parts.append(_joint_curves(rows) if "joint" in rows[0] else _epoch_curves(rows))
        keys = list(dict.fromkeys(key for row in rows for key in row))
        parts.append(details("Numbers", table(f"Stage {number}, after each epoch", keys, [
            [_short(row.get(key, math.nan)) for key in keys] for row in rows])))
    return section("curves", "Training curves", *parts)


def _epoch_curves(rows):
    epochs = [row["epoch"] for row in rows]
    scores = {key: score_title(key) for key in rows[0] if key.startswith(tuple(SCORES))}
    # what is minimised may count heatmaps beside the coordinates: not one axis for both
    panels = [("training loss", {"loss": "training"}, True), ("loss of the coordinates", LOSSES, True),
              ("validation scores, %", scores, False)]
    figures = []
    for title, labels, log in panels:
        keys = [key for key in labels if key in rows[0]][:MOST_SCORES]
        chart = charts.lines(f"{title} after each epoch: {', '.join(labels[key] for key in keys)}", [
            (look, epochs, [row.get(key, math.nan) for row in rows]) for look, key in enumerate(keys, 1)],
            "epoch", title, log=log, counts=True)
        if chart:
            figures.append(element("figure", charts.legend([(look, labels[key]) for look, key in enumerate(keys, 1)]),
                                   chart))
    return element("div", *figures, class_="charts")


def _joint_curves(rows):
    """The cascade's: a line for each joint, and their mean."""
    joints = list(dict.fromkeys(row["joint"] for row in rows))
    own = {joint: [row for row in rows if row["joint"] == joint] for joint in joints}
    epochs = sorted({row["epoch"] for row in rows})
    figures = []
    measures = [("training loss", "loss", None, "")]
    measures += [("points gained", key, f"{key}_before", f": validation persons' {SCORES[key]}, over the stage before")
                 for key in ("pdj", "pck_box")]  # of a skeleton with a torso diameter, or without
    for title, after, before, score in measures:
        if before and before not in rows[0]:
            continue
        series = [(0, [row["epoch"] for row in some], [
            row.get(after, math.nan) - (row.get(before, math.nan) if before else 0) for row in some])
            for some in own.values()]
        values = {epoch: [y for _, xs, ys in series for x, y in zip(xs, ys) if x == epoch and not _nan(y)]
                  for epoch in epochs}
        mean = [np.mean(values[epoch]) if values[epoch] else math.nan for epoch in epochs]
        chart = charts.lines(f"{title} after each epoch{score}; each joint's and their mean", [*series, (2, epochs,
                                                                                                       mean)],
                             "epoch", title, log=not score, counts=True)
        if chart:
            figures.append(element("figure", charts.legend([(2, "mean"), (0, "each joint" if len(joints) > 1 else
                                                                          joints[0])]), chart,
                                   element("figcaption", f"{title}{score}")))
    return element("div", *figures, class_="charts")


def _short(value):
    return value if isinstance(value, str) else "–" if _nan(value) else f"{value:.4g}"


# ---- reliability

def reliability(columns):
    """columns: name -> scores, with "confidence" or "score" where the stage has one."""
    stages = {name: found for name, found in columns.items() if name.startswith("stage ")}
    fitted = {name: found["confidence"] for name, found in stages.items() if "confidence" in found}
    ranked = {name: found["score"] for name, found in stages.items() if "score" in found}
    parts = []
    if fitted:
        last, found = list(fitted.items())[-1]
        parts.append(paragraph(f"Confidence here is the {found.get('means', 'probability that a joint is right')}. It "
                               "is calibrated where the line follows the diagonal; grey bars are how many joints have "
                               "such a confidence, vertical lines 95% intervals over persons."))
        parts.append(table("Of test persons (95% interval)", ["", *fitted], [
            [title, *(_worth(own, key, form) for own in fitted.values())] for title, key, form in (
                ("calibration error, points", "calibration_error", "{:.1f}"), ("Brier score", "brier", "{:.3f}"),
                ("AUROC", "auroc", "{:.3f}"), ("right among the surest 50%, %", "surest_50%", "{:.1f}"),
                ("right among the surest 80%, %", "surest_80%", "{:.1f}"))]))
        panels = {name: element("figure", charts.reliability(
            f"Joints right against confidence, {'all joints' if name == 'all' else name} of {last}", curve,
            found["reliability"]["edges"]), element("figcaption", f"{'all joints' if name == 'all' else name}: error "
                                                    f"{cell(_number(found['calibration_error'][name]))}"))
                  for name, curve in found["reliability"].items() if name != "edges"}
        every = panels.pop("all")
        parts += [element("div", every, class_="charts"), _bins(found, last)]
        if panels:
            parts.append(details("Each joint", element("div", *panels.values(), class_="charts small")))
    for name, found in ranked.items():
        parts.append(missing(f"{name}'s confidence is a score of no fixed meaning (AUROC "
                             f"{_form(found.get('auroc'), '{:.3f}')}); python calibrate.py, then the test again, gives "
                             "it one."))
    if not parts:
        parts.append(missing("No confidence was tested here: the network gives none, or nothing was tested."))
    return section("reliability", "Is the confidence calibrated?", *parts)


def _worth(found, key, form):
    value, limits = found.get(key), found.get("intervals", {}).get(key)
    if key == "calibration_error":
        value, limits = value["all"], limits.get("all") if isinstance(limits, dict) else None
    low, high = limits if isinstance(limits, list) and len(limits) == 2 else (None, None)
    return _form(value, form) + ("" if _nan(low) or _nan(high) else f" ({form.format(low)} to {form.format(high)})")


def _form(value, form):
    return "–" if _nan(value) else form.format(value)


def _bins(found, name):
    edges, curve = found["reliability"]["edges"], found["reliability"]["all"]
    return details("Numbers", table(f"{name}, all joints", ["confidence, %", "joints", "mean confidence, %", "right, %",
                                                           "95% interval"], [
        [f"{100 * low:.0f} to {100 * high:.0f}", count, *(cell(100 * _number(curve[key][place]))
                                                         for key in ("confidence", "right")),
         f"{cell(100 * _number(curve['low'][place]))} to {cell(100 * _number(curve['high'][place]))}"]
        for place, (low, high, count) in enumerate(zip(edges, edges[1:], curve["counts"]))]))
