"""Step 5: train a cascade stage, one AlexNet a joint that looks closer and gives the displacement to the true joint.
With --network pose_refiner: one network that sees the whole person again in a window round the pose so far, and is told
that pose; it begins as stage 1, or with other weights.

Reads   data/train_*.npy, data/train_output.npy, data/error_model.npz, data/deltas.npy
        (--stage 3: data/train_output_stage2.npy, and so on); pose_refiner: checkpoints/stage1.pt
Writes  checkpoints/stage2_<joint>.pt       a finished joint's weights, of its best epoch by the validation persons
                                            (epoch 0, which moves nothing, if no epoch is better);
                                            stage2_shared.pt where one serves all
        checkpoints/stage2_<joint>_last.pt  while it trains: what going on after an interruption needs
        runs/stage2_training.csv, runs/stage2_training.png
Next    python test_stage2.py; for a third stage python generate_train_output.py --stage 2

Joints that are finished are skipped and an interrupted one goes on, so the same command resumes a killed run.
On several GPUs each trains its share of the joints: torchrun --nproc-per-node 4 train_stage2.py; a single network for
all joints is trained by one.
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import math
from pathlib import Path

import torch

from cascade_net import SMALLEST_CROP, CascadeNet
from deeppose.augment import mirror_joints, random_colour, random_windows, uniform
from deeppose.cascade import CascadeData, PoseData, pose_scores, refined_scores, training_pairs
from deeppose.checkpoints import changed_settings, halved, plain_settings
from deeppose.claims import claimed
from deeppose.course import Course
from deeppose.crops import image_buffer, make_windows, reduction_for, sample_windows, to_window
from deeppose.devices import Cores, Stopwatch, choose_device, memory_format, mixed_precision, peak_memory
from deeppose.distributed import process_group, smallest_share
from deeppose.drawing import training_curves
from deeppose.persons import load_persons
from deeppose.reports import provenance
from deeppose.settings import next_command, parse_settings
from deeppose.training import (
    epoch_generators,
    index_batches,
    learning_rate_at,
    make_optimiser,
    moving_average,
    times_of,
    train_one_epoch,
    write_rows,
)
from deeppose.validation import progress
from networks.backbones import load_initial_weights
from networks.folding import folded
from networks.integral import IntegralNet
from networks.pose_refiner import BEYOND, PoseRefiner, begun_as
from networks.trained_stages import (
    CASCADE,
    ROUNDING,
    SHARED,
    cascade_path,
    load_cascade_checkpoint,
    load_stage1,
    load_stages,
)

DATA_DIR = "data"                # prepared arrays
CHECKPOINT_DIR = "checkpoints"   # weights
RUN_DIR = "runs"                 # log and curves
SEED = 0                         # 0 ... 4294967295: of weights, batches, windows and dropout
DEVICE = "auto"                  # auto, cpu, cuda, cuda:1, mps
THREADS = 0                      # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
IMAGES = "auto"                  # auto | resident | streamed: on the device whole or read ahead of each batch
STAGE = 2                        # 2 ... 99: which stage to train; 3 refines stage 2's output, and so on
JOINTS: tuple[str, ...] = ()     # alexnet: joints to train, by name; all if empty
RESTART = False                  # train joints anew; a finished network stays until its successor is finished

NETWORK = "alexnet"              # alexnet | pose_refiner: a look at each joint, or one at the person again
SHARED_NETWORK = False           # alexnet: one network for all joints in place of one each
CROP_SIZE = 227                  # 32 ... 1024: side of the input, pixels; alexnet from 67 on, pose_refiner by 32
WIDTH = 1.0                      # 0.001 ... 8: alexnet: factor on channels of convolutions and fully connected layers
DROPOUT = 0.6                    # 0 ... 0.99: alexnet: share dropped after fully connected layers while training
WEIGHTS = "stage1"               # pose_refiner: initial: stage1 (all of it), imagenet, none, or a file
BACKBONE = "efficientnet_lite0"  # pose_refiner: with other weights than stage 1's; any ResNet of torchvision by name
HEATMAP_WEIGHT = 1.0             # 0.0 ... 1000: pose_refiner: weight of the heatmaps' loss beside the coordinates'
LOSS = "mse"                     # mse | smooth_l1: what training minimises
SIGMA = 2.0                      # 0.05 ... 20: window side, in the incoming pose's diameters; pose_refiner: extents
UPRIGHT = False                  # pose_refiner: windows turned so that the pose's torso points up
AGREEMENT = 0.3                  # 0.0 ... 100: pose_refiner: joints that move fewer diameters go half the way

EPOCHS = 7                       # 1 ... 100000: passes over the training persons
OVERSAMPLE: tuple[str, ...] = ()  # data sets whose persons come several times a pass, e.g. lsp=4
CROPS_PER_IMAGE = 20             # 1 ... 100000: windows drawn of each person and epoch
BATCH_SIZE = 128                 # 1 ... 65536: windows a step
OPTIMISER = "adam"               # adagrad | adam | adamw | sgd; adagrad is the paper's
LEARNING_RATE = 5e-4             # 1e-12 ... 1e6: step size
INITIAL_ACCUMULATOR = 0.1        # 0 ... 1e6: adagrad: start of the squared-gradient sums; 0 = a first step at full rate
MOMENTUM = 0.9                   # 0 ... 0.9999: sgd: momentum
WEIGHT_DECAY = 0.0               # 0.0 ... 1: pull of the weights towards 0
SCHEDULE = "cosine"              # constant | cosine | step: the learning rate over the epochs
WARMUP_EPOCHS = 0.0              # 0.0 ... 100000: epochs of linear warm-up
STEP_EPOCHS: tuple[float, ...] = (5.0,)  # 0.0 ... 100000, rising: step: epochs after which the rate drops
STEP_FACTOR = 0.1                # 1e-6 ... 1: step: factor of each drop
AVERAGE_DECAY = 0.0              # 0 ... 0.999999: decay a step of the weights' moving average, which is kept; 0 = none
CLIP: float | None = None        # 1e-9 ... 1e9: largest gradient norm; none = unlimited
MIXED_PRECISION = True           # bfloat16 on GPUs and CPUs that compute in it; elsewhere float32
CHANNELS_LAST = False            # memory layout in training; CUDA: always; mps: never; a CPU: pays from 96 px on
COMPILE = False                  # torch.compile: minutes at first; faster steps on a GPU; a CPU needs a C++ compiler
HALF_WEIGHTS = True              # keep finished weights in half precision

ERRORS = "residuals"             # residuals | gaussian | fixed: drawn from held-out errors, their fit, or deltas.npy
MISSED = True                    # learn also from windows that miss the true joint, which can't be seen there
ROTATION = 15.0                  # 0.0 ... 180: largest random turn of a window either way, degrees
SCALE = (0.85, 1.18)             # 0.1 ... 10, rising: least and largest random factor on a window's side
TOLD_NOISE = 0.0                 # 0.0 ... 1: pose_refiner: deviation of noise on the pose it is told, window sides
UNTOLD = 0.0                     # 0.0 ... 1: pose_refiner: share of persons whose pose it is not told
SHIFT = 0.05                     # 0.0 ... 1: pose_refiner: largest random shift along x and y, window sides
FLIP = 0.5                       # 0.0 ... 1: probability of mirroring; the mirrored left joint trains the right's
COLOUR = 0.2                     # 0.0 ... 1: strength of random brightness, contrast and tint; 0 = none

# where and how a training runs, not what it learns
PLACES = ("preset", "data_dir", "checkpoint_dir", "run_dir", "device", "threads", "images",
          "joints", "restart", "compile", "half_weights")


def main(argv=None):
    settings = parse_settings(globals(), argv)
    kind = KINDS[settings.network]
    with process_group(choose_device(settings.device), patient=True) as group:
        with claimed(settings.run_dir, f"stage {settings.stage} training, process {group.rank}"):
            pass  # tried before the work, not after it
        cores = Cores(settings.threads)
        persons = load_persons(settings.data_dir, "train", group.device, settings.images)
        names = kind.names(settings, persons.skeleton)
        data = kind.read(persons, settings)
        stop_if_other_stages(data, settings)
        stop_if_other_networks(names, settings, data)
        mixed = mixed_precision(settings.mixed_precision, group.device)
        if group.size > 1:
            print(f"{group.size} processes; the first, whose epochs these are, trains {', '.join(group.own(names))}")
        if len(names) < group.size:
            print(f"note: a network is trained by one process; {group.size - len(names)} of {group.size} have none and "
                  "wait")
        own = group.own(names)
        for number, name in enumerate(own, 1):
            with claimed(settings.checkpoint_dir, f"stage {settings.stage} {name}"):
                train_network(name, kind(name, data, settings), settings, mixed, cores, own[number:])
        group.wait()
        if group.first:
            write_log(settings, persons.skeleton)
            print(next_command(globals(), settings, "test_stage2.py"))
            print(next_command(globals(), settings, f"generate_train_output.py --stage {settings.stage}",
                               ("data_dir", "checkpoint_dir"), "for one more stage"))


def train_network(name, learner, settings, mixed, cores, rest):
    """Train, or go on training, one joint's network (or the one of all).

    learner  of KINDS
    rest     names of those that come after it
    """
    data, device, skeleton = learner.data, learner.data.device, learner.data.persons.skeleton
    before, measure = learner.scores(None), progress(skeleton)
    course = course_of(name, learner, settings, before["area"])
    if not settings.restart and (finished := course.finished_before(CASCADE)):
        return print_skipped(name, finished, data, settings, course.final)
    if math.isnan(before["area"]):
        raise UserError(f"{name}: no validation person has {' and '.join(('it', *skeleton.diameter))} "
                        f"annotated, so no epoch can be chosen; prepare other persons: {data.persons.prepare}")
    rows = learner.rows()
    if not len(rows):
        raise UserError(f"{name} is annotated on no training person; prepare other persons: "
                        f"{data.persons.prepare}")
    if smallest_share(len(rows), settings.batch_size, 1) < learner.least:
        raise UserError(f"--batch-size {settings.batch_size} gives too few of {len(rows)} windows a step for "
                        "BatchNorm; take another")
    state = course.left(restart=settings.restart)

    seed = settings.seed + 1000 * (skeleton.index(name) if name != SHARED else 0)  # whatever was trained before
    torch.manual_seed(seed)
    network, course.seen = learner.new_network(state)
    network.to(device, memory_format=memory_format(device, settings.channels_last))
    model = torch.compile(network, dynamic=False) if settings.compile else network
    optimiser = make_optimiser(settings.optimiser, network.parameters(), settings.learning_rate, settings.weight_decay,
                               settings.momentum, settings.initial_accumulator)
    average = moving_average(network, settings.average_decay)
    course.begin(network, optimiser, average, state)

    def rate(epoch):
        return learning_rate_at(epoch, settings.epochs, settings.learning_rate, settings.schedule,
                                settings.warmup_epochs, settings.step_epochs, settings.step_factor)

    with course.told(name, rest=rest):
        for epoch in course.epochs(settings.epochs):
            watch = Stopwatch()
            order, generator = epoch_generators(device, epoch, seed)
            chosen = [batch for _ in range(settings.crops_per_image)
                      for batch in index_batches(rows, settings.batch_size, order)]
            outside = torch.zeros(2, device=device)
            loss, seen = train_one_epoch(model, network, learner.batches(chosen, outside, generator), len(chosen),
                                         optimiser, rate, epoch, average, settings.clip, mixed, cores)
            seconds = watch.seconds
            kept = average.module if average else network
            score = learner.scores(kept)
            course.record({"joint": name, "epoch": epoch + 1, "loss": loss, measure: score[measure],
                           f"{measure}_before": before[measure], f"{measure}_area": score.pop("area"),
                           "area_before": before["area"], **score,
                           "outside": 100 * (outside[0] / outside[1]).item(),
                           "learning_rate": rate(epoch + 0.5), "crops_per_second": round(seen / seconds, 1),
                           "memory_mib": peak_memory(device), "threads": torch.get_num_threads(),
                           "seconds": round(watch.seconds, 2)}, kept)
    if not course.best_epoch:
        print(f"{name}: no epoch was better on validation persons than stage {settings.stage - 1}: left as it is there")
    course.finish(keep=False)


def course_of(name, learner, settings, baseline):
    """baseline: the stage before's score; a network that is no better on validation persons is not kept."""
    data = learner.data

    def content(weights, course):
        return {"kind": settings.network, "joint": name, "stage": settings.stage, "network": course.network.arguments,
                "weights": halved(weights) if settings.half_weights else weights,
                "sigma": settings.sigma, "smallest_diameter": data.errors.smallest_diameter,
                "usual_side": data.usual_side / data.persons.box_side,
                "flip_test": data.errors.flip_test, "refines": data.errors.fingerprint, **learner.facts(course.network),
                "dataset": data.persons.dataset["dataset"], "split": data.persons.split,
                "skeleton": data.persons.skeleton.plain(), "pixels": data.persons.pixels.plain(),
                "test_set": data.persons.test_set, "seen": course.seen, "best_epoch": course.best_epoch,
                "history": course.history,
                "settings": plain_settings(settings),
                "provenance": provenance(settings, sum(row["seconds"] for row in course.history), data.device)}

    area = f"{progress(data.persons.skeleton)}_area"
    return Course(cascade_path(settings.checkpoint_dir, settings.stage, name), plain_settings(settings), PLACES,
                  {f"output of stage {settings.stage - 1}": data.errors.fingerprint, "data": data.persons.labels,
                   "output, with or without the flip test": str(data.errors.flip_test)},
                  f"the same command with --joints {name} --restart".replace(f"--joints {SHARED} ", ""),
                  lambda row: row[area if area in row else "pdj_area"], content, baseline=baseline)  # older ones' name


