"""Step 2: train stage 1, a ResNet that regresses all joints from the person's box.

Reads   data/train_*.npy, data/dataset.json
Writes  checkpoints/stage1.pt       the best epoch's weights, by the validation persons
        checkpoints/stage1_last.pt  everything --resume needs
        runs/stage1_training.csv, runs/stage1_training.png
Next    python test_stage1.py

On several GPUs: torchrun --nproc-per-node 4 train_stage1.py
"""
import math
from pathlib import Path

import numpy as np
import torch

from backbones import load_initial_weights
from deeppose.augment import cut_out, half_bodies, mirror_joints, random_colour, random_windows
from deeppose.crops import box_squares, box_windows, image_buffer, reduction_for, sample_windows, to_window
from deeppose.distributed import distributed, process_group
from deeppose.drawing import training_curves
from deeppose.errors import UserError, run
from deeppose.inference import predict_joints
from deeppose.losses import masked_loss
from deeppose.metrics import diameters, joint_hits, limb_hits, overall_mean
from deeppose.persons import load_persons
from deeppose.reports import provenance
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
from integral_stage1 import IntegralNet
from resnet_stage1 import ResNetRegressor

DATA_DIR = "data"                # prepared arrays
CHECKPOINT_DIR = "checkpoints"   # weights
RUN_DIR = "runs"                 # log and curves
SEED = 0                         # of weights, batches, augmentation and dropout
DEVICE = "auto"                  # auto, cpu, cuda, cuda:1, mps
IMAGES = "auto"                  # auto | resident | streamed: on the device whole or read ahead of each batch
RESUME = False                   # go on from checkpoints/stage1_last.pt

NETWORK = "regression"           # regression | integral: coordinates from pooled features, or heatmaps' centres of mass
BACKBONE = "resnet34"            # any ResNet of torchvision by name, or efficientnet_lite0
WEIGHTS = "imagenet"             # initial: imagenet (downloaded, or from a package), none, or a file (also a stage1.pt)
INPUT_SIZE = 224                 # side of the network's square input, pixels
DROPOUT = 0.6                    # regression: share of pooled features dropped while training
HEATMAP_WEIGHT = 0.1             # integral: weight of the heatmaps' loss beside that of the coordinates; 0 = none
LOSS = "mse"                     # mse | smooth_l1 | rle: what training minimises; rle: residual log-likelihood

EPOCHS = 100                     # passes over the training persons
BATCH_SIZE = 64                  # persons a step
OPTIMISER = "adagrad"            # adagrad | adam | adamw | sgd
LEARNING_RATE = 5e-4             # step size
INITIAL_ACCUMULATOR = 0.1        # adagrad: start of the squared-gradient sums; 0 makes every first step the full rate
MOMENTUM = 0.9                   # sgd: momentum
WEIGHT_DECAY = 0.0               # pull of the weights towards 0
SCHEDULE = "constant"            # constant | cosine | step: the learning rate over the epochs
WARMUP_EPOCHS = 0.0              # epochs of linear warm-up
STEP_EPOCHS: tuple[float, ...] = (60.0, 85.0)  # step: epochs after which the rate drops
STEP_FACTOR = 0.1                # step: factor of each drop
AVERAGE_DECAY = 0.0              # decay per step of the weights' moving average, which is then what is kept; 0 = none
CLIP: float | None = None        # largest gradient norm; none = unlimited
MIXED_PRECISION = True           # bfloat16 on CUDA; elsewhere always float32
CHANNELS_LAST = False            # memory layout while training; always on CUDA; on a CPU it pays from 96 px on
COMPILE = False                  # torch.compile: some minutes at first, faster steps after; a CPU needs a C++ compiler
FROZEN_STAGES = 0                # leading parts of the backbone left as loaded, the stem being the first; 0 = none
FREEZE_BATCHNORM = False         # leave BatchNorm as loaded: its statistics and its weights
SYNC_BATCHNORM = True            # several GPUs: BatchNorm over the whole batch, not each GPU's share
PATIENCE = 0                     # stop after so many epochs without a better score; 0 = never
BEST_BY = "pdj"                  # pdj | pcp | loss: the validation score that chooses the epoch

ROTATION = 30.0                  # largest random turn either way, degrees
SCALE = (0.8, 1.25)              # least and largest random window side, in boxes
SHIFT = 0.1                      # largest random shift along x and y, in boxes
FLIP = 0.5                       # probability of mirroring, left and right exchanged
HALF_BODY = 0.0                  # probability of looking at the upper or the lower half of the person alone
CUT_OUT = 0.0                    # probability of a grey rectangle somewhere in the window
COLOUR = 0.2                     # strength of random brightness, contrast and tint; 0 = none

