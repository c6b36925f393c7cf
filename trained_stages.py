"""Trained stages, read from their checkpoints once and run on prepared persons."""
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from cascade_net import CascadeNet
from deeppose.errors import UserError
from deeppose.inference import diameters, predict_joints, refine_joints
from deeppose.training import load_checkpoint
from integral_stage1 import IntegralNet
from resnet_stage1 import ResNetRegressor

SHARED = "shared"  # in place of a joint's name where one network serves all joints


@dataclass
class Stage1:
    """network, its input's side in pixels, the split it was trained on, and a fingerprint of the weights."""
    network: torch.nn.Module
    input_size: int
    split: str
    fingerprint: str

    def predict(self, persons, rows, flip_test=False, batch_size=64):
        """Poses of the chosen rows (M,), crop pixels (M, J, 2)."""
        return predict_joints(self.network, persons, rows, self.input_size, batch_size, flip_test)


@dataclass
class CascadeStage:
    """networks           joint index -> (network, which of its outputs)
    sigma              window side in diameters of the incoming pose
    smallest_diameter  box sides
    flip_test          whether the stage before averaged the mirrored window's prediction
    refines            fingerprint of the stages whose output it was trained on
    fingerprint        of those stages and this one
    """
    networks: dict
    sigma: float
    smallest_diameter: float
    flip_test: bool
    refines: str
    fingerprint: str

    def refine(self, persons, rows, joints_px, batch_size=256):
        """Poses (M, J, 2) one stage on, crop pixels; joints without a network stay where they are."""
        sides = self.sigma * diameters(joints_px, persons.skeleton.diameter_indices,
                                       self.smallest_diameter * persons.box_side)
        return refine_joints(self.networks, persons, rows, joints_px, sides, batch_size)


def load_stage1(checkpoint_dir, dataset, device):
    """Raises UserError where the checkpoint is missing, broken or of another dataset's skeleton."""
    path = Path(checkpoint_dir, "stage1.pt")
    checkpoint = load_checkpoint(path, "python train_stage1.py")
    _stop_if_foreign(checkpoint, dataset, path)
    network = {"regression": ResNetRegressor, "integral": IntegralNet}[checkpoint.get("kind", "regression")]
    layout = torch.contiguous_format if torch.device(device).type == "mps" else torch.channels_last  # faster elsewhere
    model = network.from_checkpoint(checkpoint).to(device, memory_format=layout)
    return Stage1(model, checkpoint["input_size"], checkpoint["split"], _fingerprint("", checkpoint))


def load_cascade(checkpoint_dir, stage, skeleton, dataset, device):
    """The trained networks of stage 2 or later; None where there is not one.

    Raises UserError where they were trained with different windows or on different stages' output.
    """
    networks, checkpoints = {}, []
    for name in (SHARED, *skeleton.joints):
        path = cascade_path(checkpoint_dir, stage, name)
        if not path.exists():
            continue
        checkpoint = load_checkpoint(path, f"python train_stage2.py --stage {stage}")
        _stop_if_foreign(checkpoint, dataset, path)
        network = CascadeNet.from_checkpoint(checkpoint).to(device)
        checkpoints.append(checkpoint)
        if name == SHARED:
            networks = {joint: (network, joint) for joint in range(len(skeleton.joints))}
        else:  # a joint's own network goes before the shared one
            networks[skeleton.index(name)] = (network, 0)
    if not checkpoints:
        return None
    facts = [{key: c[key] for key in ("sigma", "smallest_diameter", "flip_test", "refines")} for c in checkpoints]
    if any(fact != facts[0] for fact in facts):
        raise UserError(f"the stage-{stage} networks in {Path(checkpoint_dir).resolve()} were trained with different "
                        f"windows or on different output; run: python train_stage2.py --stage {stage} --restart")
    return CascadeStage(networks, **facts[0], fingerprint=_fingerprint(facts[0]["refines"], *checkpoints))


def load_stages(checkpoint_dir, skeleton, dataset, device, last=None):
    """Stage 1 and every trained cascade stage after it (no further than `last`).

    Returns [Stage1, CascadeStage, ...], and prints a warning where a stage was trained on other weights' output.
    Raises UserError where stage `last` is asked for and not trained.
    """
    stages = [load_stage1(checkpoint_dir, dataset, device)]
    while last is None or len(stages) < last:
        cascade = load_cascade(checkpoint_dir, number := len(stages) + 1, skeleton, dataset, device)
        if cascade is None:
            if last is not None:
                raise UserError(f"no trained stage {number} in {Path(checkpoint_dir).resolve()}; "
                                f"run: python train_stage2.py --stage {number}")
            break
        if cascade.refines != stages[-1].fingerprint:
            print(f"warning: stage {number} was trained on the output of other weights than those of stage "
                  f"{number - 1} here; generate and train it again for a fair score")
        if missing := [name for joint, name in enumerate(skeleton.joints) if joint not in cascade.networks]:
            print(f"note: stage {number} has no network for {', '.join(missing)}: left as stage {number - 1} has them")
        stages.append(cascade)
    return stages


def run_stages(stages, persons, rows, batch_size=64):
    """Poses after each stage, [(M, J, 2), ...] crop pixels on the rows' device."""
    flip_test = len(stages) > 1 and stages[1].flip_test  # later stages expect the output they were trained on
    poses = [stages[0].predict(persons, rows, flip_test, batch_size)]
    for cascade in stages[1:]:
        poses.append(cascade.refine(persons, rows, poses[-1]))
    return poses


def cascade_path(checkpoint_dir, stage, name):
    return Path(checkpoint_dir, f"stage{stage}_{name}.pt")


def _stop_if_foreign(checkpoint, dataset, path):
    if checkpoint["dataset"] != dataset:
        raise UserError(f"{Path(path).resolve()} was trained on {checkpoint['dataset']}, the data are {dataset}")


def _fingerprint(before, *checkpoints):
    digest = hashlib.sha256(before.encode())
    for checkpoint in checkpoints:
        for name, tensor in checkpoint["weights"].items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
