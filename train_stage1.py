"""Step 2: train stage 1, a ResNet that regresses all joints from the person's box.

Reads   data/train_*.npy, data/dataset.json
Writes  checkpoints/stage1.pt       the best epoch's weights, by the validation persons
        checkpoints/stage1_last.pt  what going on needs
        runs/stage1_training.csv, runs/stage1_training.png
        runs/stage1_steps.csv       with --every: scores between the epochs' ends as well
        runs/tensorboard/           with --tensorboard: the same as TensorBoard's scalars
Next    python test_stage1.py

The same command goes on where it was interrupted; --restart begins anew.
On several GPUs: torchrun --nproc-per-node 4 train_stage1.py
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import contextlib
import math
from pathlib import Path

import numpy as np
import torch

from deeppose.augment import mirror_joints, random_colour, random_windows
from deeppose.checkpoints import plain_settings
from deeppose.claims import claimed
from deeppose.course import Course
from deeppose.crops import box_squares, image_buffer, reduction_for, sample_windows, to_window
from deeppose.devices import Cores, Stopwatch, choose_device, memory_format, mixed_precision, peak_memory
from deeppose.distributed import distributed, process_group, smallest_share
from deeppose.persons import load_persons
from deeppose.reports import provenance
from deeppose.settings import next_command, parse_settings
from deeppose.step_log import StepLog, summary_writer
from deeppose.training import (
    epoch_generators,
    index_batches,
    learning_rate_at,
    make_optimiser,
    moving_average,
    parameter_groups,
    part_of,
    print_row,
    times_of,
    train_one_epoch,
)
from deeppose.validation import evaluate, measure_of, scores_of
from networks.backbones import load_initial_weights
from networks.stage1 import new_network

DATA_DIR = "data"                # prepared arrays
CHECKPOINT_DIR = "checkpoints"   # weights
RUN_DIR = "runs"                 # log and curves
SEED = 0                         # 0 ... 4294967295: of weights, batches, augmentation and dropout
DEVICE = "auto"                  # auto, cpu, cuda, cuda:1, mps
THREADS = 0                      # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
IMAGES = "auto"                  # auto | resident | streamed: on the device whole or read ahead of each batch
RESUME = False                   # go on with an earlier training under changed settings, e.g. more epochs
RESTART = False                  # train anew; an earlier stage1.pt stays until the new one is finished

NETWORK = "regression"           # regression | integral | heatmap: coordinates, maps' centres of mass, maps' peaks
BACKBONE = "resnet34"            # any ResNet of torchvision by name, efficientnet_lite0, alexnet or alexnet_bn
WEIGHTS = "imagenet"             # initial: imagenet (downloaded, or from a package), none, or a file (also a stage1.pt)
INPUT_SIZE = 224                 # 32 ... 1024: side of the network's square input, pixels
DROPOUT = 0.6                    # 0 ... 0.99: regression: share of pooled features dropped while training
HEATMAP_WEIGHT = 0.1             # 0.0 ... 1000: integral: weight of the heatmaps' loss beside coordinates'; 0 = none
HEATMAP_SIGMA: float | None = None  # 0.5 ... 16: deviation of a heatmap's target, its pixels; none = network's own
LOSS = "mse"                     # mse | smooth_l1 | rle: what training minimises; rle: residual log-likelihood
GLOBAL_CONTRAST = False          # each window less its own mean, over its own deviation (global contrast normalisation)

EPOCHS = 100                     # 1 ... 100000: passes over the training persons
OVERSAMPLE: tuple[str, ...] = ()  # data sets whose persons come several times a pass, e.g. lsp=4
WITHOUT = ""                     # k/n: leave out the k-th of n parts of the training persons too; "" = none
BATCH_SIZE = 64                  # 2 ... 65536: persons a step
OPTIMISER = "adam"               # adagrad | adam | adamw | sgd; adagrad is the paper's
LEARNING_RATE = 5e-4             # 1e-12 ... 1e6: step size
BACKBONE_RATE = 1.0              # 0.0 ... 1000: factor of the step size of the backbone, AlexNet's wide layers left out
INITIAL_ACCUMULATOR = 0.1        # 0 ... 1e6: adagrad: start of the squared-gradient sums; 0 = a first step at full rate
MOMENTUM = 0.9                   # 0 ... 0.9999: sgd: momentum
WEIGHT_DECAY = 0.0               # 0.0 ... 1: pull of the weights towards 0
SCHEDULE = "cosine"              # constant | cosine | step: the learning rate over the epochs
WARMUP_EPOCHS = 1.0              # 0.0 ... 100000: epochs of linear warm-up
STEP_EPOCHS: tuple[float, ...] = (60.0, 85.0)  # 0.0 ... 100000, rising: step: epochs after which the rate drops
STEP_FACTOR = 0.1                # 1e-6 ... 1: step: factor of each drop
AVERAGE_DECAY = 0.0              # 0 ... 0.999999: decay a step of the weights' moving average, which is kept; 0 = none
CLIP: float | None = None        # 1e-9 ... 1e9: largest gradient norm; none = unlimited
MIXED_PRECISION = True           # bfloat16 on GPUs and CPUs that compute in it; elsewhere float32
CHANNELS_LAST = False            # memory layout in training; CUDA: always; mps: never; a CPU: pays from 96 px on
COMPILE = False                  # torch.compile: minutes at first; faster steps on a GPU; a CPU needs a C++ compiler
FROZEN_STAGES = 0                # 0 ... 100: leading parts of the backbone left as loaded, the stem first; 0 = none
FROZEN_STEPS = 0                 # 0 ... 1000000000: first steps in which BACKBONE_RATE's parts learn nothing; 0 = none
FREEZE_BATCHNORM = False         # leave the backbone's BatchNorm as loaded: its statistics and its weights
SYNC_BATCHNORM = True            # several GPUs: BatchNorm over the whole batch, not each GPU's share
PATIENCE = 0                     # 0 ... 100000: stop after so many epochs without a better score; 0 = never
BEST_BY = "pdj"                  # pdj | pcp | loss: the validation score that chooses the epoch
EVERY = 0                        # 0 ... 1000000000: steps between scores; 0 = after each epoch alone
TRAINING_PERSONS = 0             # 0 ... 1000000000: training persons scored as well, drawn by the seed; 0 = none
TENSORBOARD = False              # scores as TensorBoard's scalars too, where it is installed

ROTATION = 30.0                  # 0.0 ... 180: largest random turn either way, degrees
SCALE = (0.8, 1.25)              # 0.1 ... 10, rising: range of random window sides, boxes; grey beyond the stored crop
SHIFT = 0.1                      # 0.0 ... 1: largest random shift along x and y, in boxes
FLIP = 0.5                       # 0.0 ... 1: probability of mirroring, left and right exchanged
COLOUR = 0.2                     # 0.0 ... 1: strength of random brightness, contrast and tint; 0 = none

COLLAPSE_EPOCH = 5               # 0 ... 100000: from this epoch on, warn if predictions hardly spread; 0 = never
COLLAPSE_SPREAD = 0.2            # 0.0 ... 1000: the warning's limit, in the truth's spread

# where and how a training runs, not what it learns
PLACES = ("preset", "data_dir", "checkpoint_dir", "run_dir", "device", "threads", "images",
          "resume", "restart", "compile", "every", "training_persons", "tensorboard")
# what --resume can't change
FIXED = ("network", "backbone", "frozen_stages", "freeze_batchnorm", "input_size", "loss", "dropout", "optimiser",
         "average_decay", "seed", "batch_size", "global_contrast", "heatmap_sigma", "without", "weights",
         "initial_accumulator", "oversample")  # by which steps are counted, too


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if settings.resume and settings.restart:
        raise UserError("--resume goes on and --restart begins anew: give one of them")
    if settings.tensorboard:
        summary_writer()
    with process_group(choose_device(settings.device)) as group, contextlib.ExitStack() as claims:
        if group.first:
            claims.enter_context(claimed(settings.checkpoint_dir, "stage 1"))
            claims.enter_context(claimed(settings.run_dir, "stage 1 training"))
        train(settings, group)


def train(settings, group):
    """group: the processes of torchrun, or this one alone; each works on its share of every batch."""
    device, cores = group.device, Cores(settings.threads)
    persons = load_persons(settings.data_dir, "train", device, settings.images)
    rows = rows_of(persons, settings, group)
    course = course_of(persons, rows, settings)
    state = course.left(settings.resume, settings.restart)
    if state and state["finished"] and course.final.exists() and not settings.resume:
        print(f"{course.final}: finished already, {len(state['history'])} epochs; --restart trains it anew, --resume "
              "goes on under changed settings")
        return print(next_command(globals(), settings, "test_stage1.py"))
    if not state and not settings.restart and course.final.exists():
        raise UserError(f"{course.final.resolve()} is of another training; --restart replaces it when a new one is "
                        "finished, --checkpoint-dir names another folder")

    torch.manual_seed(settings.seed)
    network = new_network(settings.network, len(persons.skeleton.joints), settings.input_size,
                          {**vars(settings), "image_channels": persons.pixels.channels})
    network.freeze(settings.frozen_stages, settings.freeze_batchnorm)
    begun = None if state else load_initial_weights(network, settings.weights)
    if begun and network.global_contrast != settings.global_contrast:
        raise UserError(f"{settings.weights} was trained with{'' if network.global_contrast else 'out'} "
                        "--global-contrast; set the same, or name other --weights")
    network.global_contrast = settings.global_contrast
    if begun and settings.without and begun.without != settings.without:
        raise UserError(f"{settings.weights} was trained on the part that --without {settings.without} leaves out, and "
                        "knows its labels by heart; begin with others")
    if begun:
        begun.warn_of_other_split(settings.weights, persons.split)
    course.seen = begun.seen if begun else []
    network.to(device, memory_format=memory_format(device, settings.channels_last))
    model = distributed(network, group, settings.sync_batchnorm)
    if settings.compile:
        model = torch.compile(model, dynamic=False)
    groups = parameter_groups(network, settings.backbone_rate, settings.frozen_steps)
    optimiser = make_optimiser(settings.optimiser, groups, settings.learning_rate, settings.weight_decay,
                               settings.momentum, settings.initial_accumulator)
    average = moving_average(network, settings.average_decay)
    kept = average.module if average else network
    mixed = mixed_precision(settings.mixed_precision, device)
    group.wait()  # all have read what is about to be written
    course.begin(network, optimiser, average, state, writes=group.first)

    learnt = len(rows["train"].unique())
    print(f"{settings.backbone} at {settings.input_size} px on {device}: {learnt} training"
          + (f" ({len(rows['train'])} a pass)" if learnt < len(rows["train"]) else "")
          + f" and {len(rows['validation'])} validation persons"
          + (f"; {group.size} processes, batches of {settings.batch_size} persons in all, learning rate "
             f"{settings.learning_rate:g} as set" if group.size > 1 else "")
          + (f"; going on after epoch {len(course.history)}" if state else ""), flush=True)

    def rate(epoch):
        return learning_rate_at(epoch, settings.epochs, settings.learning_rate, settings.schedule,
                                settings.warmup_epochs, settings.step_epochs, settings.step_factor)

    def scores_now():
        group.same_buffers(kept)
        scores, spread = evaluate(kept, persons, rows["validation"], settings.input_size, settings.batch_size, group)
        if len(rows["scored"]):
            own, _ = evaluate(kept, persons, rows["scored"], settings.input_size, settings.batch_size, group)
            scores |= {f"training_{name.removeprefix('validation_')}": value for name, value in own.items()}
        return scores, spread

    def look(step):
        """Between an epoch's steps."""
        watch = Stopwatch()
        row = {"epoch": epoch + 1, "step": step, **scores_now()[0]}
        print_row(row)
        steps.add(row)
        looking.append(watch.seconds)

    log, curves = (Path(settings.run_dir, f"stage1_training.{end}") for end in ("csv", "png"))
    with course.told("stage 1", curves if group.first else None), step_log(course, state, settings, group) as steps:
        for epoch in course.epochs(settings.epochs, settings.patience):
            watch, looking = Stopwatch(), []
            order, generator = epoch_generators(device, epoch, settings.seed, rank=group.rank)
            chosen = [group.share(batch) for batch in index_batches(rows["train"], settings.batch_size, order)]
            loss, seen = train_one_epoch(model, network, batches(persons, chosen, generator, settings), len(chosen),
                                         optimiser, rate, epoch, average, settings.clip, mixed, cores, settings.every,
                                         look)
            seconds = watch.seconds - sum(looking)
            scores, spread = scores_now()
            steps.add({"epoch": epoch + 1, "step": (epoch + 1) * len(chosen), **scores, "loss": loss})
            course.record({"epoch": epoch + 1, "loss": loss, **scores, "learning_rate": rate(epoch + 0.5),
                           "images_per_second": round(seen / seconds, 1), "memory_mib": peak_memory(device),
                           "threads": torch.get_num_threads(), "seconds": round(watch.seconds, 2)}, kept, log)
            if settings.collapse_epoch and epoch + 1 >= settings.collapse_epoch and spread < settings.collapse_spread:
                print(f"warning: predictions spread only {spread:.2f} of what the true joints do: the network gives "
                      "nearly one mean pose; try a higher --learning-rate, another --optimiser or less --dropout")
        course.finish()
    measure = measure_of(settings.best_by, persons.skeleton).removeprefix("validation_")
    best = course.best >= max(map(course.score, course.history))
    print(f"best epoch {course.best_epoch}{f' by validation {measure}' if best else ', by an earlier --best-by'}: "
          f"{course.final}")
    print(next_command(globals(), settings, "test_stage1.py"))


