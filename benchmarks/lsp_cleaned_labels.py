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
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from lsp_run import train_stage1  # importing it puts the project's folder on Python's path
from validation import compared, facts, told

import clean_labels
from deeppose import arrays
from deeppose.checkpoints import load_checkpoint
from deeppose.claims import claimed
from deeppose.devices import choose_device
from deeppose.errors import run
from deeppose.persons import load_persons
from deeppose.reports import provenance
from deeppose.settings import parse_settings
from deeppose.steps import command_of, run_steps
from networks.trained_stages import load_stage1

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
CLEANING = ["--keep", "lsp"]


def main(argv=None):
    settings = parse_settings(globals(), argv)
    work = Path(settings.work_dir)
    with claimed(settings.result_dir, "results"), claimed(work, "cleaned labels"):
        measure(settings, work)


def measure(settings, work):
    halves = {f"without {half}": work / f"half{half[0]}" for half in HALVES}
    labels = {"published": settings.data_dir, "cleaned": work / "cleaned"}
    threads = ["--threads", settings.threads]

    def training(data, folder, size, epochs, *flags):
        return train_stage1, [*STAGE1, "--data-dir", data, "--checkpoint-dir", folder, "--run-dir", folder,
                              "--input-size", size, "--epochs", epochs, *flags, *threads]

    steps = [training(settings.data_dir, folder, settings.half_size, settings.half_epochs, "--without", half)
             for half, folder in zip(HALVES, halves.values())]
    steps += [(clean_labels, [*halves.values(), "--data-dir", settings.data_dir, "--cleaned-dir", labels["cleaned"],
                              "--run-dir", work / "cleaned_runs", *CLEANING, *threads])]
    steps += [training(data, work / f"on_{name}", settings.size, settings.epochs) for name, data in labels.items()]
    run_steps(steps, work, settings.seed, settings.device)

    device = choose_device(settings.device)
    persons = load_persons(settings.data_dir, "train", device)
    held = np.flatnonzero(persons.held_out)
    poses, trained = {}, {}
    for name, folder in [*halves.items(), *((name, work / f"on_{name}") for name in labels)]:
        poses[name] = load_stage1(folder, persons, device).predict(
            persons, torch.from_numpy(held).to(device), True).cpu().numpy()
        trained[name] = facts(load_checkpoint(folder / "stage1.pt", "python train_stage1.py"))
    content = {"what": "stage 1 trained on labels as published and cleaned, scored on validation persons with the flip "
                       "test, percent; gains over published in points, with 95% intervals of a paired bootstrap",
               "commands": [command_of(*step) for step in steps], "trainings": trained,
               "changed": {"cleaned": changes(persons, work / "cleaned_runs/cleaned_labels.csv")},
               "halves": {name: compared(poses[name], poses[name], persons, held, settings.seed)
                          for name in halves},
               "scores": {name: compared(poses["published"], poses[name], persons, held, settings.seed)
                          for name in labels}}
    seconds = 60 * sum(own["minutes"] for own in trained.values())
    arrays.save_json(Path(settings.result_dir, "lsp_cleaned_labels.json"),
                     content | provenance(settings, seconds, device))
    for name, sources in content["scores"].items():
        for source, scores in sources.items():
            print(f"{name:10} {source:6} {told(scores)}")
    print(f"written: {Path(settings.result_dir, 'lsp_cleaned_labels.json')}")


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


if __name__ == "__main__":
    run(main)
