"""Trained stages, read from their checkpoints once and run on prepared persons."""
import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from cascade_net import CascadeNet
from deeppose.calibration import SMALLEST, calibrations_of
from deeppose.checkpoints import load_checkpoint
from deeppose.crops import make_windows
from deeppose.devices import memory_format
from deeppose.errors import Failure, UserError
from deeppose.inference import both_sure, diameters, pose_squares, predict_with_confidence, refine_joints, refine_poses
from deeppose.pixels import RGB, Pixels, pixels_of
from deeppose.skeletons import OLDER, Skeleton, skeleton_of

from .folding import folded
from .pose_refiner import PoseRefiner
from .stage1 import NETWORKS

SHARED = "shared"  # in place of a joint's name where one network serves all joints
BOX_EXTENTS = 1.32  # LSP's, which older checkpoints do not tell
ROUNDING = 1e-3    # relative: by less than that windows may differ, as by another processor's arithmetic

# what checkpoints must hold
STAGE1 = {"network": dict, "weights": dict, "input_size": int, "dataset": str, "split": str, "settings": dict,
          "history": list}
CASCADE = {"network": dict, "weights": dict, "sigma": (int, float), "smallest_diameter": (int, float),
           "flip_test": bool, "refines": str, "dataset": str, "settings": dict, "history": list}


@dataclass
class Stage1:
    """network, its input's side in pixels, whether persons to test on may have been among those it was trained on, and
    whether persons held out, a fingerprint of the weights; and of what it was trained on, which whoever has no prepared
    persons needs to know: skeleton, pixels, side and context of the stored crops, and the box's side in extents of the
    joints, None where they have none. calibrations: of its poses and of those of stages after it, see calibrate.py."""
    network: torch.nn.Module
    input_size: int
    other_split: bool
    other_held_out: bool
    fingerprint: str
    skeleton: Skeleton
    pixels: Pixels
    crop_size: int
    context: float
    calibrations: tuple = ()
    box_extents: float | None = BOX_EXTENTS

    def predict(self, persons, rows, flip_test=False, batch_size=64, windows=None):
        """Poses of the chosen rows (M,), crop pixels (M, J, 2); windows (M, 2, 3) in place of the boxes."""
        return self.predict_with_confidence(persons, rows, flip_test, batch_size, windows)[0]

    def predict_with_confidence(self, persons, rows, flip_test=False, batch_size=64, windows=None):
        """The same, and the network's confidence of each joint (M, J), or None where it has none."""
        return predict_with_confidence(self.network, persons, rows, self.input_size, batch_size, flip_test, windows,
                                       self.pixels)

    def folded(self, bfloat16=False):
        """The same, only to look: see folding."""
        return replace(self, network=folded(self.network, bfloat16))


@dataclass
class CascadeStage:
    """AlexNets that look closer, one a joint or one for all.

    networks           joint index -> (network, which of its outputs)
    sigma              window side in diameters of the incoming pose
    smallest_diameter  box sides
    usual_side         median side of the windows in training, box sides
    flip_test          whether the stage before averaged the mirrored window's prediction
    refines            fingerprint of the stages whose output it was trained on
    fingerprint        of those stages and this one
    pixels             that the networks were trained on
    other_split        whether test persons may be among those that they were trained on
    other_held_out     whether persons who are held out may be
    """
    networks: dict
    sigma: float
    smallest_diameter: float
    usual_side: float
    flip_test: bool
    refines: str
    fingerprint: str
    pixels: Pixels
    other_split: bool = field(default=False, kw_only=True)
    other_held_out: bool = field(default=False, kw_only=True)

    made_of = CascadeNet

    def refine_with_confidence(self, persons, rows, joints_px, own, batch_size=256):
        """Poses (M, J, 2) one stage on, crop pixels, and the networks' confidence of each joint (M, J): `own`, the
        stage before's or None, where they have none. Joints without a network stay where they are."""
        sides = self.sigma * diameters(joints_px, persons.skeleton, self.smallest_diameter * persons.box_side)
        return refine_joints(self.networks, persons, rows, joints_px, sides, self.usual_side * persons.box_side,
                             batch_size, self.pixels), own

    def folded(self, bfloat16=False):
        """The same, only to look: see folding."""
        fast = {network: folded(network, bfloat16)
                for network in dict.fromkeys(network for network, _ in self.networks.values())}  # once each
        return replace(self, networks={joint: (fast[network], output)
                                       for joint, (network, output) in self.networks.items()})

    @classmethod
    def more_facts(cls, checkpoint):
        """Further arguments of the stage, which a checkpoint tells. Raises ValueError, in words, where it does not."""
        return {}


