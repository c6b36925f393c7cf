"""What a cascade stage learns from: persons, the poses to refine, their windows, and the errors to simulate."""
from pathlib import Path

import numpy as np
import torch

from . import arrays
from .crops import make_windows
from .error_model import ErrorModel, ErrorSampler, PoseErrorSampler, check_belongs
from .inference import diameters, pose_squares, refine_joints, refine_poses, torso_turns
from .metrics import joint_hits, overall_mean, reference_lengths
from .reports import THRESHOLDS
from .validation import progress


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
        self.made_by += " --flip-test" * bool(stage == 2 and self.errors.flip_test)  # later stages follow the second
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


class PoseData(CascadeData):
    """The same for a stage that looks at whole persons again: windows round poses, and errors of whole poses.

    sigma      window side, in the extent of the pose to refine
    upright    whether windows are turned so that the torso points up
    agreement  how far a joint may move, in diameters, for the middle of both places to be taken
    """

    def __init__(self, persons, data_dir, stage, sigma, upright, agreement):
        super().__init__(persons, data_dir, stage, sigma, "residuals")
        self.sigma, self.upright, self.reach = sigma, upright, agreement * self.diameters
        self.sides = self.squares(self.poses_px)[1]
        self.usual_side = self.sides.median().item()
        self.sampler = PoseErrorSampler(self.errors, torso_turns(self.known(self.held_out), persons.skeleton),
                                        self.device)

    def squares(self, joints_px):
        """Where poses (M, J, 2) are looked at again, as `inference.pose_squares` gives it."""
        return pose_squares(joints_px, self.persons.skeleton, self.sigma,
                            self.errors.smallest_diameter * self.persons.box_side, self.upright)

    def known(self, rows):
        """True poses of persons (B,), crop pixels (B, J, 2); where a joint is not annotated its prediction stands for
        the truth."""
        return self.persons.joints_px[rows].where(self.annotated[rows, :, None], self.poses_px[rows])

    def simulated(self, rows, generator):
        """Poses of persons (B,) with errors such as the stage before makes, (B, J, 2) crop pixels."""
        truth = self.known(rows)
        errors = self.sampler.draw_poses(torso_turns(truth, self.persons.skeleton), generator)
        return truth + errors * self.diameters[rows, None, None]


def training_pairs(data, targets, mirrored=True):
    """(P, 2) person and joint to train, wherever the joint or, if windows may be mirrored, its mirror partner is
    annotated on a training person."""
    usable = data.annotated | data.annotated[:, data.mirror] if mirrored else data.annotated
    usable = usable[:, targets] & ~data.held_out[:, None]
    person, column = usable.nonzero(as_tuple=True)
    return torch.stack([person, targets[column]], 1)


def refined_scores(model, data, targets):
    """Validation scores of joints that a network refines from the stage before; with model None, that stage's own.

    targets  (T,) the joints; output t of the network is that of joint targets[t]
    Returns  see `scores_of_poses`
    """
    held_out = data.held_out.nonzero()[:, 0]
    poses, networks = data.poses_px[held_out], {joint: (model, output) for output, joint in enumerate(targets.tolist())}
    if model is not None:
        poses = refine_joints(networks, data.persons, held_out, poses, data.sides[held_out], data.usual_side)
    return scores_of_poses(poses, data, targets)


def pose_scores(model, data, input_size):
    """The same of a network that refines whole poses from images of `input_size` pixels."""
    held_out = data.held_out.nonzero()[:, 0]
    poses = data.poses_px[held_out]
    if model is not None:
        centres, sides, turns = data.squares(poses)
        poses, _ = refine_poses(model, data.persons, held_out, poses, make_windows(centres, sides, turns),
                                data.reach[held_out], data.usual_side, input_size, data.errors.flip_test)
    return scores_of_poses(poses, data, torch.arange(poses.shape[1], device=poses.device), apart=True)


def scores_of_poses(poses, data, targets, apart=False):
    """Scores of joints `targets` (T,) of the held-out persons, whose poses (M, J, 2) are given.

    apart    also those of each data set, where there are several
    Returns  PDJ@0.2 (of a skeleton without torso diameter PCK@0.1 of the box), named by `validation.progress`, and the
             mean over 0.05 ... 0.5 ("area", which chooses the epoch: finer steps), percent; NaN where it can be
             measured on no validation person
    """
    truth = data.persons.joints_px[data.held_out][:, targets].cpu().numpy()
    spans = reference_lengths(data.persons.truth[data.persons.held_out], data.persons.skeleton, data.persons.box_side)
    found, name = poses[:, targets].cpu().numpy(), progress(data.persons.skeleton)

    def rates(rows):
        curve = [100 * overall_mean(joint_hits(found[rows], truth[rows], spans[rows], t)) for t in THRESHOLDS]
        return float(curve[list(THRESHOLDS).index(0.2)]), float(np.mean(curve))

    scores = dict(zip((name, "area"), rates(slice(None))))
    sources = data.persons.sources[data.persons.held_out] if apart else ()
    return scores | {f"{name}_{source}": rates(sources == source)[0]
                     for source in sorted(set(sources)) if len(set(sources)) > 1}
