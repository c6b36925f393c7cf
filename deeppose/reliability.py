"""Whether a confidence is calibrated, and whether it ranks: calibration error, Brier score, AUROC, curves, the surest.

Arguments are the confidence of each joint (N, J), 0 ... 1, and its hits (N, J): 1 = right, 0 = wrong, NaN = does not
count. Results are fractions; intervals are the middle 95% of a bootstrap over persons.
"""
import warnings

import numpy as np

from .metrics import overall_mean

BINS = 10             # of equal width, by confidence
SUREST = (0.5, 0.8)   # shares of the joints, surest first
DRAWS = 1000
RANK_DRAWS = 200      # of AUROC and the surest, which sort anew each time


def calibration_error(confidence, hits):
    """Expected calibration error: |mean confidence - share right| of each bin, a mean over joints.

    Source   Naeini et al., AAAI 2015; Guo et al., ICML 2017
    Returns  float; NaN where nothing counts
    """
    return float(_errors(_sums(confidence, hits).sum(0))[0])


def brier(confidence, hits):
    """Mean squared difference of confidence and what is so (Brier 1950); NaN where nothing counts."""
    counted = ~np.isnan(hits)
    return float(((confidence - hits)[counted] ** 2).mean()) if counted.any() else float("nan")


def auroc(confidence, hits, weights=None):
    """The share of pairs of a right and a wrong joint of which the right one has the higher confidence; ties are half.

    weights  (N,) of each person; None = one
    Returns  float; NaN where all are right or all wrong
    """
    counted = ~np.isnan(hits)
    weights = np.broadcast_to((np.ones(len(hits)) if weights is None else weights)[:, None], hits.shape)[counted]
    values, place = np.unique(confidence[counted], return_inverse=True)
    right, wrong = (np.bincount(place, weights * (hits[counted] == kind), len(values)) for kind in (1, 0))
    if not right.sum() * wrong.sum():
        return float("nan")
    return float((right * (wrong.cumsum() - wrong / 2)).sum() / right.sum() / wrong.sum())


def surest_right(confidence, hits, share, weights=None):
    """The share that is right among the surest `share` of all counted joints."""
    counted = ~np.isnan(hits)
    weights = np.broadcast_to((np.ones(len(hits)) if weights is None else weights)[:, None], hits.shape)[counted]
    order = np.argsort(-confidence[counted], kind="stable")
    weights, right = weights[order], hits[counted][order]
    if not weights.sum():
        return float("nan")
    taken = np.diff(weights.cumsum().clip(max=share * weights.sum()), prepend=0)
    return float((taken * right).sum() / taken.sum())


def reliability(confidence, hits, draws=DRAWS, seed=0):
    """Reliability curves of all joints together and of each, and their calibration errors.

    Returns  edges (BINS + 1,); counts, confidence and right (1 + J, BINS): joints in each bin, their mean confidence
             and the share that is right; low and high (1 + J, BINS) of that share; error, error_low and error_high
             (1 + J,): the first row is that of all joints. NaN where a bin is empty; low and high also where one draw
             in 40 leaves it so
    """
    sums = _sums(confidence, hits)  # (N, 1 + J, BINS, 3)
    total = sums.sum(0)
    generator, persons = np.random.default_rng(seed), len(sums)
    rates, errors = [], []
    for _ in range(draws):
        weights = np.bincount(generator.integers(persons, size=persons), minlength=persons).astype(np.float64)
        drawn = (weights @ sums.reshape(persons, -1)).reshape(total.shape)
        rates.append(_rate(drawn[..., 2], drawn[..., 0]))
        errors.append(_errors(drawn))
    low, high = _interval(rates)
    error, counts = _errors(total), total[..., 0]
    error_low, error_high = (limit.clip(min=0) for limit in _interval(_centred(errors, error)))
    return {"edges": np.linspace(0, 1, BINS + 1), "counts": counts.astype(int),
            "confidence": _rate(total[..., 1], counts), "right": _rate(total[..., 2], counts), "low": low, "high": high,
            "error": error, "error_low": error_low, "error_high": error_high}


