"""Why joints are wrong: missed, left and right exchanged, or inaccurate."""
import numpy as np

from .calibration import TOLERANCE
from .metrics import distances, part_means, reference_lengths

NEAR = 0.5  # reference lengths: a wrong joint that lies within it of the truth was found, but inaccurately
KINDS = ("right", "inaccurate", "exchanged", "missed")
MEANINGS = {"right": "within {right} of the truth", "inaccurate": "beyond that, but within {near}",
            "exchanged": "not right, and within {right} of where the same joint of the other side truly is",
            "missed": "farther off, or no prediction"}


def error_kinds(predicted, truth, skeleton, box_side):
    """Which kind each joint is of, after Ronchi & Perona, ICCV 2017, who call the three jitter, inversion and miss.

    predicted, truth  (N, J, 2) same frame; NaN truth = not annotated, NaN prediction = missed
    box_side          same unit
    Returns           (N, J) int: index into KINDS; -1 where the joint, or its reference length, is not annotated
    """
    spans = reference_lengths(truth, skeleton, box_side)[:, None]  # (N, 1)
    away, across = distances(predicted, truth), distances(predicted, truth[:, list(skeleton.mirror)])
    kinds = np.select([away <= TOLERANCE * spans, across <= TOLERANCE * spans, away <= NEAR * spans],
                      [KINDS.index(kind) for kind in ("right", "exchanged", "inaccurate")], KINDS.index("missed"))
    return np.where(np.isnan(truth).any(-1) | np.isnan(spans), -1, kinds)


def kind_shares(kinds):
    """The share of each kind: (N, J) -> (J + 1, 4) fractions that sum to 1; first the mean over joints, NaN where a
    joint is annotated on nobody."""
    shares = np.stack([part_means(np.where(kinds < 0, np.nan, kinds == kind)) for kind in range(len(KINDS))], 1)
    known = ~np.isnan(shares).any(1)
    mean = shares[known].mean(0) if known.any() else np.full(len(KINDS), np.nan)
    return np.concatenate([mean[None], shares])


def meanings(skeleton):
    """Kind -> what it means, in words."""
    factor, unit = (1, "torso diameters") if skeleton.diameter else (0.5, "box sides")
    return {kind: text.format(right=f"{factor * TOLERANCE:g} {unit}", near=f"{factor * NEAR:g} {unit}")
            for kind, text in MEANINGS.items()}


def mirrored_persons(kinds, skeleton):
    """How many persons have most of their paired joints exchanged: seen from the wrong side, as a whole."""
    paired = np.arange(len(skeleton.joints)) != skeleton.mirror
    exchanged, known = ((kinds == KINDS.index("exchanged")) & paired).sum(1), ((kinds >= 0) & paired).sum(1)
    return int(((exchanged > known / 2) & (known > 1)).sum())
