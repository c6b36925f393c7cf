"""All six steps on the real LSP and LSPe, resumed where they stopped, and what is published of them.

lsp_cpu.py and lsp_full.py hold the settings. Importing this puts the project's folder on Python's path.
"""
import csv
import sys
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import generate_train_output  # noqa: E402
import lsp_data  # noqa: E402
import test_stage1  # noqa: E402
import test_stage2  # noqa: E402
import train_stage1  # noqa: E402
import train_stage2  # noqa: E402
from deeppose import arrays  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.steps import run_steps  # noqa: E402
from deeppose.training import load_checkpoint, save_checkpoint  # noqa: E402


def measure(name, settings, prepare, stage1, stage2):
    """Run what has not run yet and write settings.result_dir/<name>.json.

    settings                 raw_dir, work_dir, result_dir, seed, device
    prepare, stage1, stage2  flags of lsp_data.py, train_stage1.py and train_stage2.py
    """
    steps = [(lsp_data, ["--raw-dir", str(settings.raw_dir), *prepare]), (train_stage1, stage1), (test_stage1, []),
             (generate_train_output, []), (train_stage2, stage2), (test_stage2, [])]
    work = Path(settings.work_dir)
    record = work / "steps.json"
    seconds = arrays.load_json(record, "") if record.exists() else {}
    for module, flags in steps:
        if f"{module.__name__}.py" in seconds:
            continue
        if module is train_stage1 and (work / "checkpoints/stage1_last.pt").exists():
            flags = [*flags, "--resume"]
        seconds |= run_steps([(module, flags)], work, settings.seed, settings.device)
        arrays.save_json(record, seconds)

    first = load_checkpoint(work / "checkpoints/stage1.pt", "python train_stage1.py")
    cascade = [load_checkpoint(path, "python train_stage2.py")
               for path in sorted((work / "checkpoints").glob("stage2_*.pt"))]
    # of all runs of a step that was resumed
    seconds["train_stage1.py"] = sum(row["seconds"] for row in log(work, 1))
    seconds["train_stage2.py"] = sum(row["seconds"] for row in log(work, 2))
    scores = arrays.load_json(work / "runs/stage2.json", "python test_stage2.py")
    content = {"what": "all six steps on LSP + LSPe; scores on LSP's 1,000 test images, percent",
               "commands": [f"python {module.__name__}.py {' '.join(map(str, flags))}".strip().replace(
                   str(settings.raw_dir), "data/raw") for module, flags in steps],
               "seconds_of_steps": seconds, "stage 1": scores.pop("stage 1"), "mean pose": scores.pop("mean pose"),
               "stage 2": scores, "validation": {
                   "stage 1": first["history"][-1],
                   "stage 2": [max(net["history"], key=lambda row: row["pdj_area"]) for net in cascade]},
               "trained_at_commit": {"stage 1": first["provenance"]["commit"],
                                     "stage 2": sorted({net["provenance"]["commit"] for net in cascade})},
               "throughput": {"train_stage1.py, images/s": median(row["images_per_second"] for row in log(work, 1)),
                              "train_stage2.py, crops/s": median(row["crops_per_second"] for row in log(work, 2))},
               "peak_memory_mib": {"train_stage1.py": max(row["memory_mib"] for row in log(work, 1)),
                                   "train_stage2.py": max(row["memory_mib"] for row in log(work, 2))},
               **provenance(settings, sum(seconds.values()))}
    path = Path(settings.result_dir, f"{name}.json")
    arrays.save_json(path, content)
    print(f"written: {path}")
    return content


def log(work, stage):
    """The rows of a training log, as numbers where they are."""
    with open(work / f"runs/stage{stage}_training.csv", newline="", encoding="utf-8") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def release(path, work, scores):
    """Write stage 1 in half precision with its scores: a dictionary as test_stage1.py writes."""
    checkpoint = load_checkpoint(Path(work, "checkpoints/stage1.pt"), "python train_stage1.py")
    checkpoint["weights"] = {name: value.half() if value.is_floating_point() else value
                             for name, value in checkpoint["weights"].items()}
    checkpoint["scores"] = {"pck@0.2": scores["pck@0.2"]["mean"],
                            "pcp_strict@0.5_mean10": scores["pcp_strict@0.5"]["mean10"],
                            "pcp_strict@0.5_mean8": scores["pcp_strict@0.5"]["mean8"]}
    save_checkpoint(path, checkpoint | {"history": []})
    torch.load(path, weights_only=True)
    print(f"written: {path}")