@dataclass
class PoseStage(CascadeStage):
    """One network that looks at whole persons again, each in a window round the pose so far; with the flip test where
    stage 1 has it.

    sigma       window side in extents of the incoming pose
    upright     whether windows are turned so that the torso points up
    input_size  side of the network's square input, pixels
    agreement   how far a joint may move, in diameters, for the middle of both places to be taken
    still       whether it leaves poses as they are: none of its epochs was better on validation persons
    """
    upright: bool
    agreement: float
    input_size: int
    still: bool

    made_of = PoseRefiner

    @property
    def network(self):
        return self.networks[0][0]

    def windows(self, joints_px, skeleton, box_side):
        """Where poses (M, J, 2) are looked at again, (M, 2, 3), and the reach (M,) of `look_again`; crop pixels."""
        smallest = self.smallest_diameter * box_side
        return (make_windows(*pose_squares(joints_px, skeleton, self.sigma, smallest, self.upright)),
                self.agreement * diameters(joints_px, skeleton, smallest))

    def refine_with_confidence(self, persons, rows, joints_px, own, batch_size=64):
        if self.still:
            return joints_px, own
        windows, reach = self.windows(joints_px, persons.skeleton, persons.box_side)
        joints, sure = refine_poses(self.network, persons, rows, joints_px, windows, reach,
                                    self.usual_side * persons.box_side, self.input_size, self.flip_test, batch_size,
                                    self.pixels)
        return joints, both_sure(own, sure)

    @classmethod
    def more_facts(cls, checkpoint):
        names = "upright", "agreement", "input_size", "best_epoch"
        upright, agreement, size, best = map(checkpoint.get, names)
        if [type(upright), type(agreement), type(size), type(best)] != [bool, float, int, int] \
                or not 0 <= agreement <= 100 or not 32 <= size <= 4096 or size % PoseRefiner.input_step:
            raise ValueError(f"its {', '.join(names)} are {upright}, {agreement}, {size}, {best}")
        return {"upright": upright, "agreement": agreement, "input_size": size, "still": best == 0}


CASCADES = {"alexnet": CascadeStage, "pose_refiner": PoseStage}  # train_stage2.py --network -> what its networks make


def load_stage1(checkpoint_dir, persons, device):
    """The trained stage 1.

    persons  whom it shall look at: prepared ones; None = anybody's photographs
    Raises   UserError where the checkpoint is missing or of another dataset, Failure where it is broken. Prints a
             warning where it may have been trained on the persons' test set.
    """
    path = Path(checkpoint_dir, "stage1.pt")
    checkpoint = load_checkpoint(path, "python train_stage1.py", STAGE1)
    skeleton, pixels = trained_on(checkpoint, path)
    if persons is not None:
        _stop_if_foreign(checkpoint, path, skeleton, pixels, persons.skeleton, persons.pixels,
                         persons.dataset["dataset"])
    if not 16 <= checkpoint["input_size"] <= 4096:
        raise Failure(f"{path.resolve()} is broken: its input_size is {checkpoint['input_size']}; run again: python "
                      "train_stage1.py")
    box = checkpoint.get("box_extents", BOX_EXTENTS)
    if box is not None and not (type(box) is float and 0 < box < 1e6):
        raise Failure(f"{path.resolve()} is broken: its box_extents is {box}; run again: python train_stage1.py")
    kind = checkpoint.get("kind", "regression")
    if kind not in NETWORKS:
        raise Failure(f"{path.resolve()} holds a network {kind!r}; there are: {', '.join(NETWORKS)}")
    model = network_of(NETWORKS[kind], checkpoint, path).to(device, memory_format=memory_format(device))
    # older ones do not tell their crops, which were of these
    return Stage1(model, checkpoint["input_size"], *_other_splits(checkpoint, path, persons),
                  _fingerprint("", checkpoint), skeleton, pixels, checkpoint.get("crop_size", 256),
                  checkpoint.get("context", 1.5), _calibrations(checkpoint, path, skeleton), box)


