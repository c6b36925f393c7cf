"""The errors of a stage on persons that it was not trained on, and fresh draws of them for training the next stage.

Errors are prediction - truth, in diameters of the predicted pose (`inference.diameters`), DeepPose sec. 3.2.
"""
import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .arrays import FARTHEST, GENERATE, PLACES, Array, digest, form_fault, opened, read_npy, value_fault, whole
from .errors import Failure, UserError
from .inference import turned

DRAWS = 40  # of each joint, kept in deltas.npy

FIELDS = {
    "residuals": Array("float32", ("M", "J", 2), GENERATE, "diameters; NaN = joint not annotated", PLACES, True),
    "mean": Array("float64", ("J", 2), GENERATE, "of each joint's residuals", PLACES),
    "covariance": Array("float64", ("J", 2, 2), GENERATE, "of each joint's residuals", (-FARTHEST ** 2, FARTHEST ** 2)),
    "smallest_diameter": Array("float64", (), GENERATE, "box sides: half the median over the training persons, the "
                               "floor of every window's diameter", (1e-6, FARTHEST)),
    "flip_test": Array("bool", (), GENERATE, "whether the predictions averaged the mirrored window's"),
    "fingerprint": Array("str", (), GENERATE, "of the networks that made the predictions"),
    "labels": Array("str", (), GENERATE, "of the persons that they were made on, `Persons.labels`"),
    "poses": Array("str", (), GENERATE, "digest of the predictions, train_output.npy"),
    "deltas": Array("str", (), GENERATE, "digest of the draws, deltas.npy; empty until they are drawn"),
    "split_differs": Array("bool", (), GENERATE, "whether the networks were trained on another split than theirs"),
}


@dataclass
class ErrorModel:
    """What FIELDS declare: arrays, plain numbers and texts.

    path  the file that it was read from
    """
    residuals: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    smallest_diameter: float
    flip_test: bool
    fingerprint: str
    labels: str
    poses: str
    deltas: str
    split_differs: bool = False
    path: Path | None = None

    def save(self, path):
        """Raises ValueError where a type, shape or digest is not as declared, Failure where a number is not."""
        if not (self.poses and self.deltas):
            raise ValueError("an error model is saved with the digests of its poses and draws")
        content = {name: np.asarray(getattr(self, name)) for name in FIELDS}
        for name, array in content.items():
            if fault := form_fault(array.dtype, array.shape, FIELDS[name]):
                raise ValueError(f"{name} {fault}")
        if fault := _fault(content):
            raise Failure(f"{Path(path).resolve()} was not written: {fault}; the predictions make no sense: train the "
                          "stage that made them again")
        with whole(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **content)

    @classmethod
    def load(cls, path, made_by=GENERATE):
        """Raises UserError where the file is missing or an older version's, Failure where it is broken."""
        path = Path(path)
        with opened(path, made_by) as file, zipfile.ZipFile(io.BytesIO(file.read())) as archive:
            missing = [name for name in FIELDS if f"{name}.npy" not in archive.namelist()]
            if missing and set(missing) <= {"split_differs", "poses", "deltas"}:
                raise UserError(f"{path.resolve()} was written by an older version; run again: {made_by}")
            if missing:
                raise ValueError(f"it has no {', '.join(missing)}")
            content = {name: _member(archive, name) for name in FIELDS}
            if fault := _fault(content):
                raise ValueError(fault)
        return cls(**{name: value if value.ndim else value.item() for name, value in content.items()}, path=path)


def _member(archive, name):
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED:  # as np.savez writes it: nothing grows as it is read
        raise ValueError(f"{name} is packed")
    try:
        return read_npy(io.BytesIO(archive.read(member)), FIELDS[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _fault(content):
    """What is wrong with the arrays of an error model, each of its declared form, in words; None where nothing is."""
    for name, array in content.items():
        if fault := value_fault(array, FIELDS[name]):
            return f"{name} {fault}"
    joints = {len(content["residuals"][0]), len(content["mean"]), len(content["covariance"])}
    if len(joints) > 1:
        return f"residuals, mean and covariance are of {sorted(joints)} joints"
    if np.isnan(content["residuals"]).all((0, 2)).any():
        return "a joint has no residuals"
    covariance = content["covariance"]
    if not np.allclose(covariance, covariance.swapaxes(1, 2)) or not (covariance.diagonal(0, 1, 2) >= 0).all():
        return "covariance is not symmetric, or a variance is negative"
    return None


def check_belongs(model, poses, deltas, labels, made_by):
    """Raise UserError where an error model, poses and draws are not of one run of step 4 on the persons at hand.

    poses, deltas  train_output.npy and deltas.npy, as loaded
    labels         `Persons.labels` of the training split at hand
    made_by        the command that writes all three
    """
    folder = model.path.parent.resolve() if model.path else Path()
    suffix = model.path.stem.removeprefix("error_model") if model.path else ""
    if model.labels != labels:
        raise UserError(f"{folder / f'error_model{suffix}.npz'} was made on other persons than are prepared now; run "
                        f"again: {made_by}")
    for name, array, known in (("train_output", poses, model.poses), ("deltas", deltas, model.deltas)):
        if digest(array) != known:
            raise UserError(f"{folder / f'{name}{suffix}.npy'} does not belong to error_model{suffix}.npz beside it; "
                            f"run again: {made_by}")


def fit_error_model(predicted, truth, diameters, names, **more):
    """Residuals and their Gaussian fit.

    predicted, truth  (M, J, 2) crop pixels of held-out persons; NaN truth = not annotated
    diameters         (M,) crop pixels, of the predicted poses
    names             of the joints
    Raises            UserError where a joint has fewer than three residuals, Failure where one is no finite number
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        residuals = ((predicted - truth) / diameters[:, None, None]).astype(np.float32)
    known = ~np.isnan(truth).any(-1)
    if not np.isfinite(residuals[known]).all():
        raise Failure("the predicted poses are not finite, or of no size; train the stage that made them again")
    if (few := known.sum(0) < 3).any():
        raise UserError(f"{', '.join(name for name, lacks in zip(names, few) if lacks)}: annotated on fewer than three "
                        "validation persons; where the data are prepared, raise --validation-share, or take such "
                        "joints out of the annotations")
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


class PoseErrorSampler(ErrorSampler):
    """Draws errors of whole poses from the held-out residuals of one person each, as they come together.

    turns  (M,) of the held-out persons' true poses, degrees (`inference.torso_turns`): an error is turned with the
           torso, as where a leg is taken for the other one, or a pose is turned over
    """

    def __init__(self, model, turns, device):
        upright = turned(torch.from_numpy(model.residuals).to(device), -turns)
        super().__init__(replace(model, residuals=upright.cpu().numpy()), "residuals", device)
        self.residuals = upright

    def draw_poses(self, turns, generator):
        """turns (B,) of the poses that get the errors, degrees. Returns errors (B, J, 2), diameters; of a joint that
        was not annotated on the person drawn another's."""
        count, joints = len(turns), self.residuals.shape[1]
        uniform = torch.rand(count, generator=generator, device=generator.device)
        errors = self.residuals[(uniform * len(self.residuals)).long().clamp(max=len(self.residuals) - 1)]
        others = self.draw(torch.arange(joints, device=errors.device).repeat(count), generator).view(count, joints, 2)
        return turned(torch.where(errors.isnan(), others, errors), turns)


def _square_roots(covariance):
    """A with A @ A.T = covariance, (J, 2, 2); also where a variance is 0."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(min=0))[:, None]
