"""Scores in percent, their table, and what a result must say about how it came to be."""
import datetime
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from .metrics import diameters, joint_hits, limb_hits, overall_mean, part_means, standard_error
from .parallel import usable_cores

THRESHOLDS = tuple(step / 20 for step in range(1, 11))  # 0.05, 0.1 ... 0.5: the points of a PDJ curve
TITLES = {"strict PCP@0.5": "pcp_strict@0.5", "relaxed PCP@0.5": "pcp_relaxed@0.5", "PCK@0.2": "pck@0.2", "PDJ": "pdj",
          "PCKh@0.5": "pckh@0.5"}
PROJECT = Path(__file__).resolve().parents[1]


def score(predicted, truth, head_sizes, skeleton, thresholds=THRESHOLDS):
    """Every metric, in percent.

    predicted, truth  (N, J, 2) same frame; NaN truth = not annotated, NaN prediction = wrong
    head_sizes        (N,) same unit, the reference of PCKh; NaN = does not count
    Returns           dict, NaN where nothing counts:
                      "pck@0.2", "pckh@0.5": each joint and "mean"; PCK also "mean12", over the paper's limbs' joints
                      "pdj": mean over joints at each threshold, "0.05" ...
                      "pcp_strict@0.5", "pcp_relaxed@0.5": each limb, "mean10" over all ten, "mean8" over the paper's
                      (the numbers are those of the skeleton's limbs)
                      "standard_error": of the means, over persons: "pck@0.2", "pckh@0.5", "pcp_strict@0.5_mean10" ...
                      "persons": N
    """
    spans = diameters(truth, skeleton)
    errors, scores = {}, {}

    def rates(metric, names, hits, means):
        scores[metric] = dict(zip(names, _percent(part_means(hits)), strict=True))
        for mean, columns in means.items():
            scores[metric][mean] = _percent(overall_mean(hits[:, columns]))
            errors[metric if mean == "mean" else f"{metric}_{mean}"] = _percent(standard_error(hits[:, columns]))

    rates("pck@0.2", skeleton.joints, joint_hits(predicted, truth, spans, 0.2),
          {"mean": slice(None), f"mean{len(skeleton.limb_indices)}": list(skeleton.limb_indices)})
    scores["pdj"] = {f"{threshold:.2f}": _percent(overall_mean(joint_hits(predicted, truth, spans, threshold)))
                     for threshold in thresholds}
    rates("pckh@0.5", skeleton.joints, joint_hits(predicted, truth, head_sizes, 0.5), {"mean": slice(None)})
    limbs = list(skeleton.limbs)
    means = {f"mean{len(limbs)}": slice(None),
             f"mean{len(skeleton.paper_limbs)}": skeleton.paper_limb_indices}
    for kind in ("strict", "relaxed"):
        rates(f"pcp_{kind}@0.5", limbs, limb_hits(predicted, truth, skeleton, 0.5, relaxed=kind == "relaxed"), means)
    return scores | {"standard_error": errors, "persons": len(truth)}


def _percent(fraction):
    """Fractions to percent as plain floats, so that they can go into JSON and checkpoints."""
    return (100 * np.asarray(fraction)).tolist()


def table(columns, gains=()):
    """Scores side by side, as text.

    columns  name -> a result of `score` (also one read back from JSON, null = NaN)
    gains    pairs of names (before, after): the points gained stand right of the column `after`
    Returns  lines of aligned text, below 100 characters wide with four models of names up to ten characters
    """
    layout = [(name, before) for name in columns for before in (None, *(b for b, after in gains if after == name))]
    width = max(13, *(len(name) + 1 for name in columns))
    persons = sorted({scores["persons"] for scores in columns.values()})
    lines = [f"percent, ± standard error over {' or '.join(map(str, persons))} persons"
             + ("; gains in points" if gains else "")]
    for title, metric in TITLES.items():
        lines += ["", f"{title:16}" + "".join(f"{'gain':>7}" if before else f"{name:>{width}}"
                                              for name, before in layout)]
        for part in next(iter(columns.values()))[metric]:
            mean = metric if part == "mean" else f"{metric}_{part}"
            cells = [f"{_gain(columns[before][metric][part], columns[name][metric][part]):>7}" if before else
                     _cell(columns[name][metric][part]).rjust(width - 5)
                     + _error(columns[name]["standard_error"].get(mean)).ljust(5) for name, before in layout]
            lines.append((f"  {'at ' if metric == 'pdj' else ''}{part}".ljust(16) + "".join(cells)).rstrip())
    return "\n".join(lines)


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


def _cell(value):
    return "-" if value is None or np.isnan(value) else f"{value:.1f}"


def _error(value):
    return "" if value is None or np.isnan(value) else f" ±{value:.1f}"


def _gain(before, after):
    return "" if None in (before, after) or np.isnan(after - before) else f"{after - before:+.1f}"


COMMIT = git_commit(PROJECT)  # of the code as this process loaded it, whatever is edited while it runs
