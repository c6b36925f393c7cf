"""All steps, one after another, on figures that the project draws: about four minutes on two cores.

    python demo.py --dataset mpii      figures in that data set's layout, and a network of the line that learns from it

Everything goes under demo/, or demo/mpii/ and so on: raw figures, data, checkpoints and runs. Each command is printed
as it would be typed, and what is finished there is not run again.
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import importlib
from pathlib import Path

import demo_data
from deeppose.settings import parse_settings, read_preset
from deeppose.steps import run_steps
from run import steps_of

DEMO_DIR = "demo"         # where everything goes; of another data set than lsp a folder in it
DATASET = "lsp"           # lsp | mpii | lip | k2hpd | coco: what is drawn; the preset is demo, or demo_mpii and so on
SEED = 0                  # 0 ... 4294967295: of the figures, the networks and their training
DEVICE = "cpu"            # auto, cpu, cuda, cuda:1, mps
TRAIN_FIGURES = 1150      # 20 ... 1000000: images to train on, validation included
TEST_FIGURES = 200        # 2 ... 1000000: images to test on
VALIDATION_SHARE = 0.13   # 0.01 ... 0.9: of what there is to train on
STAGE1_EPOCHS: int | None = None  # 1 ... 100000: passes of stage 1; none = the preset's
STAGE2_EPOCHS: int | None = None  # 1 ... 100000: passes of each cascade network; none = the preset's


def steps(settings):
    """(module, flags) of each step."""
    name, train, test = settings.dataset, settings.train_figures, settings.test_figures
    preset = "demo" if name == "lsp" else f"demo_{name}"
    prepare, content = importlib.import_module(f"{name}_data"), read_preset(preset)
    draw = ["--figures", train + test]
    if name != "lsp":
        draw = ["--dataset", name, *draw, "--test-figures", test]
    divide = {"lsp": ["--lsp-train-images", train],
              "mpii": ["--test-share", round(test / (train + test), 4)]}  # the others' figures are divided as drawn
    more = {prepare: [*divide.get(name, []), "--validation-share", settings.validation_share]}
    made = [(demo_data, draw)]
    for module, flags in steps_of(preset, prepare, content["stages"]):
        stage = {"train_stage1": settings.stage1_epochs, "train_stage2": settings.stage2_epochs}
        if module.__name__ in stage:
            more[module] = ["--epochs", stage[module.__name__] or content[module.__name__]["epochs"]]
        made.append((module, [*flags, *more.get(module, [])]))
    return made


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if settings.preset:
        raise UserError("demo.py runs its own preset; others: python run.py --preset NAME")
    folder = Path(settings.demo_dir, "" if settings.dataset == "lsp" else settings.dataset)
    seconds = run_steps(steps(settings), folder, settings.seed, settings.device, record=True)
    print("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
          + f"; together {sum(seconds.values()):.0f}")
    print("pictures:\n  " + "\n  ".join(str(path) for path in sorted((folder / "runs").glob("*.png"))))


if __name__ == "__main__":
    run(main)
