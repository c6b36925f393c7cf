"""Two models on the same persons: the difference of every score, with its interval, and whom it changed most."""
import re

import numpy as np

from .metrics import (
    LEAST_PERSONS,
    diameters,
    distances,
    joint_hits,
    limb_hits,
    reference_lengths,
    symmetric_joints,
    symmetric_limbs,
    symmetric_weights,
)
from .reports import BOX_FRACTIONS, THRESHOLDS

TOGETHER = 64   # draws of a bootstrap in one product, which reads all hits once
FARTHEST = 1.0  # reference lengths: a joint farther off than this is lost, however far


def differences(before, after, truth, head_sizes, skeleton, box_side, thresholds=THRESHOLDS, draws=2000, seed=0):
    """What every score of `reports.score` gained, by paired bootstrap over persons.

    before, after  (N, J, 2) the two models' poses; the others as `reports.score` has them
    draws          how often N persons are drawn with replacement
    Returns        metric -> part -> {"before", "after", "gain", "low", "high"}, percent and points; low and high are
                   the middle 95% of the draws' gains. NaN where nothing counts, and they where fewer than
                   LEAST_PERSONS do
    """
    given = truth, head_sizes, skeleton, box_side, thresholds
    first, second = _columns(before, *given), _columns(after, *given)
    hits = np.stack([np.concatenate(list(each.values()), 1) for each in (first, second)])  # (2, N, K)
    counted = (~np.isnan(hits[0])).astype(np.float64)
    parts = _parts(first, skeleton)
    weights = np.stack([weight for _, _, weight, _ in parts], 1)  # (K, E)
    pooled = np.array([pools for *_, pools in parts])
    generator, persons = np.random.default_rng(seed), len(truth)
    right = np.nan_to_num(hits)

    def rates(times):
        """Percent of each part (2, D, E) where person n comes times[d, n] times."""
        counts, sums = times @ counted, times @ right  # (D, K), (2, D, K)
        each = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = each @ weights / ((counts > 0) @ weights)  # of parts that count
            return 100 * np.where(pooled, sums @ weights / (counts @ weights), means)

    before, after = rates(np.ones((1, persons)))[:, 0]
    gains = np.empty((draws, len(parts)))
    for start in range(0, draws, TOGETHER):
        times = [np.bincount(generator.integers(persons, size=persons), minlength=persons)
                 for _ in range(start, min(draws, start + TOGETHER))]
        drawn = rates(np.array(times, np.float64))
        gains[start:start + TOGETHER] = drawn[1] - drawn[0]
    known = ~np.isnan(gains).all(0) & ((counted @ (weights > 0) > 0).sum(0) >= LEAST_PERSONS)
    low, high = np.full((2, len(parts)), np.nan)
    if known.any():
        low[known], high[known] = np.nanpercentile(gains[:, known], (2.5, 97.5), axis=0)
    found = {}
    for place, (metric, part, *_) in enumerate(parts):
        found.setdefault(metric, {})[part] = {
            "before": float(before[place]), "after": float(after[place]), "gain": float(after[place] - before[place]),
            "low": float(low[place]), "high": float(high[place])}
    return found


def person_errors(predicted, truth, skeleton, box_side):
    """Mean error of each person's joints, each at most FARTHEST: (N,) in torso diameters, of a skeleton without one in
    half boxes; NaN where none counts.

    predicted, truth  (N, J, 2); NaN truth = not annotated, NaN prediction = as far off as FARTHEST
    """
    spans = reference_lengths(truth, skeleton, box_side)
    spans = np.where(spans > 0, spans, np.nan)[:, None]
    away = np.nan_to_num(distances(predicted, truth) / spans, nan=FARTHEST).clip(max=FARTHEST)
    counts = ~np.isnan(truth).any(-1) & ~np.isnan(spans)
    return np.divide((away * counts).sum(1), counts.sum(1), out=np.full(len(truth), np.nan), where=counts.any(1))


def changed_most(before, after, count):
    """Rows of the persons whose errors (N,) fell most and rose most, most first: two arrays of at most `count`."""
    change = np.nan_to_num(after - before)
    order = np.argsort(change, kind="stable")
    return (order[change[order] < 0][:count], order[::-1][change[order[::-1]] > 0][:count])