def _other_splits(checkpoint, path, persons):
    """Whether test persons may be among those that a network, or the one that it began as, was trained on, and whether
    persons who are held out may be; prints the first, and a note where only others were held out. Older cascades do not
    tell."""
    if persons is None:
        return False, False
    splits = [[checkpoint.get("split", persons.split), checkpoint.get("test_set")], *checkpoint.get("seen", [])]
    others = [test_set for split, test_set in splits if split != persons.split]
    if not others:
        return False, False
    if all(test_set == persons.test_set for test_set in others):
        print(f"note: {path} was trained on another split of the same data: other persons were held out, the test "
              "persons are the same")
        return False, True
    print(f"warning: {path} was trained on another split of the data: test persons here may be among those that it was "
          "trained on and its scores too good")
    return True, True


def network_of(kind, checkpoint, path):
    """The network that a checkpoint holds; a Failure names the file."""
    try:
        return kind.from_checkpoint(checkpoint)
    except UserError as error:
        raise Failure(f"{Path(path).resolve()}: {error}") from None


def load_cascade_checkpoint(path, stage):
    """A finished network of stage `stage`. Raises Failure where the file is broken, UserError where it is another
    joint's, or stage's."""
    again = f"python train_stage2.py --stage {stage}"
    checkpoint = load_checkpoint(path, again, CASCADE)
    name = path.stem.removeprefix(f"stage{stage}_")
    history = checkpoint["history"]
    inside = checkpoint.get("joint", history[0].get("joint") if history else name)  # older ones tell it in their log
    of = checkpoint.get("stage", checkpoint["settings"].get("stage", stage))
    if (inside, of) != (name, stage):
        raise UserError(f"{path.resolve()} holds the stage-{of} network of {inside}; put the file right, or remove it "
                        f"and run: {again}" + f" --joints {name}" * (name != SHARED))
    for fact in ("sigma", "smallest_diameter", "usual_side"):
        value = checkpoint.get(fact, 1.0)
        if not (isinstance(value, (int, float)) and 0 < value < 1e6):
            raise Failure(f"{path.resolve()} is broken: its {fact} is {value}; remove it and run: {again}")
    if (kind := checkpoint.setdefault("kind", "alexnet")) not in CASCADES:  # which older ones do not tell
        raise Failure(f"{path.resolve()} holds a network {kind!r}; there are: {', '.join(CASCADES)}")
    return checkpoint


