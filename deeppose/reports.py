"""Scores in percent, their table, and what a result must say about how it came to be."""
import datetime
import platform
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

from .metrics import (
    diameters,
    joint_hits,
    limb_hits,
    overall_mean,
    part_means,
    pooled_error,
    pooled_mean,
    standard_error,
    symmetric_joints,
    symmetric_limbs,
    symmetric_means,
    symmetric_weights,
)
from .parallel import usable_cores


def thresholds_to(last):
    """The points of a PDJ curve: 0.05, 0.1 ... last."""
    return tuple(step / 20 for step in range(1, round(20 * last) + 1))


THRESHOLDS = thresholds_to(0.5)
BOX_FRACTIONS = (0.05, 0.1, 0.2)
TITLES = {"strict PCP@0.5": "pcp_strict@0.5", "relaxed PCP@0.5": "pcp_relaxed@0.5", "PCK@0.2": "pck@0.2", "PDJ": "pdj",
          "PCKh@0.5": "pckh@0.5", "PCK@0.1 of box": "pck_box@0.1", "PCK@0.05 of box": "pck_box@0.05",
          "PCK@0.2 of box": "pck_box@0.2", "OKS": "oks"}
PROJECT = Path(__file__).resolve().parents[1]


def score(predicted, truth, head_sizes, skeleton, thresholds=THRESHOLDS, box_side=None):
    """Every metric that the skeleton has what it takes for, in percent.

    predicted, truth  (N, J, 2) same frame; NaN truth = not annotated, NaN prediction = wrong
    head_sizes        (N,) same unit, the reference of PCKh; NaN = does not count
    box_side          same unit, of all persons or (N,); None = not known
    Returns           dict, NaN where nothing counts:
                      "pck@0.2", "pckh@0.5": each joint and "mean"; PCK also "mean12", over the paper's limbs' joints;
                      PCKh also "total", pooled over all annotated joints that are not skeleton.unscored, and where
                      there are such "mean14", the plain mean without them
                      "pdj": mean over joints at each threshold, "0.05" ...
                      "pck_box@0.05", "pck_box@0.1", "pck_box@0.2": PCK at fractions of the box: each joint and "mean"
                      "pcp_strict@0.5", "pcp_relaxed@0.5": each limb, "mean10" over all ten, "mean8" over the paper's
                      (the numbers are those of the skeleton's limbs)
                      "pck@0.2_symmetric" and so on: left and right averaged, by what their names share; PCP also
                      "mean6", over these parts
                      "standard_error": of the means, over persons: "pck@0.2", "pckh@0.5", "pcp_strict@0.5_mean10" ...
                      "persons": N
                      "left_out": what is not among these -> why, if anything
    """
    errors, scores, left_out = {}, {}, {}
    joints, limbs = symmetric_joints(skeleton), symmetric_limbs(skeleton)

    def rates(metric, names, hits, means, symmetric):
        scores[metric] = dict(zip(names, _percent(part_means(hits)), strict=True))
        for mean, columns in means.items():
            scores[metric][mean] = _percent(overall_mean(hits[:, columns]))
            errors[metric if mean == "mean" else f"{metric}_{mean}"] = _percent(standard_error(hits[:, columns]))
        if symmetric:
            scores[f"{metric}_symmetric"] = {name: _percent(rate) for name, rate in
                                             symmetric_means(hits, symmetric).items()}

    def without(metrics, lengths, why):
        if unknown := int(np.isnan(lengths).sum()):
            left_out[f"{metrics} of {unknown} of {len(lengths)} persons"] = why

    if skeleton.diameter:
        spans, ends = diameters(truth, skeleton), skeleton.limb_indices
        rates("pck@0.2", skeleton.joints, joint_hits(predicted, truth, spans, 0.2),
              {"mean": slice(None)} | ({f"mean{len(ends)}": list(ends)} if ends else {}), joints)
        scores["pdj"] = {f"{threshold:.2f}": _percent(overall_mean(joint_hits(predicted, truth, spans, threshold)))
                         for threshold in thresholds}
        without("PDJ, PCK", spans, f"their {' or '.join(skeleton.diameter)} is not annotated")
    else:
        left_out["PDJ, PCK"] = "the skeleton has no torso diameter"
    if np.isfinite(head_sizes).any():
        hits = joint_hits(predicted, truth, head_sizes, 0.5)
        scored = skeleton.scored
        rates("pckh@0.5", skeleton.joints, hits,
              {"mean": slice(None)} | ({f"mean{len(scored)}": scored} if skeleton.unscored else {}), joints)
        scores["pckh@0.5"]["total"] = _percent(pooled_mean(hits[:, scored]))
        errors["pckh@0.5_total"] = _percent(pooled_error(hits[:, scored]))
        without("PCKh", head_sizes, "their head size is not known")
    else:
        left_out["PCKh"] = "no person's head size is known"
    if skeleton.limbs:
        names, paper = list(skeleton.limbs), skeleton.paper_limb_indices
        for kind in ("strict", "relaxed"):
            metric, hits = f"pcp_{kind}@0.5", limb_hits(predicted, truth, skeleton, 0.5, relaxed=kind == "relaxed")
            rates(metric, names, hits,
                  {f"mean{len(names)}": slice(None)} | ({f"mean{len(paper)}": paper} if paper else {}), limbs)
            if limbs:
                weights, mean = symmetric_weights(hits, limbs), f"mean{len(limbs)}"
                scores[f"{metric}_symmetric"][mean] = _percent(overall_mean(hits, weights))
                errors[f"{metric}_symmetric_{mean}"] = _percent(standard_error(hits, weights))
    else:
        left_out["PCP"] = "the skeleton has no limbs"
    if skeleton.limbs and not skeleton.paper_limbs:
        left_out["PCP of arms and legs alone"] = "the skeleton does not name them"
    if not skeleton.pairs:
        left_out["left and right averaged"] = "the skeleton has no mirror pairs"
    if box_side is not None:
        for fraction in BOX_FRACTIONS:
            hits = joint_hits(predicted, truth, np.broadcast_to(box_side, len(truth)), fraction)
            rates(f"pck_box@{fraction:g}", skeleton.joints, hits, {"mean": slice(None)},
                  joints if fraction == 0.1 else {})
    return scores | {"standard_error": errors, "persons": len(truth)} | ({"left_out": left_out} if left_out else {})


