"""What cleaned labels are worth to a network that learns from them, on LSP + LSPe's validation persons.

Two networks that each leave out one half of the training persons clean the other half's labels (clean_labels.py). The
same short training then begins from ImageNet weights on the labels as published and on the cleaned ones. Validation
persons keep their labels as published, LSPe's mistakes among them, so LSP's, which are right, say more. Gains by paired
bootstrap over persons; the test set is not looked at.

Reads   DATA_DIR, which lsp_data.py made of LSP and LSPe
Writes  RESULT_DIR/lsp_cleaned_labels.json
        WORK_DIR/  the trainings, which go on where they were interrupted; what was changed, as lists and pictures
"""
import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import clean_labels  # noqa: E402
import train_stage1  # noqa: E402
from deeppose import arrays  # noqa: E402
from deeppose.checkpoints import load_checkpoint  # noqa: E402
from deeppose.claims import claimed  # noqa: E402
from deeppose.comparison import differences  # noqa: E402
from deeppose.devices import choose_device  # noqa: E402
from deeppose.errors import run  # noqa: E402
from deeppose.persons import load_persons  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402
from deeppose.testing import thresholds_of  # noqa: E402
from networks.trained_stages import load_stage1  # noqa: E402

DATA_DIR = "data"                     # prepared arrays of LSP and LSPe
WORK_DIR = "runs/lsp_cleaned_labels"  # trainings and cleaned labels
RESULT_DIR = "results"                # where lsp_cleaned_labels.json goes
SEED = 0                              # 0 ... 4294967295: of the trainings and of the bootstrap
DEVICE = "auto"                       # auto, cpu, cuda, cuda:1, mps
THREADS = 0                           # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
HALF_SIZE = 160                       # 32 ... 1024: input's side of the networks that clean, pixels
HALF_EPOCHS = 16                      # 1 ... 100000: their passes over their persons
SIZE = 128                            # 32 ... 1024: input's side of the networks that are compared, pixels
EPOCHS = 6                            # 1 ... 100000: their passes over all training persons

STAGE1 = ["--preset", "lite"]
HALVES = ("1/2", "2/2")
# how labels were cleaned -> flags of clean_labels.py
CLEANED = {"cleaned": ["--keep", "lsp"]}
SCORES = {"pdj": ("0.05", "0.10", "0.20", "0.50"), "pck@0.2": ("mean",), "pcp_strict@0.5": ("mean10", "mean8")}


def main(argv=None):
    settings = parse_settings(globals(), argv)
    work = Path(settings.work_dir)
    with claimed(settings.result_dir, "results"), claimed(work, "cleaned labels"):
        measure(settings, work)


def measure(settings, work):
    common = ["--seed", settings.seed, "--device", settings.device, "--threads", settings.threads]
    folders, commands = [work / f"half{half[0]}" for half in HALVES], []

    def step(script, flags):
        flags = list(map(str, flags))
        commands.append(f"python {script.__name__}.py {' '.join(flags)}")
        print(f"\n$ {commands[-1]}", flush=True)
        script.main(flags)

    def train(data, folder, *flags):
        step(train_stage1, [*STAGE1, "--data-dir", data, "--checkpoint-dir", folder, "--run-dir", folder,
                            *flags, *common])

    for half, folder in zip(HALVES, folders):
        train(settings.data_dir, folder, "--without", half, "--input-size", settings.half_size, "--epochs",
              settings.half_epochs)
    labels = {"published": settings.data_dir}
    for name, flags in CLEANED.items():
        labels[name] = work / name
        step(clean_labels, [*folders, "--data-dir", settings.data_dir, "--cleaned-dir", labels[name], "--run-dir",
                            work / f"{name}_runs", *flags, *common])
    for name, data in labels.items():
        train(data, work / f"on_{name}", "--input-size", settings.size, "--epochs", settings.epochs)

    device = choose_device(settings.device)
    persons = load_persons(settings.data_dir, "train", device)
    held = np.flatnonzero(persons.held_out)
    poses, trained = {}, {}
    halves = {f"without {half}": folder for half, folder in zip(HALVES, folders)}
    for name, folder in [*halves.items(), *((name, work / f"on_{name}") for name in labels)]:
        poses[name] = load_stage1(folder, persons, device).predict(
            persons, torch.from_numpy(held).to(device), True).cpu().numpy()
        trained[name] = facts(load_checkpoint(folder / "stage1.pt", "python train_stage1.py"))
    content = {"what": "stage 1 trained on labels as published and cleaned, scored on validation persons with the flip "
                       "test, percent; gains over published in points, with 95% intervals of a paired bootstrap",
               "commands": commands, "trainings": trained,
               "changed": {name: changes(persons, work / f"{name}_runs/cleaned_labels.csv") for name in CLEANED},
               "halves": {name: compared(poses[name], poses[name], persons, held, settings.seed)
                          for name in halves},
               "scores": {name: compared(poses["published"], poses[name], persons, held, settings.seed)
                          for name in labels}}
    seconds = 60 * sum(own["minutes"] for own in trained.values())
    arrays.save_json(Path(settings.result_dir, "lsp_cleaned_labels.json"),
                     content | provenance(settings, seconds, device))
    for name, sources in content["scores"].items():
        for source, scores in sources.items():
            told = ", ".join(f"{score} {own['mean']:.1f}" + (f" {own['gain']:+.1f} ({own['low']:+.1f} to "
                                                             f"{own['high']:+.1f})" if name != "published" else "")
                             for score, own in scores.items() if score != "persons")
            print(f"{name:10} {source:6} {told}")
    print(f"written: {Path(settings.result_dir, 'lsp_cleaned_labels.json')}")


def facts(checkpoint):
    """What is told of a training."""
    return {"best_epoch": checkpoint["best_epoch"],
            "minutes": round(sum(row["seconds"] for row in checkpoint["history"]) / 60, 1),
            **{key: checkpoint["provenance"][key] for key in ("commit", "hardware", "threads", "versions", "date")}}


def changes(persons, path):
    """Data set -> its training persons, those with arms and with legs exchanged, and the joints left out."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    training = Counter(persons.sources[~persons.held_out].tolist())
    return {source: {"persons": count} | {
        f"{part} exchanged": sum(row["source"] == source and part in row["exchanged"].split() for row in rows)
        for part in ("arms", "legs")} | {
        "joints left out": sum(len(row["left_out"].split()) for row in rows if row["source"] == source)}
        for source, count in sorted(training.items())}


def compared(before, after, persons, held, seed):
    """Data set, or "all" -> score -> {"mean", "gain", "low", "high"} of poses (M, J, 2) of the persons `held` (M,)."""
    sources, found = persons.sources[held], {}
    for source in ("all", *sorted(set(sources))):
        own = np.flatnonzero((sources == source) | (source == "all"))
        gains = differences(before[own], after[own], persons.truth[held[own]], persons.head_sizes[held[own]],
                            persons.skeleton, persons.box_side, thresholds_of(persons), seed=seed)
        found[source] = {"persons": len(own)} | {
            f"{metric} {part}": {"mean": (it := gains[metric][part])["after"]} | {
                key: it[key] for key in ("gain", "low", "high")} for metric, parts in SCORES.items() for part in parts}
    return found


if __name__ == "__main__":
    run(main)
