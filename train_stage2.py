"""Step 5: train a cascade stage, one AlexNet a joint that looks closer and gives the displacement to the true joint.

Reads   data/train_*.npy, data/train_output.npy, data/error_model.npz, data/deltas.npy
        (--stage 3: data/train_output_stage2.npy, and so on)
Writes  checkpoints/stage2_<joint>.pt       a finished joint's weights, of its best epoch by the validation persons
                                            (epoch 0, which moves nothing, if no epoch is better)
        checkpoints/stage2_<joint>_last.pt  while it trains: what going on after an interruption needs
        runs/stage2_training.csv, runs/stage2_training.png
Next    python test_stage2.py; for a third stage python generate_train_output.py --stage 2

Joints that are finished are skipped and an interrupted one goes on, so the same command resumes a killed run.
On several GPUs each trains its share of the joints: torchrun --nproc-per-node 4 train_stage2.py
"""
import math
from pathlib import Path

import numpy as np
import torch

from cascade_net import SMALLEST_CROP, CascadeNet
from deeppose import arrays
from deeppose.augment import random_colour, uniform
from deeppose.crops import image_buffer, make_windows, reduction_for, sample_windows, to_window
from deeppose.distributed import process_group
from deeppose.drawing import training_curves
from deeppose.error_model import ErrorModel, ErrorSampler
from deeppose.errors import UserError, run
from deeppose.inference import diameters, refine_joints
from deeppose.metrics import diameters as true_diameters
from deeppose.metrics import joint_hits, overall_mean
from deeppose.persons import load_persons
from deeppose.reports import THRESHOLDS, provenance
from deeppose.settings import next_command, parse_settings
from deeppose.training import (
    Stopwatch,
    changed_settings,
    choose_device,
    epoch_generators,
    index_batches,
    learning_rate_at,
    load_checkpoint,
    make_optimiser,
    moving_average,
    peak_memory,
    plain_settings,
    print_row,
    restore,
    resume_state,
    save_checkpoint,
    train_one_epoch,
    write_rows,
)
from trained_stages import SHARED, cascade_path

DATA_DIR = "data"                # prepared arrays
CHECKPOINT_DIR = "checkpoints"   # weights
RUN_DIR = "runs"                 # log and curves
SEED = 0                         # of weights, batches, windows and dropout
DEVICE = "auto"                  # auto, cpu, cuda, cuda:1, mps
IMAGES = "auto"                  # auto | resident | streamed: on the device whole or read ahead of each batch
STAGE = 2                        # which stage to train; 3 refines stage 2's output, and so on
JOINTS: tuple[str, ...] = ()     # joints to train, by name; all if empty
SHARED_NETWORK = False           # one network for all joints in place of one each
RESTART = False                  # train finished and interrupted joints anew

CROP_SIZE = 227                  # side of the network's square input, pixels; AlexNet's smallest is 67
WIDTH = 1.0                      # factor on the channels of convolutions and fully connected layers
DROPOUT = 0.6                    # share dropped after each fully connected layer while training
LOSS = "mse"                     # mse | smooth_l1: what training minimises
SIGMA = 2.0                      # window side, in diameters of the pose to refine

EPOCHS = 7                       # passes over the training persons
CROPS_PER_IMAGE = 20             # windows drawn of each person and epoch
BATCH_SIZE = 128                 # windows a step
OPTIMISER = "adagrad"            # adagrad | adam | adamw | sgd
LEARNING_RATE = 5e-4             # step size
INITIAL_ACCUMULATOR = 0.1        # adagrad: start of the squared-gradient sums; 0 makes every first step the full rate
MOMENTUM = 0.9                   # sgd: momentum
WEIGHT_DECAY = 0.0               # pull of the weights towards 0
SCHEDULE = "constant"            # constant | cosine | step: the learning rate over the epochs
WARMUP_EPOCHS = 0.0              # epochs of linear warm-up
STEP_EPOCHS: tuple[float, ...] = (5.0,)  # step: epochs after which the rate drops
STEP_FACTOR = 0.1                # step: factor of each drop
AVERAGE_DECAY = 0.0              # decay per step of the weights' moving average, which is then what is kept; 0 = none
CLIP: float | None = None        # largest gradient norm; none = unlimited
MIXED_PRECISION = True           # bfloat16 on CUDA; elsewhere always float32
HALF_WEIGHTS = True              # keep finished weights in half precision