COLLAPSE_EPOCH = 5               # from this epoch on, warn if predictions hardly spread; 0 = never
COLLAPSE_SPREAD = 0.2            # the warning's limit, in the truth's spread


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with process_group(choose_device(settings.device)) as group:
        train(settings, group)


def train(settings, group):
    """group: the processes of torchrun, or this one alone; each works on its share of every batch."""
    device = group.device
    persons = load_persons(settings.data_dir, "train", device, settings.images)
    rows = {name: torch.tensor(np.flatnonzero(persons.held_out == held), device=device)
            for name, held in (("train", False), ("validation", True))}
    for name, chosen in rows.items():
        if len(chosen) < 2 * group.size:
            raise UserError(f"{settings.data_dir} holds {len(chosen)} {name} persons; prepare more: python lsp_data.py")

    torch.manual_seed(settings.seed)
    network = new_network(settings, len(persons.skeleton.joints))
    network.freeze(settings.frozen_stages, settings.freeze_batchnorm)
    if not settings.resume and load_initial_weights(network, settings.weights) not in (None, persons.split):
        print(f"warning: {settings.weights} was trained on another split of the persons: those held out here may be "
              "among them and their scores too good")
    channels_last = settings.channels_last or device.type == "cuda"
    network.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    model = distributed(network, group, settings.sync_batchnorm and not settings.freeze_batchnorm)
    if settings.compile:
        model = torch.compile(model, dynamic=False)
    optimiser = make_optimiser(settings.optimiser, network.parameters(), settings.learning_rate, settings.weight_decay,
                               settings.momentum, settings.initial_accumulator)
    average = moving_average(network, settings.average_decay)
    best_path, last_path = (Path(settings.checkpoint_dir, name) for name in ("stage1.pt", "stage1_last.pt"))
    history, best, best_epoch = [], -math.inf, 0
    if settings.resume:
        state = load_checkpoint(last_path, "python train_stage1.py")
        stop_if_other_network(state["settings"], settings, last_path)
        if state["labels"] != persons.labels:
            raise UserError(f"{last_path} was trained on other data than {settings.data_dir} holds now; "
                            "train without --resume")
        restore(state, network, optimiser, average)
        history, best, best_epoch = state["history"], state["best"], state["best_epoch"]
        if group.first:
            write_rows(Path(settings.run_dir, "stage1_training.csv"), history)  # the last may have been missed

    print(f"{settings.backbone} at {settings.input_size} px on {device}: {len(rows['train'])} training and "
          f"{len(rows['validation'])} validation persons"
          + (f"; {group.size} processes, batches of {settings.batch_size} persons in all, learning rate "
             f"{settings.learning_rate:g} as set" if group.size > 1 else ""), flush=True)

    def rate(epoch):
        return learning_rate_at(epoch, settings.epochs, settings.learning_rate, settings.schedule,
                                settings.warmup_epochs, settings.step_epochs, settings.step_factor)

    try:
        for epoch in range(len(history), settings.epochs):
            watch = Stopwatch()
            order, generator = epoch_generators(device, epoch, settings.seed, rank=group.rank)
            chosen = [group.share(batch) for batch in index_batches(rows["train"], settings.batch_size, order)]
            loss, seen = train_one_epoch(model, network, batches(persons, chosen, generator, settings), len(chosen),
                                         optimiser, rate, epoch, average, settings.clip, settings.mixed_precision)
            seconds = watch.seconds
            kept = average.module if average else network
            scores, spread = evaluate(kept, persons, rows["validation"], settings.input_size, settings.batch_size,
                                      group)
            history.append({"epoch": epoch + 1, "loss": loss, **scores, "learning_rate": rate(epoch + 0.5),
                            "images_per_second": round(seen / seconds, 1),
                            "memory_mib": round(peak_memory(device)), "seconds": round(watch.seconds, 2)})
            print_row(history[-1])
            if settings.collapse_epoch and epoch + 1 >= settings.collapse_epoch and spread < settings.collapse_spread:
                print(f"warning: predictions spread only {spread:.2f} of what the true joints do: the network gives "
                      "nearly one mean pose; try a higher --learning-rate, another --optimiser or less --dropout")
            score = -scores["validation_loss"] if settings.best_by == "loss" else scores[settings.best_by]
            better = score > best
            if better:
                best, best_epoch = score, epoch + 1
            if group.first:
                if better:
                    save_checkpoint(best_path, finished(kept, settings, persons, history))
                save_checkpoint(last_path, resume_state(
                    network, optimiser, average, history=history, best=best, best_epoch=best_epoch,
                    labels=persons.labels, settings=plain_settings(settings)))
                write_rows(Path(settings.run_dir, "stage1_training.csv"), history)
            if settings.patience and epoch + 1 - best_epoch >= settings.patience:
                print(f"no better {settings.best_by} for {settings.patience} epochs: stopped")
                break
    except KeyboardInterrupt:
        print(f"\ninterrupted; {len(history)} epochs stand; go on with the same settings and --resume")
        raise
    finally:
        if history and group.first:
            training_curves(Path(settings.run_dir, "stage1_training.png"), history)
    print(f"best epoch {best_epoch} by validation {settings.best_by}: {best_path}")
    print(next_command(globals(), settings, "test_stage1.py"))