def _percent(fraction):
    """Fractions to percent as plain floats, so that they can go into JSON and checkpoints."""
    return (100 * np.asarray(fraction)).tolist()


def headlines(scores):
    """The few numbers that stand for a result of `score`: title -> percent, of those that it has. PCP is strict."""
    limbs = _means(scores, "pcp_strict@0.5")
    parts = _means(scores, "pcp_strict@0.5_symmetric")
    chosen = {"PCK@0.2": ("pck@0.2", "mean"), "PDJ@0.1": ("pdj", "0.10"),
              "PCKh@0.5": ("pckh@0.5", "total" if _means(scores, "pckh@0.5") else "mean"),
              **({} if "pck@0.2" in scores else {"PCK@0.1 of box": ("pck_box@0.1", "mean")}),
              **{f"{mean[4:]}-part PCP": ("pcp_strict@0.5_symmetric", mean) for mean in parts},
              **{f"{mean[4:]}-limb PCP": ("pcp_strict@0.5", mean) for mean in limbs}}
    return {title: scores[metric][part] for title, (metric, part) in chosen.items() if metric in scores}


def table(columns, gains=()):
    """Scores side by side, as text.

    columns  name -> a result of `score` (also one read back from JSON, null = NaN, or an older one that lacks some)
    gains    pairs of names (before, after): the points gained stand right of the column `after`
    Returns  lines of aligned text, below 100 characters wide with four models of names up to ten characters
    """
    layout = [(name, before) for name in columns for before in (None, *(b for b, after in gains if after == name))]
    width = max(13, *(len(name) + 1 for name in columns))
    persons = sorted({scores["persons"] for scores in columns.values()})
    lines = [f"percent, ± standard error over {' or '.join(map(str, persons))} persons"
             + ("; gains in points" if gains else "")]
    last, first = list(columns)[-1], next(iter(columns.values()))
    rows_of = {title: rows for title, metric in TITLES.items() if (rows := _rows(first, metric))}
    names = max(16, *(len(part) + 3 for rows in rows_of.values() for _, part in rows), 0)
    for title, rows in rows_of.items():
        lines += ["", f"{title:{names}}" + "".join(f"{'gain':>7}" if before else f"{name:>{width}}"
                                                   for name, before in layout)]
        for key, part in rows:
            rates = {name: scores.get(key, {}).get(part) for name, scores in columns.items()}
            mean = key if part == "mean" else f"{key}_{part}"
            cells = [f"{_gain(rates[before], rates[name]):>7}" if before else
                     cell(rates[name]).rjust(width - 5)
                     + _error(columns[name]["standard_error"].get(mean)).ljust(5) for name, before in layout]
            lines.append((f"  {'at ' if key == 'pdj' else ''}{part}".ljust(names) + "".join(cells)).rstrip())
    symmetric = {title: columns[last].get(f"{TITLES[title]}_symmetric") for title in rows_of}
    if any(symmetric.values()):
        lines += ["", f"left and right averaged, {last}"]
    for title, rates in symmetric.items():
        if rates:
            lines += _wrapped(f"{title}: ", [f"{part} {cell(rate)}" for part, rate in rates.items()
                                             if not re.fullmatch(r"mean\d+", part)])
    left_out = first.get("left_out", {})
    return "\n".join(lines + [""] * bool(left_out) + [f"{what}: left out, {why}" for what, why in left_out.items()])


