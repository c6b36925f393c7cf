"""Every data set and every network of stage 1 on drawn figures, beside the mean pose: each is seen to learn.

Reads   nothing
Writes  RESULT_DIR/systems.json  scores in percent, commands, seconds, hardware, commit
        WORK_DIR/                figures, data, checkpoints and runs; what is finished there is not run again
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import demo  # noqa: E402
import test_stage1  # noqa: E402
import train_stage1  # noqa: E402
from deeppose import arrays  # noqa: E402
from deeppose.devices import Stopwatch, choose_device  # noqa: E402
from deeppose.errors import run  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402
from deeppose.steps import command_of, run_steps  # noqa: E402

WORK_DIR = "runs/systems"  # figures, data, checkpoints and runs of this measurement
RESULT_DIR = "results"     # where systems.json goes
SEED = 0                   # 0 ... 4294967295: of the figures, the networks and their training
DEVICE = "cpu"             # auto, cpu, cuda, cuda:1, mps
EPOCHS = 0                 # 0 ... 100000: passes of every stage 1; 0 = the presets', and 20 for the networks
FIGURES = 1150             # 20 ... 1000000: images to train on
ONLY: tuple[str, ...] = ()  # lsp | mpii | lip | k2hpd | coco | depth | networks: to run; all if empty

DATASETS = ("lsp", "mpii", "lip", "k2hpd", "coco")
# of stage 1, on the figures in LSP's layout
NETWORKS = {
    "regression, ResNet-18": ["--network", "regression"],
    "regression, residual log-likelihood": ["--network", "regression", "--loss", "rle"],
    "regression, AlexNet": ["--backbone", "alexnet", "--learning-rate", "3e-4"],
    "regression, AlexNet with batch normalisation": ["--backbone", "alexnet_bn", "--learning-rate", "3e-4"],
    "regression, ResNet-18, global contrast": ["--global-contrast"],
    "integral, ResNet-18": ["--network", "integral", "--heatmap-weight", 1],
    "heatmap, ResNet-18": ["--network", "heatmap", "--loss", "mse", "--heatmap-sigma", 1],
}


def main(argv=None):
    settings = parse_settings(globals(), argv)
    work, watch = Path(settings.work_dir), Stopwatch()
    path = Path(settings.result_dir, "systems.json")
    content = arrays.load_json(path, "") if path.exists() else {}

    def keep(place, key, facts):
        """Publish what is measured so far."""
        content.setdefault(place, {})[key] = facts
        content["what"] = "stages on drawn figures beside the mean pose of the training persons, percent"
        arrays.save_json(path, content | provenance(settings, watch.seconds, choose_device(settings.device)))

    for name in DATASETS:
        if not settings.only or name in settings.only:
            keep("data sets", name, measured(work, name, settings))
    if not settings.only or "depth" in settings.only:
        keep("depth images of 8 bits", "k2hpd", measured(work, "k2hpd", settings, "8"))
    for name, flags in NETWORKS.items():
        if not settings.only or "networks" in settings.only:
            keep("networks", name, network(work, name, flags, settings))
    print(f"written: {path}")


def measured(work, name, settings, bits=None):
    """The six steps on one data set's figures. bits: of depth images, where not the demo's own. Returns its facts."""
    flags = ["--dataset", name, "--train-figures", settings.figures,
             *(["--stage1-epochs", settings.epochs] if settings.epochs else [])]
    steps = demo.steps(parse_settings(vars(demo), list(map(str, flags))))
    if bits:
        (draw, drawn), *rest = steps
        steps = [(draw, [*drawn, "--k2hpd-bits", bits]), *rest]
    folder = work / (f"{name}_{bits}" if bits else name)
    seconds = run_steps(steps, folder, settings.seed, settings.device, record=True)
    last = arrays.load_json(folder / "runs/stage2.json", "python test_stage2.py")
    scores = {place: headlines(last[place]) for place in ("mean pose", "stage 1")} | {"stage 2": headlines(last)}
    show(name + (f", {bits} bits" if bits else ""), scores)
    return {"commands": [command_of(*step) for step in steps], "seconds_of_steps": seconds, **scores}


def network(work, name, flags, settings):
    """One of stage 1's networks on the figures in LSP's layout, which `measured` has prepared. Returns its facts."""
    folder, data = work / name.replace(", ", "_").replace(" ", "_").lower(), work / "lsp/data"
    if not data.exists():
        measured(work, "lsp", settings)
    given = ["--preset", "demo", "--data-dir", data]
    steps = [(train_stage1, [*given, "--epochs", settings.epochs or 20, *flags]), (test_stage1, given)]
    seconds = run_steps(steps, folder, settings.seed, settings.device, record=True)
    last = arrays.load_json(folder / "runs/stage1.json", "python test_stage1.py")
    scores = {"mean pose": headlines(last["mean pose"]), "stage 1": headlines(last)}
    show(name, scores)
    return {"commands": [command_of(*step) for step in steps], "seconds_of_steps": seconds, **scores}


def headlines(scores):
    """The means among a result of reports.score."""
    return {f"{metric}_{part}": value for metric, parts in scores.items() if isinstance(parts, dict)
            for part, value in parts.items()
            if metric.startswith(("pck", "pcp", "pdj")) and (part.startswith(("mean", "total")) or metric == "pdj")}


def show(name, scores):
    key = next(key for key in ("pckh@0.5_total", "pck@0.2_mean", *scores["mean pose"]) if key in scores["mean pose"])
    print(f"{name}: {key}  " + "  ".join(f"{place} {own[key]:.1f}" for place, own in scores.items()), flush=True)


if __name__ == "__main__":
    run(main)