class JointLearner:
    """An AlexNet of one joint, or of all: what it sees, and how it is scored."""

    least = 1  # windows a step

    def __init__(self, name, data, settings):
        joints = data.persons.skeleton.joints
        self.data, self.settings = data, settings
        self.targets = torch.tensor(range(len(joints)) if name == SHARED else [joints.index(name)], device=data.device)

    @staticmethod
    def names(settings, skeleton):
        return chosen_joints(settings, skeleton)

    @staticmethod
    def read(persons, settings):
        return CascadeData(persons, settings.data_dir, settings.stage, settings.sigma, settings.errors)

    def rows(self):
        """(P, 2) person and joint, as often as a pass sees them."""
        pairs = training_pairs(self.data, self.targets, self.settings.flip > 0)
        return pairs.repeat_interleave(times_a_pass(self.data, self.settings)[pairs[:, 0]], 0)

    def new_network(self, state):
        """The network before training, and [split, test set] of each that its weights were trained on; `state` of a
        training that goes on will take the weights' place, see `Course.left`."""
        chosen = self.settings
        if chosen.crop_size < SMALLEST_CROP:
            raise UserError(f"--crop-size {chosen.crop_size}: AlexNet's smallest is {SMALLEST_CROP}")
        return CascadeNet(chosen.crop_size, chosen.width, chosen.dropout, len(self.targets), chosen.loss,
                          image_channels=self.data.persons.pixels.channels), []

    def batches(self, chosen, outside, generator):
        return batches(self.data, chosen, outside, generator, self.settings)

    def scores(self, network):
        return refined_scores(network, self.data, self.targets)

    def facts(self, network):
        return {}