ERRORS = "residuals"             # residuals | gaussian | fixed: drawn from held-out errors, their fit, or deltas.npy
MISSED = True                    # learn also from windows that miss the true joint, which can't be seen there
ROTATION = 15.0                  # largest random turn of a window either way, degrees
SCALE = (0.85, 1.18)             # least and largest random factor on a window's side
FLIP = 0.5                       # probability of mirroring; the mirrored left joint trains the right one's network
COLOUR = 0.2                     # strength of random brightness, contrast and tint; 0 = none


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if settings.stage < 2:
        raise UserError(f"--stage {settings.stage}: the cascade begins at stage 2; stage 1 is python train_stage1.py")
    if settings.crop_size < SMALLEST_CROP:
        raise UserError(f"--crop-size {settings.crop_size}: AlexNet's smallest input is {SMALLEST_CROP}")
    with process_group(choose_device(settings.device)) as group:
        persons = load_persons(settings.data_dir, "train", group.device, settings.images)
        names = chosen_joints(settings, persons.skeleton)
        data = CascadeData(persons, settings, group.device)
        if group.size > 1:
            print(f"{group.size} processes; the first, whose epochs these are, trains {', '.join(group.own(names))}")
        for name in group.own(names):
            train_joint(name, data, settings)
        group.wait()
        if group.first:
            write_log(settings, persons.skeleton.joints)
    print(next_command(globals(), settings, "test_stage2.py"))
    print(f"for one more stage: python generate_train_output.py --stage {settings.stage}")


class CascadeData:
    """What training a joint reads: persons, the poses to refine, their windows' sides, and the errors to simulate."""

    def __init__(self, persons, settings, device):
        folder, suffix = Path(settings.data_dir), arrays.stage_suffix(settings.stage - 1)
        made_by = arrays.GENERATE + (f" --stage {settings.stage - 1}" if settings.stage > 2 else "")
        poses = arrays.load(folder / f"train_output{suffix}.npy", "train_output", made_by=made_by)
        if poses.shape != tuple(persons.joints_px.shape):
            raise UserError(f"train_output{suffix}.npy holds {len(poses)} poses for {len(persons.crops)} persons; "
                            f"run again: {made_by}")
        self.errors = ErrorModel.load(folder / f"error_model{suffix}.npz", made_by)
        deltas = arrays.load(folder / f"deltas{suffix}.npy", "deltas", made_by=made_by)
        if self.errors.labels != persons.labels:
            raise UserError(f"train_output{suffix}.npy was made from other data than {folder} holds now; "
                            f"run again: {made_by}")
        self.sampler = ErrorSampler(self.errors, settings.errors, device, deltas)
        self.persons, self.device = persons, device
        self.poses_px = torch.from_numpy(poses).to(device)
        self.diameters = diameters(self.poses_px, persons.skeleton.diameter_indices,
                                   self.errors.smallest_diameter * persons.box_side)
        self.sides = settings.sigma * self.diameters
        self.mirror = torch.tensor(persons.skeleton.mirror, device=device)
        self.annotated = ~persons.joints_px.isnan().any(-1)  # (N, J)
        self.held_out = torch.from_numpy(persons.held_out).to(device)