def load_cascade(checkpoint_dir, stage, skeleton, pixels, persons, device):
    """The trained networks of stage 2 or later; None where there is not one.

    skeleton, pixels  of whom they shall look at
    persons           who they are, see `load_stages`
    Raises            UserError where they are of other persons, or were trained with different windows or on different
                      stages' output
    """
    networks, checkpoints, splits = {}, [], {}
    for name in (SHARED, *skeleton.joints):
        path = cascade_path(checkpoint_dir, stage, name)
        if not path.exists():
            continue
        checkpoint = load_cascade_checkpoint(path, stage)
        own_skeleton, own_pixels = trained_on(checkpoint, path)
        _stop_if_foreign(checkpoint, path, own_skeleton, own_pixels, skeleton, pixels, "the persons here")
        kind = CASCADES[checkpoint["kind"]]
        network = network_of(kind.made_of, checkpoint, path).to(device)
        if network.outputs != (len(skeleton.joints) if name == SHARED else 1):
            raise Failure(f"{path.resolve()} gives {network.outputs} joints; remove it and train it again")
        try:
            checkpoint["more"] = kind.more_facts(checkpoint)
        except ValueError as error:
            raise Failure(f"{path.resolve()} is broken: {error}; remove it and train it again") from None
        checkpoints.append(checkpoint)
        splits.setdefault((checkpoint.get("split"), checkpoint.get("test_set")), (checkpoint, path))
        if name == SHARED:
            networks = {joint: (network, joint) for joint in range(len(skeleton.joints))}
        else:  # a joint's own network goes before the shared one
            networks[skeleton.index(name)] = (network, 0)
    if not checkpoints:
        return None
    # older ones lack the usual side; but their smallest diameter is half the median
    facts = [{key: c[key] for key in ("sigma", "smallest_diameter", "flip_test", "refines")}
             | {"usual_side": c.get("usual_side", 2 * c["sigma"] * c["smallest_diameter"]),
                "pixels": pixels_of(c["pixels"]) if "pixels" in c else RGB, **c["more"]} for c in checkpoints]
    folder = Path(checkpoint_dir).resolve()
    if len({c["kind"] for c in checkpoints}) > 1:
        raise UserError(f"the stage-{stage} networks in {folder} are of several kinds; remove those of one: "
                        f"stage{stage}_{SHARED}.pt, or a joint each")
    if not all(_alike(fact, facts[0]) for fact in facts):
        raise UserError(f"the stage-{stage} networks in {folder} were trained with different windows or on different "
                        f"output; run: python train_stage2.py --stage {stage}: it names those to train anew, with "
                        "--restart --joints NAMES")
    more = checkpoints[0]["more"]  # which change poses as weights do; AlexNets have none
    before = facts[0]["refines"] + (repr(sorted(more.items())) if more else "")
    other_split, other_held_out = map(any, zip(*[_other_splits(*of, persons) for of in splits.values()]))
    return CASCADES[checkpoints[0]["kind"]](networks, **facts[0], fingerprint=_fingerprint(before, *checkpoints),
                                            other_split=other_split, other_held_out=other_held_out)


def _alike(facts, others):
    """Whether facts of two networks of a stage agree, numbers but for what another processor's arithmetic changes."""
    return all(math.isclose(value, others[name], rel_tol=ROUNDING) if isinstance(value, float) else
               value == others[name] for name, value in facts.items())


def load_stages(checkpoint_dir, persons, device, last=None):
    """Stage 1 and every trained cascade stage after it (no further than `last`).

    persons  whom they shall look at: prepared ones; None = anybody's photographs
    Returns [Stage1, CascadeStage, ...], and prints a warning where a stage was trained on other weights' output.
    Raises UserError where stage `last` is asked for and not trained.
    """
    stages = [load_stage1(checkpoint_dir, persons, device)]
    while last is None or len(stages) < last:
        cascade = load_cascade(checkpoint_dir, number := len(stages) + 1, stages[0].skeleton, stages[0].pixels, persons,
                               device)
        if cascade is None:
            if last is not None:
                raise UserError(f"no trained stage {number} in {Path(checkpoint_dir).resolve()}, which has "
                                f"{number - 1}; run: python train_stage2.py --stage {number}")
            break
        if cascade.refines != stages[-1].fingerprint:
            print(f"warning: stage {number} was trained on the output of other weights than those of stage "
                  f"{number - 1} here; generate and train it again for a fair score")
            cascade.fingerprint = _fingerprint(stages[-1].fingerprint + cascade.fingerprint)  # of what it is put on
        if missing := [name for joint, name in enumerate(stages[0].skeleton.joints) if joint not in cascade.networks]:
            print(f"note: stage {number} has no network for {', '.join(missing)}: left as stage {number - 1} has them")
        stages.append(cascade)
    return stages


def warn_of_other_held_out(stages, harm):
    """Print a warning of each stage that may have been trained on persons who are held out here.

    harm     what that does to them, in words
    Returns  whether there is such a stage
    """
    others = [number for number, stage in enumerate(stages, 1) if stage.other_held_out]
    for number in others:
        print(f"warning: stage {number} was trained on another split of the persons: those held out here may be among "
              f"them and {harm}; prepare the same split or train it again")
    return bool(others)


