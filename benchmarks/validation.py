"""What benchmarks tell of a training, and of the poses that it gives to validation persons."""
import numpy as np

from deeppose.comparison import differences
from deeppose.testing import thresholds_of

SCORES = {"pdj": ("0.05", "0.10", "0.20", "0.50"), "pck@0.2": ("mean",), "pcp_strict@0.5": ("mean10", "mean8")}


def facts(checkpoint):
    """What is told of the training whose checkpoint this is."""
    return {"best_epoch": checkpoint["best_epoch"],
            "minutes": round(sum(row["seconds"] for row in checkpoint["history"]) / 60, 1),
            **{key: checkpoint["provenance"][key] for key in ("commit", "hardware", "threads", "versions", "date")}}


def compared(before, after, persons, held, seed):
    """Data set, or "all" -> score -> {"mean", "gain", "low", "high"} of poses (M, J, 2) of the persons `held` (M,).

    The mean is of `after`, in percent; gains over `before` are in points, with 95% intervals of a paired bootstrap.
    """
    sources, found = persons.sources[held], {}
    for source in ("all", *sorted(set(sources))):
        own = np.flatnonzero((sources == source) | (source == "all"))
        gains = differences(before[own], after[own], persons.truth[held[own]], persons.head_sizes[held[own]],
                            persons.skeleton, persons.box_side, thresholds_of(persons), seed=seed)
        found[source] = {"persons": len(own)} | {
            f"{metric} {part}": {"mean": (it := gains[metric][part])["after"]} | {
                key: it[key] for key in ("gain", "low", "high")} for metric, parts in SCORES.items() for part in parts}
    return found


def told(found, scores=None):
    """What `compared` found for one data set, or these scores of it, in one line."""
    return ", ".join(f"{score} {own['mean']:.1f} {own['gain']:+.1f} ({own['low']:+.1f} to {own['high']:+.1f})"
                     for score, own in found.items() if score in (scores or found) and score != "persons")