class PoseLearner:
    """One network that sees the whole person again, likewise."""

    def __init__(self, name, data, settings):
        self.data, self.settings = data, settings

    @property
    def least(self):
        return 2 if self.settings.crop_size <= 32 else 1  # where features are one place

    @staticmethod
    def names(settings, skeleton):
        if settings.joints:
            raise UserError("--network pose_refiner trains all joints at once; leave out --joints")
        return (SHARED,)

    @staticmethod
    def read(persons, settings):
        if settings.errors != "residuals":
            raise UserError(f"--errors {settings.errors}: --network pose_refiner draws a whole pose's errors, of which "
                            "there are residuals alone")
        if settings.crop_size % PoseRefiner.input_step:
            raise UserError(f"--crop-size {settings.crop_size}: --network pose_refiner needs a multiple of "
                            f"{PoseRefiner.input_step}")
        if settings.upright and not persons.skeleton.diameter:
            raise UserError("--upright turns windows with the torso, which these persons' skeleton does not have; use "
                            "--no-upright")
        return PoseData(persons, settings.data_dir, settings.stage, settings.sigma, settings.upright,
                        settings.agreement)

    def rows(self):
        """(P,) persons, likewise."""
        used = self.data.annotated.any(1) & ~self.data.held_out
        return torch.arange(len(used), device=used.device).repeat_interleave(
            times_a_pass(self.data, self.settings) * used)

    def new_network(self, state):
        chosen, persons = self.settings, self.data.persons
        own = {"loss": chosen.loss, "heatmap_weight": chosen.heatmap_weight}
        if chosen.weights == "stage1":
            first = load_stage1(chosen.checkpoint_dir, persons, "cpu").network
            if not isinstance(first, IntegralNet):
                raise UserError(f"--weights stage1: stage 1 in {chosen.checkpoint_dir} is no integral network; name "
                                "other --weights")
            return begun_as(first, **own), []
        network = PoseRefiner(chosen.backbone, len(persons.skeleton.joints), image_channels=persons.pixels.channels,
                              **own)
        if state and "global_contrast" in state:  # which older ones lack
            network.global_contrast = state["global_contrast"] is True
            return network, []
        begun = load_initial_weights(network, chosen.weights)
        if begun:
            begun.warn_of_other_split(chosen.weights, persons.split)
        return network, begun.seen if begun else []

    def batches(self, chosen, outside, generator):
        return pose_batches(self.data, chosen, outside, generator, self.settings)

    def scores(self, network):
        return pose_scores(network and folded(network), self.data, self.settings.crop_size)

    def facts(self, network):
        return {"upright": self.settings.upright, "agreement": float(self.settings.agreement),
                "input_size": self.settings.crop_size, "global_contrast": network.global_contrast}


