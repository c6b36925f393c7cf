"""PCP, PDJ, PCK and PCKh as arrays of hits, and their means with errors over persons.

Hits are float64: 1 = right, 0 = wrong, NaN = does not count, because the truth or its reference length is not
annotated. Whatever counts does so at `<=` the threshold, and a missing prediction (NaN) is wrong. Lengths are compared,
never divided, so that a reference of 0 is defined as well: only an exact prediction is right.
All functions take any frame in which both axes have one scale, and return fractions.
"""
import re

import numpy as np

LEAST_PERSONS = 2  # that an interval needs: of one it would have no width


def distances(predicted, truth):
    """Euclidean distances of joints.

    predicted, truth  (..., 2) same frame; NaN = missing
    Returns           (...) float64 in its unit; NaN where either is missing
    """
    dx, dy = np.moveaxis(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64), -1, 0)
    return np.hypot(dx, dy)


def diameters(joints, skeleton):
    """The reference length of PDJ and PCK: left shoulder to right hip, or what the skeleton declares instead.

    joints   (N, J, 2) any frame
    Returns  (N,) float64 in its unit; NaN where an end is missing, or the skeleton declares none
    Source   Toshev & Szegedy 2014, section 4.1; Sapp & Taskar, MODEC, CVPR 2013
    """
    joints = np.asarray(joints)
    if not skeleton.diameter:
        return np.full(len(joints), np.nan)
    a, b = skeleton.diameter_indices
    return distances(joints[:, a], joints[:, b])


def reference_lengths(joints, skeleton, box_side):
    """In what progress is measured: the torso's `diameters`; of a skeleton without it half of every box's side.

    joints    (N, J, 2) any frame
    box_side  of all persons, in its unit
    Returns   (N,) float64 in its unit; NaN where an end of the diameter is missing
    """
    return diameters(joints, skeleton) if skeleton.diameter else np.full(len(joints), box_side / 2)


def joint_hits(predicted, truth, reference, threshold):
    """PDJ, PCK or PCKh of each joint: its error is at most threshold * reference.

    predicted, truth  (N, J, 2) same frame; NaN truth = not annotated, NaN prediction = wrong
    reference         (N,) same unit: the truth's `diameters` for PDJ and PCK, head sizes for PCKh; NaN = does not count
    Returns           (N, J) hits
    Source            PDJ: Sapp & Taskar 2013; PCK: Yang & Ramanan, PAMI 2013; PCKh: Andriluka et al., CVPR 2014
    """
    reference = np.asarray(reference, np.float64)[:, None]  # (N, 1)
    right = distances(predicted, truth) <= threshold * reference
    counts = ~np.isnan(truth).any(-1) & ~np.isnan(reference)
    return np.where(counts, right, np.nan)


def limb_hits(predicted, truth, skeleton, threshold=0.5, relaxed=False):
    """PCP of each limb, in the order of skeleton.limbs, against the limb's true length.

    predicted, truth  (N, J, 2) same frame; NaN truth = not annotated, NaN prediction = wrong
    relaxed           False: both ends lie within threshold * length; True: the mean of the two ends' errors does
    Returns           (N, L) hits; a limb counts where all joints of its ends are annotated
    Source            Ferrari et al., CVPR 2008; both readings: Pishchulin et al., CVPR 2012
    """
    predicted, truth = _limb_ends(predicted, skeleton), _limb_ends(truth, skeleton)  # (N, L, 2 ends, 2)
    lengths = distances(truth[:, :, 0], truth[:, :, 1])
    errors = distances(predicted, truth)  # (N, L, 2 ends)
    error = errors.mean(-1) if relaxed else errors.max(-1)
    return np.where(np.isnan(lengths), np.nan, error <= threshold * lengths)


