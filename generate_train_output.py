"""Step 4: predict the training persons with a trained stage, and model its errors for the next.

Reads   data/train_*.npy, data/dataset.json, checkpoints/stage1.pt (--stage 2 and later: stage2_*.pt, ... as well)
Writes  data/train_output.npy  predictions in crop pixels (--stage s: train_output_stage{s}.npy, and so on)
        data/error_model.npz   errors on the persons not trained on: residuals and Gaussian fit, in person diameters
        data/deltas.npy        40 draws of it for each joint
Next    python train_stage2.py
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

from pathlib import Path

import numpy as np
import torch

from deeppose import arrays
from deeppose.claims import claimed
from deeppose.devices import Cores, Stopwatch, choose_device
from deeppose.error_model import DRAWS, ErrorSampler, fit_error_model
from deeppose.inference import diameters
from deeppose.persons import load_persons
from deeppose.settings import next_command, parse_settings
from networks.trained_stages import flip_test_of, load_stages, run_with_confidence, warn_of_other_held_out

DATA_DIR = "data"               # prepared arrays; the output goes there too
CHECKPOINT_DIR = "checkpoints"  # weights
SEED = 0                        # 0 ... 4294967295: of the draws in deltas.npy
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
THREADS = 0                     # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
IMAGES = "auto"                 # auto | resident | streamed: on the device whole or read ahead of each batch
STAGE = 1                       # 1 ... 99: the stage whose output is wanted
BATCH_SIZE = 64                 # 1 ... 65536: persons a step of stage 1
FLIP_TEST = False               # stage 1: average with the mirrored window's prediction, here and in step 6
ERRORS = "residuals"            # residuals | gaussian: what deltas.npy is drawn from


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.data_dir, f"output of stage {settings.stage}"):
        generate(settings)


def generate(settings):
    device, cores = choose_device(settings.device), Cores(settings.threads)
    persons = load_persons(settings.data_dir, "train", device, settings.images)
    skeleton = persons.skeleton
    if not persons.held_out.any():
        raise UserError("there are no validation persons, on whom the errors are measured; run: "
                        f"{persons.prepare}")
    if len(skeleton.joints) == 1:
        raise UserError("a skeleton of one joint has no size for the windows of a cascade; leave it at stage 1")
    stages = load_stages(settings.checkpoint_dir, persons, device, settings.stage)
    flip_test = flip_test_of(stages, settings.flip_test)
    if settings.flip_test and not flip_test:
        raise UserError("stage 2 was trained without the flip test; it is set at --stage 1")

    split_differs = warn_of_other_held_out(stages, "their errors too small")
    stages = [stage.folded() for stage in stages]
    cores.look(0.5)
    watch = Stopwatch()
    rows = torch.arange(len(persons.crops), device=device)
    poses = run_with_confidence(stages, persons, rows, flip_test, settings.batch_size)[0][-1]
    predicted, truth = poses.cpu().numpy(), persons.truth
    seconds = watch.seconds
    print(f"{len(rows)} persons in {seconds:.1f} s, {len(rows) / seconds:.1f} a second on {device}")

    spans = diameters(poses, skeleton, 0).cpu().numpy()  # crop pixels
    smallest = 0.5 * float(np.median(spans[~persons.held_out]))
    spans = spans.clip(min=smallest)
    model = fit_error_model(predicted[persons.held_out], truth[persons.held_out], spans[persons.held_out],
                            skeleton.joints, smallest_diameter=smallest / persons.box_side, flip_test=flip_test,
                            fingerprint=stages[-1].fingerprint, labels=persons.labels, split_differs=split_differs,
                            poses=arrays.digest(predicted), deltas="")
    generator = torch.Generator().manual_seed(settings.seed)
    joints = torch.arange(len(skeleton.joints)).repeat_interleave(DRAWS)
    deltas = ErrorSampler(model, settings.errors, "cpu").draw(joints, generator).unflatten(0, (-1, DRAWS)).numpy()
    model.deltas = arrays.digest(deltas)

    folder, suffix = Path(settings.data_dir), arrays.stage_suffix(settings.stage)
    arrays.save(folder / f"train_output{suffix}.npy", predicted, "train_output")
    model.save(folder / f"error_model{suffix}.npz")
    arrays.save(folder / f"deltas{suffix}.npy", deltas, "deltas")
    trained_on = ~persons.held_out
    print_errors(skeleton, model.residuals, (predicted - truth)[trained_on] / spans[trained_on, None, None])
    print(f"written: {folder}/train_output{suffix}.npy, error_model{suffix}.npz, deltas{suffix}.npy")
    more = f" --stage {settings.stage + 1}" if settings.stage > 1 else ""
    print(next_command(globals(), settings, f"train_stage2.py{more}"))


def print_errors(skeleton, held_out, trained_on):
    """Mean and standard deviation of each joint's errors, held-out persons beside those trained on."""
    print("errors, prediction - truth, in diameters of the predicted pose: mean ± standard deviation")
    print(f"{'':12}{'not trained on: x':>21}{'y':>18}   {'trained on: x':>20}{'y':>18}")
    for joint, name in enumerate(skeleton.joints):
        cells = [f"{np.nanmean(e[:, joint, axis]):+8.3f} ± {np.nanstd(e[:, joint, axis]):.3f}"
                 for e in (held_out, trained_on) for axis in (0, 1)]
        print(f"{name:12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, (21, 18, 23, 18))))


if __name__ == "__main__":
    run(main)