def new_network(settings, joints):
    if settings.network == "regression":
        return ResNetRegressor(settings.backbone, joints, settings.dropout, settings.loss)
    if settings.input_size % 32:
        raise UserError(f"--input-size {settings.input_size}: --network integral needs a multiple of 32")
    if settings.loss == "rle":
        raise UserError("--loss rle is for --network regression")
    return IntegralNet(settings.backbone, joints, settings.loss, settings.heatmap_weight)


def batches(persons, chosen, generator, settings):
    """Augmented (images, joints in the window's frame) for each batch of row indices; each valid until the next."""
    reduction = reduction_for(persons.box_side, settings.input_size)
    mirror = torch.tensor(persons.skeleton.mirror, device=persons.device)
    buffer = image_buffer(max(map(len, chosen)), settings.input_size, persons.device)
    halves = torch.tensor(persons.skeleton.halves, device=persons.device)
    for rows, (crops, places) in zip(chosen, persons.crop_batches(chosen), strict=True):
        truth_px = persons.joints_px[rows]
        squares = box_squares(len(rows), persons.crop_size, persons.context, persons.device)
        if settings.half_body:
            squares = half_bodies(*squares, truth_px, halves, generator, settings.half_body)
        windows, flipped = random_windows(*squares, generator, settings.rotation, settings.scale, settings.shift,
                                          settings.flip)
        joints_px = mirror_joints(truth_px, flipped, mirror)
        colour = random_colour(len(rows), generator, settings.colour)
        images = sample_windows(crops, places, windows, settings.input_size, reduction, colour, buffer)
        images = cut_out(images, generator, settings.cut_out)
        yield images, to_window(joints_px, windows)


def evaluate(model, persons, rows, input_size, batch_size, group):
    """Validation loss of the coordinates, PDJ@0.2 and strict 8-limb PCP in percent, also apart for each data set; and
    the spread of the predictions in the truth's (standard deviation over persons, mean over coordinates). Each process
    predicts its share of the persons, and all score the whole."""
    predicted_px = group.gathered(predict_joints(model, persons, group.share(rows), input_size, batch_size))
    truth_px = persons.joints_px[rows]
    windows = box_windows(len(rows), persons.crop_size, persons.context, rows.device)
    loss = masked_loss(to_window(predicted_px, windows), to_window(truth_px, windows), model.loss_name).item()
    predicted, truth = predicted_px.cpu().numpy(), truth_px.cpu().numpy()
    hits = joint_hits(predicted, truth, diameters(truth, persons.skeleton), 0.2)
    limbs = limb_hits(predicted, truth, persons.skeleton)
    limbs = limbs[:, persons.skeleton.paper_limb_indices]
    scores = {"validation_loss": loss, "pdj": 100 * overall_mean(hits),
              "pcp": 100 * overall_mean(limbs)}
    sources = persons.sources[rows.cpu().numpy()]
    if len(names := sorted(set(sources))) > 1:
        scores |= {f"pdj_{name}": 100 * overall_mean(hits[sources == name]) for name in names}
    spread = np.mean(predicted.std(0) / np.nanstd(truth, axis=0).clip(min=1e-6))
    return {name: float(value) for name, value in scores.items()}, float(spread)


def finished(model, settings, persons, history):
    """What checkpoints/stage1.pt holds."""
    return {"kind": settings.network, "network": model.arguments, "weights": model.state_dict(),
            "input_size": settings.input_size, "dataset": persons.dataset["dataset"], "split": persons.split,
            "history": history, "settings": plain_settings(settings),
            "provenance": provenance(settings, sum(row["seconds"] for row in history))}


def stop_if_other_network(old, settings, path):
    """Resuming with another network or optimiser can't work; with other settings it is said."""
    new = plain_settings(settings)
    fixed = ("network", "backbone", "frozen_stages", "freeze_batchnorm", "input_size", "loss", "dropout", "optimiser",
             "average_decay", "seed", "batch_size")
    if changed := changed_settings(old, {name: new[name] for name in fixed}):
        raise UserError(f"{path} was trained with other settings ({changed}); use the same or train without --resume")
    places = ("resume", "data_dir", "checkpoint_dir", "run_dir", "device", "images")
    if changed := changed_settings(old, new, ignore=places):
        print(f"note: settings changed on resuming: {changed}")


if __name__ == "__main__":
    run(main)