def rows_of(persons, settings, group):
    """Rows of the training persons, as often as a pass sees them, of the validation persons, and of the training
    persons that are scored, on the device. Raises UserError where they are too few."""
    times = times_of(persons.sources, settings.oversample)
    if settings.without:
        part, count = part_of(settings.without)
        times[persons.parts(count) == part] = 0
    rows = {"train": np.repeat(np.arange(len(times)), np.where(persons.held_out, 0, times)),
            "validation": np.flatnonzero(persons.held_out)}
    rows = {name: torch.tensor(chosen, device=persons.device) for name, chosen in rows.items()}
    for name, chosen in rows.items():
        if len(chosen) < 2 * group.size:
            of = f" of other parts than {settings.without}" if settings.without and name == "train" else ""
            raise UserError(f"{settings.data_dir} holds {len(chosen)} {name} persons{of}; prepare more: "
                            f"{persons.prepare}")
    least = 2 if settings.input_size <= 32 or settings.backbone == "alexnet_bn" else 1  # where features are one place
    if smallest_share(len(rows["train"]), settings.batch_size, group.size) < least:
        raise UserError(f"--batch-size {settings.batch_size} gives a process too few of {len(rows['train'])} persons a "
                        "step for BatchNorm; take another")
    drawn = np.random.default_rng(settings.seed).permutation(np.flatnonzero(~persons.held_out & (times > 0)))
    rows["scored"] = torch.tensor(drawn[:settings.training_persons], device=persons.device)
    if 0 < len(rows["scored"]) < group.size:
        raise UserError(f"--training-persons {settings.training_persons} leaves a process without one; take more")
    return rows


