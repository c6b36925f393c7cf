"""All six steps, one after another, on figures that the project draws: four to five minutes on two cores.

Everything goes under demo/: raw figures, data, checkpoints and runs. Each command is printed as it would be typed, and
what is finished there is not run again.
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

from pathlib import Path

import demo_data
import lsp_data
from deeppose.settings import parse_settings
from deeppose.steps import run_steps
from run import steps_of

DEMO_DIR = "demo"         # where everything goes
SEED = 0                  # 0 ... 4294967295: of the figures, the networks and their training
DEVICE = "cpu"            # auto, cpu, cuda, cuda:1, mps
TRAIN_FIGURES = 1150      # 20 ... 1000000: figures to train on, validation included
TEST_FIGURES = 200        # 2 ... 1000000: figures to test on
VALIDATION_SHARE = 0.13   # 0.01 ... 0.9: of the figures to train on
STAGE1_EPOCHS = 20        # 1 ... 100000: passes of stage 1
STAGE2_EPOCHS = 3         # 1 ... 100000: passes of each cascade network


def steps(settings):
    """(module, flags) of each step."""
    more = {"lsp_data": ["--lsp-train-images", settings.train_figures, "--validation-share", settings.validation_share],
            "train_stage1": ["--epochs", settings.stage1_epochs], "train_stage2": ["--epochs", settings.stage2_epochs]}
    return [(demo_data, ["--figures", settings.train_figures + settings.test_figures]),
            *((module, [*flags, *more.get(module.__name__, [])]) for module, flags in steps_of("demo", lsp_data, 2))]


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if settings.preset:
        raise UserError("demo.py runs its own preset; others: python run.py --preset NAME")
    seconds = run_steps(steps(settings), settings.demo_dir, settings.seed, settings.device, record=True)
    print("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
          + f"; together {sum(seconds.values()):.0f}")
    print("pictures:\n  " + "\n  ".join(str(path) for path in sorted(Path(settings.demo_dir, "runs").glob("*.png"))))


if __name__ == "__main__":
    run(main)