def run_with_confidence(stages, persons, rows, flip_test=False, batch_size=64):
    """Poses after each stage, [(M, J, 2), ...] crop pixels on the rows' device; the confidence of each, [(M, J), ...].

    flip_test   of a single stage; later ones expect the output that they were trained on
    Confidence  a probability where the stages so far are calibrated (see calibrate.py); the networks' own where they
                are not, of the last stage that has one; None where none has
    """
    flip_test = flip_test_of(stages, flip_test)
    found = [stages[0].predict_with_confidence(persons, rows, flip_test, batch_size)]
    for cascade in stages[1:]:
        found.append(cascade.refine_with_confidence(persons, rows, *found[-1]))
    confidences = []
    for count, (joints, own) in enumerate(found, 1):
        calibration = calibration_of(stages[:count], flip_test)
        confidences.append(own if calibration is None or own is None else
                           probabilities(calibration, joints, own, persons.skeleton, persons.box_side))
    return [joints for joints, _ in found], confidences


def flip_test_of(stages, asked):
    """Whether stage 1 makes the flip test: as the second stage was trained for, or as asked where there is none."""
    return stages[1].flip_test if len(stages) > 1 else asked


def calibration_of(stages, flip_test):
    """The calibration of the last stage's poses, which the first one's checkpoint holds; None where it holds none."""
    return next((found for found in stages[0].calibrations
                 if (found.fingerprint, found.flip_test) == (stages[-1].fingerprint, flip_test)), None)


def probabilities(calibration, joints_px, own, skeleton, box_side):
    """What a calibration says of poses.

    joints_px  (M, J, 2), crop pixels
    own        (M, J), the stages' own confidence of them
    box_side   crop pixels
    Returns    (M, J), the probability that each joint is right
    """
    return calibration.probabilities(own, pose_lengths(joints_px, skeleton, box_side))


def pose_lengths(joints_px, skeleton, box_side):
    """The poses' own reference lengths as a calibration takes them, box sides: (M, J, 2) crop pixels -> (M,)."""
    return diameters(joints_px, skeleton, SMALLEST * box_side) / box_side


def cascade_path(checkpoint_dir, stage, name):
    return Path(checkpoint_dir, f"stage{stage}_{name}.pt")


def trained_on(checkpoint, path):
    """The skeleton and pixels that a checkpoint was trained on. Raises Failure where it does not tell them."""
    try:
        older = OLDER.get(checkpoint["dataset"])
        skeleton = skeleton_of(checkpoint["skeleton"]) if "skeleton" in checkpoint or older is None else older
        return skeleton, pixels_of(checkpoint["pixels"]) if "pixels" in checkpoint else RGB
    except (KeyError, ValueError) as error:
        fault = "it does not tell its joints" if isinstance(error, KeyError) else error
        raise Failure(f"{Path(path).resolve()} is broken: {fault}; train it again") from None


def _calibrations(checkpoint, path, skeleton):
    """Those that a checkpoint holds; older ones, and those not yet calibrated, hold none."""
    try:
        return tuple(calibrations_of(checkpoint.get("calibration", []), len(skeleton.joints)))
    except ValueError as error:
        raise Failure(f"{Path(path).resolve()} is broken: {error}; train it again") from None


def _stop_if_foreign(checkpoint, path, skeleton, pixels, own_skeleton, own_pixels, whose):
    """Raise UserError where the joints or pixels that a checkpoint was trained on are not those of whom it shall look
    at, who are named `whose`."""
    trained, other = f"{Path(path).resolve()} was trained on {checkpoint['dataset']}", "name another --checkpoint-dir"
    if skeleton.joints != own_skeleton.joints:
        raise UserError(f"{trained}, with other joints than those of {whose}; {other} or --data-dir")
    if (pixels.channels, pixels.bits) != (own_pixels.channels, own_pixels.bits):
        raise UserError(f"{trained}, {_in_words(pixels)}, and {whose} are of {_in_words(own_pixels)}; {other} or "
                        "--data-dir")


def _in_words(pixels):
    return f"{'RGB' if pixels.channels == 3 else 'one channel'} of {pixels.bits} bits"


def _fingerprint(before, *checkpoints):
    digest = hashlib.sha256(before.encode())
    for checkpoint in checkpoints:
        for name, tensor in checkpoint["weights"].items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
