"""What a cascade stage learns from: persons, the poses to refine, their windows, and the errors to simulate."""
from pathlib import Path

import numpy as np
import torch

from . import arrays
from .error_model import ErrorModel, ErrorSampler, check_belongs
from .inference import diameters, refine_joints
from .metrics import joint_hits, overall_mean, reference_lengths
from .reports import THRESHOLDS


class CascadeData:
    """Read what stage `stage` is trained on.

    persons   Persons of the training split
    data_dir  folder of step 4's files
    sigma     window side, in diameters of the pose to refine
    kind      residuals | gaussian | fixed, see ErrorSampler
    Raises    UserError where step 4's files are missing or do not belong together, or to the persons
    """

    def __init__(self, persons, data_dir, stage, sigma, kind):
        folder, suffix = Path(data_dir), arrays.stage_suffix(stage - 1)
        self.made_by = arrays.GENERATE + (f" --stage {stage - 1}" if stage > 2 else "")
        poses, deltas = (arrays.load(folder / f"{name}{suffix}.npy", name, made_by=self.made_by)
                         for name in ("train_output", "deltas"))
        self.errors = ErrorModel.load(folder / f"error_model{suffix}.npz", self.made_by)
        check_belongs(self.errors, poses, deltas, persons.labels, self.made_by)
        self.persons, self.device = persons, persons.device
        self.sampler = ErrorSampler(self.errors, kind, self.device, deltas)
        self.poses_px = torch.from_numpy(poses).to(self.device)
        self.diameters = diameters(self.poses_px, persons.skeleton, self.errors.smallest_diameter * persons.box_side)
        self.sides = sigma * self.diameters  # (N,) crop pixels
        self.usual_side = self.sides.median().item()
        self.mirror = torch.tensor(persons.skeleton.mirror, device=self.device)
        self.annotated = ~persons.joints_px.isnan().any(-1)  # (N, J)
        self.held_out = torch.from_numpy(persons.held_out).to(self.device)


def training_pairs(data, targets):
    """(P, 2) person and joint to train, wherever the joint or its mirror partner is annotated on a training person."""
    usable = data.annotated | data.annotated[:, data.mirror]
    usable = usable[:, targets] & ~data.held_out[:, None]
    person, column = usable.nonzero(as_tuple=True)
    return torch.stack([person, targets[column]], 1)


def refined_scores(model, data, targets):
    """Validation scores of joints that a network refines from the stage before; with model None, that stage's own.

    targets  (T,) the joints; output t of the network is that of joint targets[t]
    Returns  PDJ@0.2 (of a skeleton without torso diameter PCK@0.1 of the box) and the mean PDJ over 0.05 ... 0.5
             ("area", which chooses the epoch: finer steps), percent; NaN where it can be measured on no validation
             person
    """
    held_out = data.held_out.nonzero()[:, 0]
    truth = data.persons.joints_px[held_out].cpu().numpy()
    spans = reference_lengths(truth, data.persons.skeleton, data.persons.box_side)
    poses, networks = data.poses_px[held_out], {joint: (model, output) for output, joint in enumerate(targets.tolist())}
    if model is not None:
        poses = refine_joints(networks, data.persons, held_out, poses, data.sides[held_out], data.usual_side)
    curves = []
    for joint in networks:
        refined = poses[:, joint].cpu().numpy()[:, None]
        curves.append([100 * overall_mean(joint_hits(refined, truth[:, [joint]], spans, t)) for t in THRESHOLDS])
    mean = np.mean(curves, 0)
    return {"pdj": float(mean[list(THRESHOLDS).index(0.2)]), "area": float(mean.mean())}