def confidence_scores(confidence, hits, joints, fitted, draws=DRAWS, seed=0):
    """All of it, in percent where a rate or an error of one is meant, for JSON.

    joints   names of the J joints
    fitted   whether the confidence was calibrated; a score that was not has ranks only
    Returns  dict: "auroc", "surest_50%", "surest_80%" (shares right among them), and of a fitted one
             "calibration_error" with each joint's and "worst_joint", "brier", "reliability" (curves by joint and of
             "all"); "intervals" of the scores, [low, high]
    """
    ranks = {"auroc": auroc} | {
        f"surest_{share:.0%}": lambda *given, share=share: 100 * surest_right(*given[:2], share, *given[2:])
        for share in SUREST}
    found = {name: score(confidence, hits) for name, score in ranks.items()}
    generator, persons = np.random.default_rng(seed), len(hits)
    drawn = {name: [] for name in ranks}
    for _ in range(min(draws, RANK_DRAWS)):
        weights = np.bincount(generator.integers(persons, size=persons), minlength=persons).astype(np.float64)
        for name, score in ranks.items():
            drawn[name].append(score(confidence, hits, weights))
    intervals = {name: _pair(*_interval(values)) for name, values in drawn.items()}
    found |= {"joints": int((~np.isnan(hits)).sum()), "right": 100 * overall_mean(hits.reshape(-1, 1))}
    if fitted:
        curves = reliability(confidence, hits, draws, seed)
        names = ["all", *joints]
        errors = dict(zip(names, (100 * curves["error"]).tolist()))
        worst = max((name for name in joints if errors[name] == errors[name]), key=errors.get, default=None)
        found |= {"calibration_error": errors, "worst_joint": worst, "brier": brier(confidence, hits)}
        intervals["calibration_error"] = {name: _pair(low, high) for name, low, high in
                                          zip(names, 100 * curves["error_low"], 100 * curves["error_high"])}
        squares = np.where(np.isnan(hits), 0, (confidence - hits) ** 2).sum(1), (~np.isnan(hits)).sum(1)
        intervals["brier"] = _pair(*_interval(_ratios(*squares, draws, seed)))
        found["reliability"] = {"edges": curves["edges"].tolist()} | {
            name: {key: curves[key][row].tolist() for key in ("counts", "confidence", "right", "low", "high")}
            for row, name in enumerate(names)}
    return found | {"intervals": intervals}


def _sums(confidence, hits):
    """Of each person, of all joints together and of each, in each bin: count, sum of confidence, sum of hits.
    (N, 1 + J, BINS, 3) float64."""
    counted = ~np.isnan(hits)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)  # (N, J)
    each = np.stack([counted, np.where(counted, confidence, 0), np.where(counted, hits, 0)], -1)  # (N, J, 3)
    sums = each[:, :, None] * (place[..., None] == np.arange(BINS))[..., None]  # (N, J, BINS, 3)
    return np.concatenate([sums.sum(1, keepdims=True), sums], 1)


def _errors(sums):
    """Calibration errors from sums (..., BINS, 3) over persons: (...)."""
    return _rate(np.abs(sums[..., 1] - sums[..., 2]).sum(-1), sums[..., 0].sum(-1))


def _rate(part, whole):
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _ratios(parts, wholes, draws, seed):
    """Ratios of two sums over persons, of bootstrap draws: (draws,)."""
    generator, persons = np.random.default_rng(seed), len(parts)
    rows = (generator.integers(persons, size=persons) for _ in range(draws))
    return [_rate(parts[some].sum(), wholes[some].sum()) for some in rows]


def _centred(drawn, found):
    """Draws of a calibration error, shifted to have what was found as their mean: an absolute difference grows by the
    noise of drawing, on the average, and what was found has grown by its own already."""
    drawn = np.array(drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where no draw is a number
        return drawn - np.nanmean(drawn, axis=0) + found


def _interval(drawn):
    """The middle 95% along the first axis; NaN where a fortieth or more of the draws are."""
    drawn = np.sort(np.asarray(drawn, np.float64), axis=0)  # NaN last
    place = 0.025 * (len(drawn) - 1)
    low, high = drawn[round(place)], drawn[round(len(drawn) - 1 - place)]
    return np.where(np.isnan(high), np.nan, low), high


def _pair(low, high):
    return [float(low), float(high)]