KINDS = {"alexnet": JointLearner, "pose_refiner": PoseLearner}


def times_a_pass(data, settings):
    """How often each person comes a pass, (N,) int64."""
    return torch.from_numpy(times_of(data.persons.sources, settings.oversample)).to(data.device)


def print_skipped(name, finished, data, settings, path):
    changed = changed_settings(finished["settings"], plain_settings(settings), ignore=PLACES)
    print(f"{name}: finished already, skipped ({path})")
    if changed:
        print(f"note: {name} was trained with other settings: {changed}; --restart trains it anew")
    if of_other_output(finished, data):
        print(f"warning: {name} was trained on other output of stage {settings.stage - 1} than that in "
              f"{settings.data_dir}; --restart trains it anew")


def of_other_output(checkpoint, data):
    """Whether a finished network was trained on other output of the stage before than what is here."""
    return (checkpoint["refines"], checkpoint["flip_test"]) != (data.errors.fingerprint, data.errors.flip_test) \
        or not math.isclose(checkpoint["smallest_diameter"], data.errors.smallest_diameter, rel_tol=ROUNDING)


def chosen_joints(settings, skeleton):
    if unknown := set(settings.joints) - set(skeleton.joints):
        raise UserError(f"no joint named {', '.join(sorted(unknown))}; there are: {', '.join(skeleton.joints)}")
    if settings.shared_network and settings.joints:
        raise UserError("--shared-network trains all joints at once; leave out --joints")
    return (SHARED,) if settings.shared_network else tuple(dict.fromkeys(settings.joints)) or skeleton.joints