def course_of(persons, rows, settings):
    """Raises UserError where the score that is to choose the epoch can't be computed on the validation persons."""
    measure = measure_of(settings.best_by, persons.skeleton)
    if measure == "pck_box":
        print(f"note: without a torso diameter --best-by {settings.best_by} is {measure}: PCK at 0.1 of the box")

    def score(row):
        return -row[measure] if settings.best_by == "loss" else row[measure]

    truth = persons.truth[persons.held_out]
    if math.isnan(score({"validation_loss": 0.0, **scores_of(truth, truth, persons.skeleton, persons.box_side)})):
        raise UserError(f"--best-by {settings.best_by}: no validation person has the joints that it is measured with; "
                        f"choose another, or prepare other persons: {persons.prepare}")

    parts = persons.parts_fingerprint(part_of(settings.without)[1]) if settings.without else ""
    box_extents = persons.box_extents

    def content(weights, course):
        return {"kind": settings.network, "network": course.network.arguments, "weights": weights,
                "input_size": settings.input_size, "dataset": persons.dataset["dataset"],
                "skeleton": persons.skeleton.plain(), "pixels": persons.pixels.plain(),
                "crop_size": persons.crop_size, "context": persons.context, "box_extents": box_extents,
                "global_contrast": settings.global_contrast, "split": persons.split, "test_set": persons.test_set,
                "seen": course.seen, "without": settings.without, "parts": parts, "best_epoch": course.best_epoch,
                "history": course.history,
                "settings": plain_settings(settings),
                "provenance": provenance(settings, sum(row["seconds"] for row in course.history), persons.device)}

    return Course(Path(settings.checkpoint_dir, "stage1.pt"), plain_settings(settings), PLACES,
                  {"data": persons.labels}, "the same command with --restart", score, content, FIXED, early=True,
                  added=("calibration",))