def table(differences, names):
    """Differences as text. names: what the two models are called."""
    first, second = (name if len(name) <= 12 else name[:11] + "…" for name in names)
    if first == second:
        first, second = (name if len(name) <= 12 else "…" + name[-11:] for name in names)
    if first == second:
        first, second = "before", "after"
    width = max([16, *(len(part) + 3 for parts in differences.values() for part in parts), *map(len, differences)])
    lines = []
    for metric, parts in differences.items():
        if metric.startswith("pck_box") and "pck@0.2" in differences:
            continue
        lines += ["", f"{metric.replace('_', ' '):{width}}{first:>13}{second:>13}{'gain':>8}   95% interval"]
        for part, found in parts.items():
            apart = found["low"] > 0 or found["high"] < 0
            lines.append(f"  {'at ' if metric == 'pdj' else ''}{part}".ljust(width) + "".join(
                "-".rjust(space) if np.isnan(found[key]) else f"{found[key]:{sign}{space}.1f}"
                for key, space, sign in (("before", 13, ""), ("after", 13, ""), ("gain", 8, "+"), ("low", 8, "+")))
                + ("" if np.isnan(found["high"]) else f" to {found['high']:+.1f}{' *' if apart else ''}"))
    return "\n".join([*lines, "", "gain in points; * = the interval leaves out 0"])


def _columns(predicted, truth, head_sizes, skeleton, box_side, thresholds):
    """Hits of each metric, (N, P) each."""
    found = {}
    if skeleton.diameter:
        spans = diameters(truth, skeleton)
        found["pck@0.2"] = joint_hits(predicted, truth, spans, 0.2)
        found |= {f"pdj {threshold:.2f}": joint_hits(predicted, truth, spans, threshold) for threshold in thresholds}
    if np.isfinite(head_sizes).any():
        found["pckh@0.5"] = joint_hits(predicted, truth, head_sizes, 0.5)
    if skeleton.limbs:
        for kind in ("strict", "relaxed"):
            found[f"pcp_{kind}@0.5"] = limb_hits(predicted, truth, skeleton, 0.5, relaxed=kind == "relaxed")
    side = np.full(len(truth), box_side)
    return found | {f"pck_box@{fraction:g}": joint_hits(predicted, truth, side, fraction) for fraction in BOX_FRACTIONS}


def _parts(columns, skeleton):
    """[(metric, part, weights of all columns (K,), whether their hits are pooled), ...] in the order of a table."""
    total = sum(hits.shape[1] for hits in columns.values())
    found, start = [], 0
    joints, limbs = symmetric_joints(skeleton), symmetric_limbs(skeleton)
    scored = skeleton.scored
    for metric, hits in columns.items():
        count = hits.shape[1]

        def add(metric, part, chosen, weight=1.0, pools=False, start=start):
            weights = np.zeros(total)
            weights[start + np.asarray(chosen, int)] = weight
            found.append((metric, part, weights, pools))

        every = list(range(count))
        if metric.startswith("pdj "):
            add("pdj", metric.removeprefix("pdj "), every)
        elif metric.startswith("pcp"):
            for index, name in enumerate(skeleton.limbs):
                add(metric, name, [index])
            for chosen in filter(len, (every, skeleton.paper_limb_indices)):
                add(metric, f"mean{len(chosen)}", chosen)
        else:
            for index, name in enumerate(skeleton.joints):
                add(metric, name, [index])
            add(metric, "mean", every)
        if metric == "pck@0.2" and skeleton.limb_indices:
            add(metric, f"mean{len(skeleton.limb_indices)}", skeleton.limb_indices)
        if metric == "pckh@0.5":
            if skeleton.unscored:
                add(metric, f"mean{len(scored)}", scored)
            add(metric, "total", scored, pools=True)
        pairs = limbs if metric.startswith("pcp") else joints if re.match("pckh|pck@|pck_box@0.1", metric) else {}
        for name, chosen in pairs.items():
            add(f"{metric}_symmetric", name, chosen)
        if pairs is limbs and limbs:
            add(f"{metric}_symmetric", f"mean{len(limbs)}", every, symmetric_weights(hits, limbs))
        start += count
    return found