def train_joint(name, data, settings):
    """Train, or go on training, one joint's network (or the shared one)."""
    device, joints = data.device, data.persons.skeleton.joints
    final = cascade_path(settings.checkpoint_dir, settings.stage, name)
    last = final.with_name(f"{final.stem}_last.pt")
    if settings.restart:
        final.unlink(missing_ok=True)
        last.unlink(missing_ok=True)
    if final.exists():
        checkpoint = load_checkpoint(final, "python train_stage2.py --restart")
        changed = changed_settings(checkpoint["settings"], plain_settings(settings), ignore=RUN_SETTINGS)
        stale = checkpoint["refines"] != data.errors.fingerprint
        last.unlink(missing_ok=True)
        print(f"{name}: finished already, skipped ({final})"
              + (f"; note: trained with other settings: {changed}" if changed else "")
              + ("; warning: trained on other stage-1 output than data/ holds now" if stale else "")
              + ("; --restart trains it anew" if changed or stale else ""))
        return

    seed = settings.seed + 1000 * joints.index(name) if name != SHARED else settings.seed  # whatever was trained before
    torch.manual_seed(seed)
    model = CascadeNet(settings.crop_size, settings.width, settings.dropout,
                       len(joints) if name == SHARED else 1, settings.loss)
    model.to(device, memory_format=torch.channels_last if device.type == "cuda" else torch.contiguous_format)
    optimiser = make_optimiser(settings.optimiser, model.parameters(), settings.learning_rate, settings.weight_decay,
                               settings.momentum, settings.initial_accumulator)
    average = moving_average(model, settings.average_decay)
    targets = torch.arange(len(joints), device=device) if name == SHARED else \
        torch.tensor([joints.index(name)], device=device)
    pairs = training_pairs(data, targets)
    if not len(pairs):
        raise UserError(f"{name} is annotated on no training person")

    before = evaluate(None, data, targets, settings)
    # epoch 0 leaves the joint where it is: a network that does not help on validation persons is not kept
    history, best, best_epoch, best_weights = [], before["area"], 0, clones(model)
    if last.exists():
        state = load_checkpoint(last, "python train_stage2.py --restart")
        if changed := changed_settings(state["settings"], plain_settings(settings), ignore=RUN_SETTINGS):
            raise UserError(f"{last} was begun with other settings ({changed}); use the same, or --restart")
        if state["refines"] != data.errors.fingerprint:
            raise UserError(f"{last} was begun on other output of stage {settings.stage - 1}; use --restart")
        restore(state, model, optimiser, average)
        history, best, best_epoch, best_weights = (state[key] for key in ("history", "best", "best_epoch",
                                                                          "best_weights"))

    def rate(epoch):
        return learning_rate_at(epoch, settings.epochs, settings.learning_rate, settings.schedule,
                                settings.warmup_epochs, settings.step_epochs, settings.step_factor)

    try:
        for epoch in range(len(history), settings.epochs):
            watch = Stopwatch()
            order, generator = epoch_generators(device, epoch, seed)
            chosen = [batch for _ in range(settings.crops_per_image)
                      for batch in index_batches(pairs, settings.batch_size, order)]
            outside = torch.zeros((), device=device)
            loss, seen = train_one_epoch(model, model, batches(data, chosen, outside, generator, settings), len(chosen),
                                         optimiser, rate, epoch, average, settings.clip, settings.mixed_precision)
            seconds = watch.seconds
            kept = average.module if average else model
            score = evaluate(kept, data, targets, settings)
            history.append({"joint": name, "epoch": epoch + 1, "loss": loss, "pdj": score["pdj"],
                            "pdj_before": before["pdj"], "pdj_area": score["area"], "area_before": before["area"],
                            "outside": 100 * outside.item() / seen, "learning_rate": rate(epoch + 0.5),
                            "crops_per_second": round(seen / seconds, 1),
                            "memory_mib": round(peak_memory(device)), "seconds": round(watch.seconds, 2)})
            print_row(history[-1])
            if score["area"] > best:
                best, best_epoch, best_weights = score["area"], epoch + 1, clones(kept)
            save_checkpoint(last, resume_state(
                model, optimiser, average, history=history, best=best, best_epoch=best_epoch,
                best_weights=best_weights, refines=data.errors.fingerprint, settings=plain_settings(settings)))
    except KeyboardInterrupt:
        print(f"\ninterrupted; {name}: {len(history)} epochs stand; the same command goes on")
        raise
    if not best_epoch:
        print(f"{name}: no epoch was better on validation persons than stage {settings.stage - 1}: left as it is there")
    save_checkpoint(final, {
        "network": model.arguments,
        "weights": {k: v.half() if settings.half_weights else v for k, v in best_weights.items()},
        "sigma": settings.sigma, "smallest_diameter": data.errors.smallest_diameter,
        "flip_test": data.errors.flip_test, "refines": data.errors.fingerprint,
        "dataset": data.persons.dataset["dataset"], "best_epoch": best_epoch, "history": history,
        "settings": plain_settings(settings),
        "provenance": provenance(settings, sum(row["seconds"] for row in history))})
    last.unlink()