def stop_if_other_stages(data, settings):
    """Raise UserError where the stages that made the output are not those that are there now."""
    if data.errors.split_differs:
        print("warning: the stages before were trained on another split of the persons: their errors were measured on "
              "some whom they may have been trained on, and are probably too small")
    if not Path(settings.checkpoint_dir, "stage1.pt").exists():
        print(f"note: {settings.checkpoint_dir} holds no stage1.pt to compare the output with")
        return
    before = load_stages(settings.checkpoint_dir, data.persons, "cpu", settings.stage - 1)[-1]
    if before.fingerprint != data.errors.fingerprint:
        raise UserError(f"stage {settings.stage - 1} in {settings.checkpoint_dir} is not the one that made the output "
                        f"in {settings.data_dir}; run again: {data.made_by}")


def stop_if_other_networks(names, settings, data):
    """Raise UserError where networks of another kind stand in the same stage, which would be refused after training, or
    such as would leave nothing to the one that is to be trained; warn of those that must be trained anew as well."""
    skeleton, unlike = data.persons.skeleton, []
    paths = {name: cascade_path(settings.checkpoint_dir, settings.stage, name) for name in (SHARED, *skeleton.joints)}
    others = [name for name, path in paths.items() if name not in names and path.exists()]
    for name, path in ((name, paths[name]) for name in others):
        other = load_cascade_checkpoint(path, settings.stage)
        if other["sigma"] != settings.sigma or of_other_output(other, data):
            unlike.append(name)
        if other["kind"] != settings.network:
            raise UserError(f"{path.resolve()} is of another kind of network than --network {settings.network}, and a "
                            f"stage has one kind; remove stage {settings.stage}'s networks, or name another folder "
                            "with --checkpoint-dir")
    if unlike:
        print(f"warning: {', '.join(unlike)} in {settings.checkpoint_dir}: trained with another --sigma or on other "
              "output, and a stage is used only where all its networks agree; train them anew as well, or keep these "
              "apart with --checkpoint-dir")
    if names != (SHARED,) or not others:
        return
    if len(others) == len(skeleton.joints):
        raise UserError(f"each joint has a network of its own in {settings.checkpoint_dir}, which goes before a shared "
                        f"one; remove stage {settings.stage}'s networks, or name another folder with --checkpoint-dir")
    print(f"note: {', '.join(others)}: networks of their own in {settings.checkpoint_dir}, which go before a shared "
          "one")


