"""Regression losses that skip joints without a label."""
import functools

import torch.nn.functional as F

from .distributed import mean_over_processes

SMOOTH_L1_BETA = 0.02  # window sides; errors below it count squared, above it linearly
LOSSES = {"mse": F.mse_loss, "smooth_l1": functools.partial(F.smooth_l1_loss, beta=SMOOTH_L1_BETA)}


def coordinate_loss(name):
    """The name, if it is that of a loss of coordinates; ValueError otherwise."""
    if name not in LOSSES:
        raise ValueError(f"no loss named {name!r}; there are: {', '.join(LOSSES)}")
    return name


def masked_loss(output, target, name):
    """Mean loss over the annotated coordinates; with several processes, over those of the whole batch.

    output, target  (..., 2) float32, window frame; NaN target = not annotated
    name            mse | smooth_l1
    Returns         scalar; 0, with zero gradient, where nothing is annotated. The processes' mean of it (and of its
                    gradients, which DistributedDataParallel takes) is that of one process with the whole batch
    """
    known = ~target.isnan()
    target = target.where(known, output.detach())  # a difference of exactly 0 where nothing is known
    each = LOSSES[name](output, target, reduction="none")
    return each.sum() / mean_over_processes(known.sum()).clamp(min=1e-9)
