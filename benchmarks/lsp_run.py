"""All six steps on the real LSP and LSPe, resumed where they stopped, and what is published of them.

lsp_recipe.py, lsp_cpu.py and lsp_full.py hold the settings. Importing this puts the project's folder on Python's path.
"""
import csv
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import generate_train_output  # noqa: E402
import lsp_data  # noqa: E402
import test_stage1  # noqa: E402
import test_stage2  # noqa: E402
import train_stage1  # noqa: E402
import train_stage2  # noqa: E402
from deeppose import arrays  # noqa: E402
from deeppose.checkpoints import load_checkpoint  # noqa: E402
from deeppose.devices import choose_device  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.steps import command_of, run_steps  # noqa: E402


def measure(name, settings, prepare, stage1, stage2, stages=2, flip_test=False):
    """Run what has not run yet and write settings.result_dir/<name>.json.

    settings                 raw_dir, work_dir, result_dir, seed, device
    prepare, stage1, stage2  flags of lsp_data.py, train_stage1.py and train_stage2.py
    stages                   how many are trained; with the same work_dir more can follow later
    flip_test                average stage 1 with its prediction on the mirrored window, in steps 3, 4 and 6
    Raises UserError where a step has run there with other flags
    """
    flip = ["--flip-test"] if flip_test else []
    steps = [(lsp_data, prepare), (train_stage1, stage1), (test_stage1, flip)]
    for stage in range(2, stages + 1):
        steps += [(generate_train_output, flip if stage == 2 else ["--stage", stage - 1]),
                  (train_stage2, [*stage2, *(["--stage", stage] if stage > 2 else [])])]
    steps += [(test_stage2, [])] * (stages > 1)
    work = Path(settings.work_dir)
    seconds = run_steps(steps, work, settings.seed, settings.device, settings.raw_dir, record=True)

    checkpoints = {"stage 1": [load_checkpoint(work / "checkpoints/stage1.pt", "python train_stage1.py")]}
    for stage in range(2, stages + 1):
        checkpoints[f"stage {stage}"] = [load_checkpoint(path, "python train_stage2.py")
                                         for path in sorted((work / "checkpoints").glob(f"stage{stage}_*.pt"))]
    logs = {"train_stage1.py": log(work, 1)}
    logs |= {f"train_stage2.py{f' --stage {stage}' if stage > 2 else ''}": log(work, stage)
             for stage in range(2, stages + 1)}
    # of all runs of a step that was resumed
    seconds |= {step: sum(row["seconds"] for row in rows) for step, rows in logs.items()}
    last = arrays.load_json(work / f"runs/stage{stages}.json", "python test_stage2.py")
    scores = {place: last.pop(place) for place in ("mean pose", *(f"stage {stage}" for stage in range(1, stages)))}
    content = {"what": "LSP + LSPe, the steps named in commands; scores on LSP's 1,000 test images, percent",
               "commands": [command_of(*step) for step in steps], "seconds_of_steps": seconds,
               **scores, f"stage {stages}": last,
               "validation": {"stage 1": best_row(checkpoints["stage 1"][0])} | {
                   place: [max(net["history"], key=lambda row: row["pdj_area"]) for net in nets]
                   for place, nets in checkpoints.items() if place != "stage 1"},
               "trained_at_commit": {place: sorted({net["provenance"]["commit"] for net in nets})
                                     for place, nets in checkpoints.items()},
               "throughput": {f"{step}, {'images' if step == 'train_stage1.py' else 'crops'}/s": median(
                   row["images_per_second" if step == "train_stage1.py" else "crops_per_second"] for row in rows)
                   for step, rows in logs.items()},
               "peak_memory_of_process_mib": {step: max(row["memory_mib"] for row in rows)
                                              for step, rows in logs.items()},
               **provenance(settings, sum(seconds.values()), choose_device(settings.device))}
    path = Path(settings.result_dir, f"{name}.json")
    arrays.save_json(path, content)
    print(f"written: {path}")
    return content


def best_row(checkpoint):
    """The best epoch's row of stage 1's log; older checkpoints end with it."""
    history = checkpoint["history"]
    return history[checkpoint.get("best_epoch", len(history)) - 1]


def log(work, stage):
    """The rows of a training log, as numbers where they are."""
    with open(work / f"runs/stage{stage}_training.csv", newline="", encoding="utf-8") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text
