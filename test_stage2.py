"""Step 6: score every trained stage on the test persons, side by side.

Reads   data/test_*.npy, data/dataset.json, checkpoints/stage1.pt, checkpoints/stage2_*.pt (stage3_*.pt, ...)
Writes  for the last stage trained, s:
        runs/stage{s}.json             scores in percent of every stage, gains with intervals, settings, hardware
        runs/stage{s}_predictions.npy  crop pixels
        runs/stage{s}_pdj.png          PDJ curves
        runs/stage{s}.png              best, median and worst persons
        runs/stage{s}_reliability.png  whether its confidence is calibrated, after calibrate.py
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import torch

from deeppose.claims import claimed
from deeppose.devices import Cores, Stopwatch, choose_device
from deeppose.persons import load_persons
from deeppose.settings import parse_settings
from deeppose.testing import mean_pose, write_test_run
from networks.trained_stages import calibration_of, load_stages, run_with_confidence

DATA_DIR = "data"               # prepared arrays
CHECKPOINT_DIR = "checkpoints"  # weights
RUN_DIR = "runs"                # scores and pictures
SEED = 0                        # 0 ... 4294967295: recorded only: nothing here is random
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
THREADS = 0                     # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
IMAGES = "auto"                 # auto | resident | streamed: on the device whole or read ahead of each batch
BATCH_SIZE = 64                 # 1 ... 65536: persons a step of stage 1


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.run_dir, "scores"):
        test(settings)


def test(settings):
    device, cores = choose_device(settings.device), Cores(settings.threads)
    persons = load_persons(settings.data_dir, "test", device, settings.images)
    stages = load_stages(settings.checkpoint_dir, persons, device)
    if len(stages) < 2:
        raise UserError(f"no trained stage 2 in {settings.checkpoint_dir}; run: python train_stage2.py")

    cores.look(0.5)
    watch = Stopwatch()
    rows = torch.arange(len(persons.crops), device=device)
    poses, confidences = run_with_confidence(stages, persons, rows, batch_size=settings.batch_size)
    poses = [pose.cpu().numpy() for pose in poses]
    seconds = watch.seconds

    predicted = {"mean pose": mean_pose(settings.data_dir, len(rows))}
    names = [f"stage {number}" for number in range(1, len(stages) + 1)]
    confidences = {name: confidence.cpu().numpy() for name, confidence in zip(names, confidences)
                   if confidence is not None}
    calibrated = [name for count, name in enumerate(names, 1) if calibration_of(stages[:count], stages[1].flip_test)]
    write_test_run(settings.run_dir, len(stages), predicted | dict(zip(names, poses)), persons, settings, seconds,
                   confidences, calibrated, other_split=any(stage.other_split for stage in stages),
                   flip_test=stages[1].flip_test,
                   fingerprints={name: stage.fingerprint for name, stage in zip(names, stages)})
    print(f"{len(rows) / seconds:.1f} persons a second through {len(stages)} stages on {device}")


if __name__ == "__main__":
    run(main)