def _wrapped(title, entries):
    """Lines of entries that stay whole."""
    text = title + ", ".join(entry.replace(" ", "\xa0") for entry in entries)
    lines = textwrap.wrap(text, 98, initial_indent="  ", subsequent_indent="    ", break_long_words=False,
                          break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in lines]


def _rows(scores, metric):
    """What the table shows of a metric: [(key, part)]. The box is a reference for want of a torso."""
    parts = list(scores.get(metric, ()))
    if metric.startswith("pck_box") and "pck@0.2" in scores:
        return []
    if metric in ("pck_box@0.05", "pck_box@0.2"):
        parts = ["mean"] if parts else []
    if "total" in parts and not _means(scores, metric):  # nothing is unscored: the mean alone will do
        parts.remove("total")
    symmetric = f"{metric}_symmetric"
    return [(metric, part) for part in parts] + [(symmetric, mean) for mean in _means(scores, symmetric)]


def _means(scores, metric):
    """The means over a number of a metric's parts: "mean10", "mean8"."""
    return [part for part in scores.get(metric, ()) if re.fullmatch(r"mean\d+", part)]


def provenance(settings, seconds, device=None, **more):
    """How a result came to be: plain strings, numbers, lists and dictionaries, fit for JSON and checkpoints.

    settings  argparse.Namespace, with a seed or without
    seconds   time taken
    device    torch.device or its name, where the work was done on one
    more      further facts
    """
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(settings).items()}
    versions = {name: str(sys.modules[name].__version__) for name in ("numpy", "torch") if name in sys.modules}
    plain = (bool, int, float, str, list, type(None))
    return {"settings": {name: value if isinstance(value, plain) else str(value) for name, value in values.items()},
            "seed": values.get("seed"), "seconds": float(seconds), "commit": COMMIT,
            "command": command_line(sys.argv), "hardware": hardware(device),
            "threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None,
            "versions": {"python": platform.python_version()} | versions,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **more}


def git_commit(folder):
    """Short hash of the commit that a folder's own repository stands at, with "-dirty" where a tracked file differs.

    "unknown" where the folder is no repository's root (a copy of the project inside another repository is not that
    one's commit), has no commit, or git is missing.
    """
    command = ["git", "--no-optional-locks", f"--git-dir={Path(folder, '.git')}", f"--work-tree={folder}",
               "describe", "--always", "--dirty", "--exclude=*"]
    return _output(command) or "unknown"


def command_line(argv):
    """The command as typed, quoted for the system's own shell, with what lies in the project named relative to it."""
    script = Path(argv[0]).resolve()
    paths = [script if script.is_file() else argv[0], *argv[1:]]
    words = ["python", *(Path(path).relative_to(PROJECT).as_posix() if Path(path).is_relative_to(PROJECT) else str(path)
                         for path in paths)]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def hardware(device=None):
    """Processor, cores that this process may use and, where the work is done on a CUDA device, that one's name."""
    cores = usable_cores()
    text = f"{_processor()}, {cores} core{'s' if cores != 1 else ''}"
    return f"{text}; {sys.modules['torch'].cuda.get_device_name(device)}" if str(device).startswith("cuda") else text


def _processor():
    if sys.platform == "linux":
        model = re.search(r"^model name\s*: *(.+)", _output(["cat", "/proc/cpuinfo"]), re.MULTILINE)
        name = model[1] if model else ""  # ARM's has none
    elif sys.platform == "darwin":
        name = _output(["sysctl", "-n", "machdep.cpu.brand_string"])
    else:
        name = platform.processor()
    return name or platform.machine()


def _output(command):
    """What a command prints, or "" where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def cell(value):
    """A rate as tables show it."""
    return "-" if value is None or np.isnan(value) else f"{value:.1f}"


def _error(value):
    return "" if value is None or np.isnan(value) else f" ±{value:.1f}"


def _gain(before, after):
    return "" if None in (before, after) or np.isnan(after - before) else f"{after - before:+.1f}"


COMMIT = git_commit(PROJECT)  # of the code as this process loaded it, whatever is edited while it runs
