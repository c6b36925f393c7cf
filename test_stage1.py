"""Step 3: score stage 1 on the test persons, beside a constant mean pose.

Reads   data/test_*.npy, data/dataset.json, checkpoints/stage1.pt
Writes  runs/stage1.json             scores in percent, settings, hardware
        runs/stage1_predictions.npy  crop pixels
        runs/stage1_pdj.png          PDJ curves
        runs/stage1.png              best, median and worst persons
        runs/stage1_reliability.png  whether its confidence is calibrated, after calibrate.py
Next    python generate_train_output.py
"""
from deeppose.errors import run  # first, so that Ctrl-C while the others load is answered in a line

import torch

from deeppose.claims import claimed
from deeppose.crops import box_windows, to_window
from deeppose.devices import Cores, Stopwatch, choose_device
from deeppose.losses import masked_loss
from deeppose.persons import load_persons
from deeppose.settings import leaves_open, next_command, parse_settings, read_preset
from deeppose.testing import mean_pose, print_box_extensions, score_box_extensions, write_test_run
from networks.trained_stages import calibration_of, load_stage1, run_with_confidence

DATA_DIR = "data"               # prepared arrays
CHECKPOINT_DIR = "checkpoints"  # weights
RUN_DIR = "runs"                # scores and pictures
SEED = 0                        # 0 ... 4294967295: recorded only: nothing here is random
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
THREADS = 0                     # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
IMAGES = "auto"                 # auto | resident | streamed: on the device whole or read ahead of each batch
BATCH_SIZE = 64                 # 1 ... 65536: persons a step
FLIP_TEST = False               # average with the mirrored window's prediction
BOX_EXTENSIONS: tuple[float, ...] = ()  # 0.1 ... 10: score also boxes round the true joints, so many times as large


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.run_dir, "scores"):
        test(settings)


def test(settings):
    device, cores = choose_device(settings.device), Cores(settings.threads)
    persons = load_persons(settings.data_dir, "test", device, settings.images)
    stage1 = load_stage1(settings.checkpoint_dir, persons, device)

    cores.look(0.5)
    watch = Stopwatch()
    rows = torch.arange(len(persons.crops), device=device)
    (poses,), (confidence,) = run_with_confidence([stage1], persons, rows, settings.flip_test, settings.batch_size)
    pose = poses.cpu().numpy()  # waits for a GPU
    seconds = watch.seconds
    windows = box_windows(len(rows), persons.crop_size, persons.context, device)
    predicted, truth = to_window(poses, windows), to_window(persons.joints_px, windows)
    loss = masked_loss(predicted, truth, stage1.network.loss_name).item()

    def predict(windows):
        return stage1.predict(persons, rows, settings.flip_test, settings.batch_size, windows)

    more = {"loss": loss, "other_split": stage1.other_split, "fingerprints": {"stage 1": stage1.fingerprint}}
    if settings.box_extensions:
        more["box_extensions"] = score_box_extensions(predict, persons, settings.box_extensions)
    predicted = {"mean pose": mean_pose(settings.data_dir, len(rows)), "stage 1": pose}
    confidences = {} if confidence is None else {"stage 1": confidence.cpu().numpy()}
    calibrated = ["stage 1"] if calibration_of([stage1], settings.flip_test) else []
    write_test_run(settings.run_dir, 1, predicted, persons, settings, seconds, confidences, calibrated, **more)
    if settings.box_extensions:
        print_box_extensions(more["box_extensions"], "stage 1")
    print(f"loss {loss:.5f}; {len(rows) / seconds:.1f} persons a second on {device}")
    flip = " --flip-test" * (settings.flip_test
                             and leaves_open(settings.preset, "generate_train_output", "flip_test"))
    alone = settings.preset and read_preset(settings.preset).get("stages", 2) == 1
    print(next_command(globals(), settings, "report.py", ("data_dir", "checkpoint_dir", "run_dir")) if alone else
          next_command(globals(), settings, f"generate_train_output.py{flip}", ("data_dir", "checkpoint_dir")))


if __name__ == "__main__":
    run(main)