def clones(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


# a run may change these and still go on with what another began
RUN_SETTINGS = ("data_dir", "checkpoint_dir", "run_dir", "device", "images", "joints", "restart", "half_weights")


def chosen_joints(settings, skeleton):
    if unknown := set(settings.joints) - set(skeleton.joints):
        raise UserError(f"no joint named {', '.join(sorted(unknown))}; there are: {', '.join(skeleton.joints)}")
    if settings.shared_network and settings.joints:
        raise UserError("--shared-network trains all joints at once; leave out --joints")
    return (SHARED,) if settings.shared_network else settings.joints or skeleton.joints


def training_pairs(data, targets):
    """(P, 2) person and joint to train, wherever the joint or its mirror partner is annotated on a training person."""
    usable = data.annotated | data.annotated[:, data.mirror]
    usable = usable[:, targets] & ~data.held_out[:, None]
    person, column = usable.nonzero(as_tuple=True)
    return torch.stack([person, targets[column]], 1)


def batches(data, chosen, outside, generator, settings):
    """Windows round truth + simulated error, and the displacement back to the truth.

    chosen   batches of (B, 2) pairs of person and joint
    outside  0-d tensor that counts the truths beyond their window's edge
    Yields   images (B, 3, S, S), displacements (B, outputs, 2) window sides, NaN for the other joints of a shared one
             and, with MISSED off, where the truth lies outside; each batch valid until the next
    """
    reduction = reduction_for(data.sides.median().item(), settings.crop_size)
    joints = data.annotated.shape[1]
    buffer = image_buffer(max(map(len, chosen)), settings.crop_size, data.device)
    crop_batches = data.persons.crop_batches([pairs[:, 0] for pairs in chosen])
    for pairs, (crops, places) in zip(chosen, crop_batches, strict=True):
        person, joint = pairs.T
        count, partner = len(pairs), data.mirror[joint]
        flipped = uniform(count, 0, 1, generator) < settings.flip
        flipped = torch.where(data.annotated[person, joint] & data.annotated[person, partner], flipped,
                              ~data.annotated[person, joint])
        truth_px = data.persons.joints_px[person, torch.where(flipped, partner, joint)]  # (B, 2)
        error = data.sampler.draw(joint, generator) * data.diameters[person, None]
        error[:, 0] = torch.where(flipped, -error[:, 0], error[:, 0])  # the joint's error, as the mirrored crop has it
        low, high = (math.log(s) for s in settings.scale)
        windows = make_windows(truth_px + error, data.sides[person] * uniform(count, low, high, generator).exp(),
                               uniform(count, -settings.rotation, settings.rotation, generator), flipped)
        displacement = to_window(truth_px[:, None], windows)  # (B, 1, 2)
        missed = (displacement.abs() > 0.5).any(-1, keepdim=True)
        outside += missed.sum()
        if not settings.missed:
            displacement = displacement.masked_fill(missed, torch.nan)
        if settings.shared_network:
            own = torch.arange(joints, device=joint.device) == joint[:, None]  # (B, J)
            displacement = displacement.where(own[..., None], torch.nan)
        colour = random_colour(count, generator, settings.colour)
        yield sample_windows(crops, places, windows, settings.crop_size, reduction, colour, buffer), displacement


def evaluate(model, data, targets, settings):
    """Validation scores of the joints refined from the stage before; with model None, that stage's own.

    Returns PDJ@0.2 and the mean PDJ over 0.05 ... 0.5 ("area", which chooses the epoch: finer steps), percent
    """
    held_out = data.held_out.nonzero()[:, 0]
    truth = data.persons.joints_px[held_out].cpu().numpy()
    spans = true_diameters(truth, data.persons.skeleton)
    poses, networks = data.poses_px[held_out], {joint: (model, output) for output, joint in enumerate(targets.tolist())}
    if model is not None:
        poses = refine_joints(networks, data.persons, held_out, poses, data.sides[held_out])
    curves = []
    for joint in networks:
        refined = poses[:, joint].cpu().numpy()[:, None]
        curves.append([100 * overall_mean(joint_hits(refined, truth[:, [joint]], spans, t)) for t in THRESHOLDS])
    mean = np.mean(curves, 0)
    return {"pdj": float(mean[list(THRESHOLDS).index(0.2)]), "area": float(mean.mean())}


def write_log(settings, joints):
    """runs/stage{s}_training.csv and .png, put together from the finished joints' checkpoints."""
    paths = [cascade_path(settings.checkpoint_dir, settings.stage, name) for name in (SHARED, *joints)]
    rows = [row for path in paths if path.exists()
            for row in load_checkpoint(path, "python train_stage2.py")["history"]]
    write_rows(Path(settings.run_dir, f"stage{settings.stage}_training.csv"), rows)
    training_curves(Path(settings.run_dir, f"stage{settings.stage}_training.png"), rows)


if __name__ == "__main__":
    run(main)
