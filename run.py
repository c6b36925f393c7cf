"""All steps of one line of systems, one after another, gone on with where they were interrupted.

    python run.py --preset small

Reads   presets/NAME.toml, the raw data in RAW_DIR
Writes  FOLDER/NAME/  data, checkpoints, runs, and steps.json, which says what is finished there
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import importlib
from pathlib import Path

import calibrate
import generate_train_output
import test_stage1
import test_stage2
import train_stage1
import train_stage2
from deeppose.settings import leaves_open, parse_settings, preset_names, quoted, read_preset
from deeppose.steps import run_steps

RAW_DIR = "data/raw"  # folder of the raw data
FOLDER = "runs"       # the folder NAME in it holds data, checkpoints and runs
SEED = 0              # 0 ... 4294967295: of every step
DEVICE = "auto"       # auto, cpu, cuda, cuda:1, mps
STAGES = 0            # 0 ... 99: how many to train, stage 1 among them; 0 = as many as the preset says


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if not settings.preset:
        names = [name for name in preset_names() if not name.startswith("demo")]  # whose figures demo.py draws
        raise UserError(f"run.py runs a preset: python run.py --preset NAME, one of {', '.join(names)}, or a .toml "
                        "file")
    if settings.preset.startswith("demo") and settings.preset in preset_names():
        own = settings.preset.removeprefix("demo").removeprefix("_")
        raise UserError(f"the figures of {settings.preset!r} are drawn by demo.py; run: python demo.py"
                        + f" --dataset {own}" * bool(own))
    preset, folder = read_preset(settings.preset), Path(settings.folder, Path(settings.preset).stem)
    prepare = importlib.import_module(preset.get("data", "lsp_data"))
    steps = steps_of(settings.preset, prepare, settings.stages or preset.get("stages", 2))
    for module, flags in steps:  # whatever is wrong with a later one is told before the first
        parse_settings(vars(module), list(map(str, flags)))
    seconds = run_steps(steps, folder, settings.seed, settings.device, settings.raw_dir, record=True)
    print("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()))
    print(f"scores, pictures and predictions: {folder / 'runs'}")
    places = {name: quoted(str(folder / place)) for name, place in
              (("data", "data"), ("checkpoint", "checkpoints"), ("run", "runs"))}
    print(f"on a page: python report.py {' '.join(f'--{name}-dir {place}' for name, place in places.items())}")
    print(f"on other pictures: python predict.py PICTURES --checkpoint-dir {places['checkpoint']}")


def steps_of(preset, prepare, stages):
    """(module, flags) of every step.

    preset   name or file
    prepare  the module of step 1
    stages   how many are trained
    """
    given = ["--preset", preset]
    # stage 2 learns from the stage 1 that is tested: who asks for its flip test there means it here as well
    flip = leaves_open(preset, "generate_train_output", "flip_test") \
        and parse_settings(vars(test_stage1), given).flip_test
    # before each test, which tells whether the confidence is calibrated, and of every stage that it tests
    steps = [(prepare, given), (train_stage1, given), (calibrate, given), (test_stage1, given)]
    for stage in range(2, stages + 1):
        more = ["--stage", stage - 1] if stage > 2 else ["--flip-test"] if flip else []
        steps += [(generate_train_output, [*given, *more]),
                  (train_stage2, [*given, *(["--stage", stage] if stage > 2 else [])])]
    return steps + [(calibrate, given), (test_stage2, given)] * (stages > 1)


if __name__ == "__main__":
    run(main)
