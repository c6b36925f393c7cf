"""The errors of a stage on persons that it was not trained on, and fresh draws of them for training the next stage.

Errors are prediction - truth, in diameters (left shoulder to right hip) of the predicted pose, DeepPose sec. 3.2.
"""
from dataclasses import dataclass

import numpy as np
import torch

from .arrays import GENERATE, whole
from .errors import UserError

DRAWS = 40  # of each joint, kept in deltas.npy


@dataclass
class ErrorModel:
    """residuals          (M, J, 2) float32, diameters; NaN = joint not annotated
    mean               (J, 2) and
    covariance         (J, 2, 2): the Gaussian fit of each joint
    smallest_diameter  box sides: half the median over the training persons, the floor of every window's diameter
    flip_test          whether the predictions averaged the mirrored window's
    fingerprint        of the networks that made the predictions
    labels             of the persons that they were made on, `Persons.labels`
    """
    residuals: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    smallest_diameter: float
    flip_test: bool
    fingerprint: str
    labels: str

    def save(self, path):
        with whole(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path, made_by=GENERATE):
        try:
            with np.load(path) as file:
                content = {name: file[name] for name in cls.__dataclass_fields__}
        except FileNotFoundError:
            raise UserError(f"{path.resolve()} not found; run: {made_by}") from None
        except (ValueError, KeyError, EOFError, OSError) as error:
            raise UserError(f"{path.resolve()} can't be read ({error}); run again: {made_by}") from None
        return cls(**{name: value if value.ndim else value.item() for name, value in content.items()})


def fit_error_model(predicted, truth, diameters, **more):
    """Residuals and their Gaussian fit.

    predicted, truth  (M, J, 2) crop pixels of held-out persons; NaN truth = not annotated
    diameters         (M,) crop pixels, of the predicted poses
    Raises            UserError where a joint has fewer than three residuals
    """
    residuals = ((predicted - truth) / diameters[:, None, None]).astype(np.float32)
    known = ~np.isnan(residuals[..., 0])
    if (few := known.sum(0) < 3).any():
        raise UserError(f"joints {np.flatnonzero(few).tolist()} are annotated on fewer than three validation persons; "
                        "prepare more: python lsp_data.py --validation-share")
    fits = [residuals[known[:, j], j].astype(np.float64) for j in range(residuals.shape[1])]
    return ErrorModel(residuals, np.array([f.mean(0) for f in fits]), np.array([np.cov(f.T) for f in fits]), **more)


class ErrorSampler:
    """Draws errors of given joints on a device.

    kind  residuals: resampled from the held-out residuals; gaussian: from their Gaussian fit (the paper's);
          fixed: from the DRAWS in `deltas` (J, DRAWS, 2)
    """

    def __init__(self, model, kind, device, deltas=None):
        self.gaussian = kind == "gaussian"
        if self.gaussian:
            self.mean = torch.tensor(model.mean, dtype=torch.float32, device=device)
            self.root = torch.tensor(_square_roots(model.covariance), dtype=torch.float32, device=device)
            return
        table = deltas if kind == "fixed" else model.residuals.swapaxes(0, 1)  # (J, M, 2)
        known = ~np.isnan(table[..., 0])
        first = np.argsort(~known, axis=1, kind="stable")  # annotated ones first
        self.table = torch.tensor(np.take_along_axis(table, first[..., None], 1), device=device)
        self.counts = torch.tensor(known.sum(1), device=device)

    def draw(self, joints, generator):
        """joints (B,) int64 on the device. Returns errors (B, 2), diameters."""
        if self.gaussian:
            normal = torch.randn(len(joints), 2, 1, generator=generator, device=generator.device)
            return self.mean[joints] + (self.root[joints] @ normal)[..., 0]
        uniform = torch.rand(len(joints), generator=generator, device=generator.device)
        counts = self.counts[joints]
        return self.table[joints, (uniform * counts).long().clamp(max=counts - 1)]


def _square_roots(covariance):
    """A with A @ A.T = covariance, (J, 2, 2); also where a variance is 0."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(min=0))[:, None]