def part_means(hits):
    """Rate of each part over the persons on whom it counts: (N, P) hits -> (P,); NaN where it counts on none."""
    counts = (~np.isnan(hits)).sum(0)
    return np.divide(np.nansum(hits, 0), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def overall_mean(hits, weights=None):
    """Mean of the parts' rates, each part weighing the same or as `weights` (P,) say, which sum to 1: (N, P) hits ->
    float; NaN where no part counts."""
    rates = part_means(hits)
    return _mean(rates) if weights is None or np.isnan(rates).all() else float(np.nansum(weights * rates))


def pooled_mean(hits):
    """Rate over all that counts, of whichever part, as MPII's published totals are: (N, P) hits -> float."""
    return _mean(hits)


def symmetric_means(hits, parts):
    """Mean of the rates of the columns that each part names, of those that count: parts name -> column indices, see
    `symmetric_joints`. Returns name -> float."""
    rates = part_means(hits)
    return {name: _mean(rates[list(columns)]) for name, columns in parts.items()}


def symmetric_weights(hits, parts):
    """What each column weighs in the mean over `symmetric_means`: (N, P) hits -> (P,), for `overall_mean`."""
    counts, weights = (~np.isnan(hits)).any(0), np.zeros(hits.shape[1])
    for columns in parts.values():
        own = [column for column in columns if counts[column]]
        weights[own] = 1 / max(1, len(own))
    return weights / max(1, weights.sum())


def standard_error(hits, weights=None):
    """Standard error of `overall_mean`, with the persons as the sampling unit.

    The parts of a person are not independent, so that counting N * P trials would give too small an error. The mean's
    first-order change with each person's weight is summed over persons; where everything is annotated this is
    the standard deviation of the persons' own means over the root of N.

    hits     (N, P)
    weights  (P,) as `overall_mean` takes them
    Returns  float; NaN with fewer than two persons on whom something counts
    """
    counted = ~np.isnan(hits)
    parts = counted.any(0)
    deviations = np.where(counted, hits - part_means(hits), 0)[:, parts]
    weights = 1 / max(1, parts.sum()) if weights is None else weights[parts]
    return _error_of((deviations / counted[:, parts].sum(0) * weights).sum(1), counted)


def pooled_error(hits):
    """Standard error of `pooled_mean`, in the same way."""
    counted = ~np.isnan(hits)
    return _error_of(np.where(counted, hits - _mean(hits), 0).sum(1) / max(1, counted.sum()), counted)


def paired_bootstrap(before, after, draws=2000, seed=0):
    """The gain in `overall_mean` from one model to another on the same persons.

    before, after  (N, P) hits of the two models
    draws          how often N persons are drawn with replacement
    Returns        gain (after - before), (low, high): the middle 95% of the draws' gains; NaN where nothing counts, low
                   and high also where fewer than LEAST_PERSONS do
    Raises ValueError where the two don't count on the same persons and parts.
    """
    counted = ~np.isnan(before)
    if not np.array_equal(counted, ~np.isnan(after)):
        raise ValueError("the two models must be scored against the same truth")
    persons = len(counted)
    change = np.where(counted, after - before, 0)
    gains = np.full(draws, np.nan)
    generator = np.random.default_rng(seed)
    for draw in range(draws if counted.any() else 0):
        weights = np.bincount(generator.integers(persons, size=persons), minlength=persons).astype(np.float64)
        counts = weights @ counted
        gains[draw] = _mean((weights @ change)[counts > 0] / counts[counts > 0])
    gain = overall_mean(after) - overall_mean(before)
    drawn = gains[~np.isnan(gains)]
    low, high = np.percentile(drawn, (2.5, 97.5)) if counted.any(1).sum() >= LEAST_PERSONS else (np.nan, np.nan)
    return gain, (float(low), float(high))


def symmetric_joints(skeleton):
    """Joints and pairs of joints, by what the names of a pair share: name -> indices. Empty without mirror pairs."""
    return _symmetric(skeleton.joints, skeleton.mirror) if skeleton.pairs else {}


def symmetric_limbs(skeleton):
    """Limbs and pairs of limbs that a mirror exchanges, likewise: name -> indices into skeleton.limbs."""
    def ends(limb, exchanged):
        return frozenset(frozenset(exchanged[name] for name in end) for end in limb)

    limbs = list(skeleton.limbs.values())
    itself = {name: name for name in skeleton.joints}
    mirrored = {name: skeleton.joints[other] for name, other in zip(skeleton.joints, skeleton.mirror)}
    place = {ends(limb, itself): index for index, limb in enumerate(limbs)}
    partners = [place.get(ends(limb, mirrored), index) for index, limb in enumerate(limbs)]
    return _symmetric(list(skeleton.limbs), partners) if skeleton.pairs else {}


def shared_name(right, left):
    """What two names have in common, word for word: r_ankle and l_ankle: ankle; both, where that is nothing."""
    words = [re.findall(r"([A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+)([^A-Za-z\d]*)", name) for name in (right, left)]
    common = "".join(word + mark for (word, mark), (other, _) in zip(*words) if word == other)
    common = re.sub(r"^[^A-Za-z\d]+|[^A-Za-z\d]+$", "", common)
    return common if common and len(words[0]) == len(words[1]) else f"{right}/{left}"


def _symmetric(names, partners):
    """name -> its index, or those of it and its partner; partners: the index of each name's, itself where none."""
    parts = {}
    for index, other in enumerate(partners):
        if other == index or partners[other] != index:
            parts[names[index]] = (index,)
        elif index < other:
            name = shared_name(names[index], names[other])
            parts[f"{names[index]}/{names[other]}" if name in parts or name in names else name] = (index, other)
    return parts


def _limb_ends(joints, skeleton):
    """(N, J, 2) -> (N, L, 2 ends, 2), each end the mean of its joints; NaN where one of them is missing."""
    joints = np.asarray(joints, np.float64)
    ends = [[joints[:, list(map(skeleton.index, end))].mean(1) for end in limb] for limb in skeleton.limbs.values()]
    return np.moveaxis(np.array(ends), 2, 0)  # (L, 2 ends, N, 2) -> (N, L, 2 ends, 2)


def _error_of(shares, counted):
    """Standard error from each person's share in a mean, (N,), as the other persons' spread tells it."""
    persons = counted.any(1).sum()
    return float(np.sqrt(persons / (persons - 1) * (shares ** 2).sum())) if persons > 1 else float("nan")


def _mean(values):
    """Mean of what is not NaN, as a float; NaN where nothing is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
