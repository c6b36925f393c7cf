"""All six steps, one after another, on figures that the project draws: about four minutes on two cores.

Everything goes under demo/: raw figures, data, checkpoints and runs. Each command is printed as it would be typed.
"""
from deeppose.errors import run  # first, so that Ctrl-C while the others load is answered in a line

from pathlib import Path

import demo_data
import generate_train_output
import lsp_data
import test_stage1
import test_stage2
import train_stage1
import train_stage2
from deeppose.settings import parse_settings
from deeppose.steps import run_steps

DEMO_DIR = "demo"         # where everything goes
SEED = 0                  # 0 ... 4294967295: of the figures, the networks and their training
DEVICE = "cpu"            # auto, cpu, cuda, cuda:1, mps
TRAIN_FIGURES = 1150      # 20 ... 1000000: figures to train on, validation included
TEST_FIGURES = 200        # 2 ... 1000000: figures to test on
VALIDATION_SHARE = 0.13   # 0 ... 0.9: of the figures to train on
STAGE1_EPOCHS = 20        # 1 ... 100000: passes of stage 1
STAGE2_EPOCHS = 3         # 1 ... 100000: passes of each cascade network


def steps(settings):
    """(module, flags) of each step."""
    return [
        (demo_data, ["--figures", settings.train_figures + settings.test_figures]),
        (lsp_data, ["--no-use-lspe", "--crop-size", 96, "--lsp-train-images", settings.train_figures,
                    "--validation-share", settings.validation_share]),
        (train_stage1, ["--restart",
                        "--backbone", "resnet18", "--weights", "none", "--input-size", 64, "--batch-size", 16,
                        "--optimiser", "adam", "--learning-rate", 1e-3, "--schedule", "cosine", "--warmup-epochs", 1,
                        "--loss", "smooth_l1", "--dropout", 0, "--rotation", 15, "--scale", 0.85, 1.18,
                        "--shift", 0.06, "--epochs", settings.stage1_epochs]),
        (test_stage1, []),
        (generate_train_output, []),
        (train_stage2, ["--restart",
                        "--crop-size", 67, "--width", 0.25, "--dropout", 0, "--loss", "smooth_l1", "--batch-size", 32,
                        "--optimiser", "adam", "--learning-rate", 1e-3, "--schedule", "cosine", "--sigma", 1,
                        "--crops-per-image", 4, "--epochs", settings.stage2_epochs]),
        (test_stage2, []),
    ]


def main(argv=None):
    settings = parse_settings(globals(), argv)
    seconds = run_steps(steps(settings), Path(settings.demo_dir), settings.seed, settings.device)
    print("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
          + f"; together {sum(seconds.values()):.0f}")
    print("pictures:\n  " + "\n  ".join(str(path) for path in sorted(Path(settings.demo_dir, "runs").glob("*.png"))))


if __name__ == "__main__":
    run(main)