def batches(data, chosen, outside, generator, settings):
    """Windows round truth + simulated error, and the displacement back to the truth.

    chosen   batches of (B, 2) pairs of person and joint
    outside  (2,) tensor that counts the truths beyond their window's edge, and all
    Yields   images (B, C, S, S), displacements (B, outputs, 2) window sides, NaN for the other joints of a shared one
             and, with MISSED off, where the truth lies outside; each batch valid until the next
    """
    reduction = reduction_for(data.usual_side, settings.crop_size)
    joints = data.annotated.shape[1]
    pixels = data.persons.pixels
    buffer = image_buffer(max(map(len, chosen)), settings.crop_size, data.device, pixels.channels)
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
        outside += torch.stack([missed.sum(), displacement.isfinite().all(-1).sum()])
        if not settings.missed:
            displacement = displacement.masked_fill(missed, torch.nan)
        if settings.shared_network:
            own = torch.arange(joints, device=joint.device) == joint[:, None]  # (B, J)
            displacement = displacement.where(own[..., None], torch.nan)
        colour = random_colour(count, generator, settings.colour, pixels.channels)
        images = sample_windows(crops, places, windows, settings.crop_size, reduction, colour, buffer, pixels)
        yield images, displacement


def pose_batches(data, chosen, outside, generator, settings):
    """Windows round simulated poses, those poses and the true ones.

    chosen   batches (B,) of persons
    Yields   images (B, C, S, S), poses and true joints (B, J, 2) in the windows' frame, NaN as in `batches`; poses that
             are not told lie beyond the window; each batch valid until the next

    A pose that is right most of the time is quickly copied, and then little is learnt of the image; noise on what is
    told makes the network look for itself.
    """
    reduction, pixels = reduction_for(data.usual_side, settings.crop_size), data.persons.pixels
    buffer = image_buffer(max(map(len, chosen)), settings.crop_size, data.device, pixels.channels)
    for rows, (crops, places) in zip(chosen, data.persons.crop_batches(chosen), strict=True):
        poses_px = data.simulated(rows, generator)
        centres, sides, turns = data.squares(poses_px)
        windows, flipped = random_windows(centres, sides, generator, settings.rotation, settings.scale, settings.shift,
                                          settings.flip, turns)
        told, truth = (to_window(mirror_joints(joints_px, flipped, data.mirror), windows)
                       for joints_px in (poses_px, data.persons.joints_px[rows]))
        if settings.told_noise:
            told = told + settings.told_noise * torch.randn(told.shape, generator=generator, device=told.device)
        if settings.untold:
            told[uniform(len(rows), 0, 1, generator) < settings.untold] = BEYOND
        missed = (truth.abs() > 0.5).any(-1)
        outside += torch.stack([missed.sum(), truth.isfinite().all(-1).sum()])
        if not settings.missed:
            truth = truth.masked_fill(missed[..., None], torch.nan)
        colour = random_colour(len(rows), generator, settings.colour, pixels.channels)
        images = sample_windows(crops, places, windows, settings.crop_size, reduction, colour, buffer, pixels)
        yield images, told, truth


def write_log(settings, skeleton):
    """runs/stage{s}_training.csv and .png, put together from the finished joints' checkpoints."""
    paths = [cascade_path(settings.checkpoint_dir, settings.stage, name) for name in (SHARED, *skeleton.joints)]
    rows = [row for path in paths if path.exists() for row in load_cascade_checkpoint(path, settings.stage)["history"]]
    if not rows:  # released ones have no log
        return
    write_rows(Path(settings.run_dir, f"stage{settings.stage}_training.csv"), rows)
    training_curves(Path(settings.run_dir, f"stage{settings.stage}_training.png"), rows, skeleton)


if __name__ == "__main__":
    run(main)
