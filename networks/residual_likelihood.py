"""Residual log-likelihood estimation: a regressor's loss from the density of its own errors (Li et al., ICCV 2021)."""
import math

import torch
from torch import nn

from deeppose.distributed import mean_over_processes

COUPLINGS, HIDDEN = 6, 64


class ResidualLikelihood(nn.Module):
    """A flow (RealNVP, Dinh et al., 2017) that learns what normalised errors look like, shared by all joints.

    Only training needs it: the regressor's coordinates are its output as they are.
    """

    def __init__(self):
        super().__init__()
        self.scales, self.shifts = (nn.ModuleList(_perceptron() for _ in range(COUPLINGS)) for _ in range(2))
        masks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(COUPLINGS // 2, 1)  # which coordinate is kept
        self.register_buffer("masks", masks, persistent=False)

    def log_density(self, errors):
        """errors (..., 2) -> (...)."""
        z, volume = errors, 0
        for mask, scale, shift in reversed(list(zip(self.masks, self.scales, self.shifts))):
            kept = mask * z
            stretch = scale(kept).tanh() * (1 - mask)
            z = kept + (1 - mask) * (z - shift(kept)) * (-stretch).exp()
            volume = volume - stretch.sum(-1)
        return volume - z.square().sum(-1) / 2 - math.log(2 * math.pi)

    def loss(self, place, deviation, target):
        """Negative log-likelihood, a mean over the annotated coordinates.

        place, deviation  (B, J, 2) window frame, deviation > 0
        target            (B, J, 2) window frame; NaN = not annotated
        Returns           scalar, 0 where nothing is annotated
        """
        known = ~target.isnan()
        errors = (place - target.where(known, place.detach())) / deviation  # normalised
        # a Laplacian's density, and beside it the flow's: what the Laplacian does not say of the errors
        each = 2 * deviation.log() + errors.abs() / math.sqrt(2) - self.log_density(errors)[..., None]
        return each.where(known, torch.zeros_like(each)).sum() / mean_over_processes(known.sum()).clamp(min=1e-9)


def _perceptron():
    return nn.Sequential(nn.Linear(2, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(),
                         nn.Linear(HIDDEN, 2))