def step_log(course, state, settings, group):
    """Where the scores after steps go; the first process writes them."""
    path = Path(settings.run_dir, "stage1_steps.csv")
    if not group.first:
        return StepLog(course.steps)
    if not state:
        path.unlink(missing_ok=True)  # an earlier training's
    return StepLog(course.steps, path if settings.every or path.exists() else None,
                   Path(settings.run_dir, "tensorboard") if settings.tensorboard else None)


def batches(persons, chosen, generator, settings):
    """Augmented (images, joints in the window's frame) for each batch of row indices; each valid until the next."""
    reduction = reduction_for(persons.box_side, settings.input_size)
    mirror = torch.tensor(persons.skeleton.mirror, device=persons.device)
    channels = persons.pixels.channels
    buffer = image_buffer(max(map(len, chosen)), settings.input_size, persons.device, channels)
    for rows, (crops, places) in zip(chosen, persons.crop_batches(chosen), strict=True):
        truth_px = persons.joints_px[rows]
        squares = box_squares(len(rows), persons.crop_size, persons.context, persons.device)
        windows, flipped = random_windows(*squares, generator, settings.rotation, settings.scale, settings.shift,
                                          settings.flip)
        joints_px = mirror_joints(truth_px, flipped, mirror)
        colour = random_colour(len(rows), generator, settings.colour, channels)
        images = sample_windows(crops, places, windows, settings.input_size, reduction, colour, buffer, persons.pixels)
        yield images, to_window(joints_px, windows)


if __name__ == "__main__":
    run(main)
