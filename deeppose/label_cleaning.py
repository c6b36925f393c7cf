"""Labels put right by predictions of networks that did not train on the person, an idea of Johnson & Everingham
(Learning effective human pose estimation from inaccurate annotation, CVPR 2011)."""
import numpy as np

from .metrics import distances


def corrected(labels, predicted, confidence, spans, skeleton, sure=0.5, far=0.5, gain=0.3):
    """Exchange sides where a confident prediction says so, and leave out joints far from a confident prediction.

    The arms' pairs of joints and the legs' are exchanged apart (a skeleton without `lower` has one part), each as a
    whole, and where the mean error falls by `gain` or more and the exchanged labels then are nearer than `far`. An
    error counts as at most 1 diameter; confidence counts as its mean over the part's labelled pairs.

    labels      (N, J, 2), NaN = not annotated
    predicted   (N, J, 2) in the same unit
    confidence  (N, J), 0 ... 1
    spans       (N,) the persons' diameters, same unit
    sure        least confidence that counts
    far, gain   diameters
    Returns     labels (N, J, 2); which parts were exchanged (N, 2) bool, upper and lower; which joints were left out
                (N, J) bool
    """
    labels = labels.copy()
    mirror, index = np.array(skeleton.mirror), np.arange(len(skeleton.joints))
    exchanged = np.zeros((len(labels), 2), bool)
    for part, joints in enumerate(np.array(skeleton.halves)):
        joints = np.flatnonzero(joints & (mirror != index))
        if not len(joints):
            continue
        before, after = (errors(those, predicted[:, joints], spans) for those in (labels[:, joints],
                                                                                  labels[:, mirror[joints]]))
        counts = np.isfinite(before) & np.isfinite(after)
        before, after, own = (mean_where(values, counts) for values in (before, after, confidence[:, joints]))
        exchanged[:, part] = (before - after >= gain) & (after <= far) & (own >= sure)
        rows = np.flatnonzero(exchanged[:, part])
        labels[np.ix_(rows, joints)] = labels[np.ix_(rows, mirror[joints])]
    apart = errors(labels, predicted, spans)
    left_out = (apart > far) & (confidence >= sure)
    labels[left_out] = np.nan
    return labels, exchanged, left_out


def errors(labels, predicted, spans):
    """(N, J) distances in diameters, at most 1; NaN where not annotated."""
    return np.minimum(distances(predicted, labels) / spans[:, None], 1)


def mean_where(values, counts):
    """Mean of each row (N, J) over what counts; NaN where nothing does."""
    number = counts.sum(1)
    return np.where(number, np.where(counts, values, 0).sum(1) / np.maximum(number, 1), np.nan)
