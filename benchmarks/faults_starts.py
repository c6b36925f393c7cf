"""The folders that the cases begin with: drawn figures, all six steps run, and runs that broke off."""
import io
import os
import signal
import time
import zipfile
from pathlib import Path

import faults_folders as folders
import faults_trial as trial
import torch

from figures.lsp import write as write_figures
from networks.efficientnet_lite import EfficientNetLite0

FIGURES = 40
BEGUN = {"train_stage1": ["--epochs", "8"], "train_stage2": ["--epochs", "60", "--joints", "neck"]}  # to go on with


def prepare(work, seed):
    """Draw figures and run the six steps on them.

    Returns  name -> folder: "done" (all steps), "prepared" (step 1), "begun" (training of both stages broken off after
             an epoch), "zipped" (done, its raw data as a zip), "one joint" (done, the neck's network alone)
    Raises   RuntimeError where a step fails on good input
    """
    done = Path(work, "done")
    write_figures(done / "raw/lsp_dataset", FIGURES, seed, workers=1)
    write_initial_weights(done / "initial.pth", seed)
    starts = {"done": done, "prepared": Path(work, "prepared"), "begun": Path(work, "begun"),
              "zipped": Path(work, "zipped")}
    for step in trial.STEPS:
        good(step, done)
        if step == "lsp_data":
            folders.copy_of(done, starts["prepared"])
    folders.copy_of(done, starts["begun"])
    for path in (starts["begun"] / "checkpoints").iterdir():
        path.unlink()
    break_off("train_stage1", starts["begun"], "checkpoints/stage1_last.pt", *BEGUN["train_stage1"])
    break_off("train_stage2", starts["begun"], "checkpoints/stage2_neck_last.pt", *BEGUN["train_stage2"])
    folders.copy_of(done, starts["zipped"])
    folders.clear(starts["zipped"] / "raw/lsp_dataset")
    (starts["zipped"] / "raw/lsp_dataset.zip").write_bytes(zip_of(raw_files(done)))
    starts["one joint"] = folders.copy_of(done, Path(work, "one_joint"))
    for path in (starts["one joint"] / "checkpoints").glob("stage2_*"):
        if path.stem != "stage2_neck":
            path.unlink()
    return starts


def write_initial_weights(path, seed):
    """Random weights of stage 1's backbone under which features do not fade from layer to layer: after two epochs its
    poses differ from person to person already."""
    torch.manual_seed(seed)
    network = EfficientNetLite0(head=True)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)


def good(step, folder, *flags):
    """Run a step that must go well. Returns what it printed."""
    answer = trial.run_step(step, trial.Case("", "", step, list(flags)).argv, folder, limit=300)
    if answer.status:
        raise RuntimeError(f"{step} on good input: status {answer.status}: {answer.err[-2000:]}")
    return answer.out


def break_off(step, folder, file, *flags):
    """Begin a step and interrupt it, as Ctrl-C does, when a file is there."""
    process, output, error = trial.fork(step, trial.Case("", "", step, list(flags)).argv, folder)
    deadline = time.monotonic() + 60
    while not (folder / file).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process, signal.SIGINT)
    answer = trial.finish(process, output, error, 60)
    if not (folder / file).exists():
        raise RuntimeError(f"{step} left no {file}: status {answer.status}: {answer.err[-2000:]}")


def raw_files(done):
    """The raw data set: name in its zip -> bytes."""
    raw = done / "raw"
    return {path.relative_to(raw).as_posix(): path.read_bytes() for path in sorted(raw.rglob("*")) if path.is_file()}


def zip_of(files, compression=zipfile.ZIP_DEFLATED):
    """A zip as bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, compression)
    return file.getvalue()
