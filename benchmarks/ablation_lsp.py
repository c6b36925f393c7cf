"""What each choice in stage 1's recipe is worth: short trainings on LSP + LSPe that differ from one in one setting.

Scored on the validation persons, never on the test set. Each row's gain over the first row, on the same persons, comes
with the 95% interval of a paired bootstrap; it holds at this scale and for this seed.

Reads   the raw archives in RAW_DIR
Writes  results/ablation_lsp.json  the rows of this scale, beside those of others; a row that did not run says so
        WORK_DIR/                  data, and a folder a row; a row that is finished there is not run again
"""
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import lsp_data  # noqa: E402
import train_stage1  # noqa: E402
from deeppose import arrays  # noqa: E402
from deeppose.checkpoints import load_checkpoint  # noqa: E402
from deeppose.devices import choose_device  # noqa: E402
from deeppose.errors import UserError, run  # noqa: E402
from deeppose.persons import load_persons  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402
from deeppose.steps import run_steps  # noqa: E402
from networks.integral import centres, shares_of  # noqa: E402
from networks.trained_stages import load_stage1  # noqa: E402
from validation import compared, facts, told  # noqa: E402

RAW_DIR = "data/raw"            # holds lsp_dataset.zip and lspet_dataset.zip
WORK_DIR = "runs/ablation_lsp"  # data and one folder a row
RESULT_DIR = "results"          # where ablation_lsp.json goes
SCALE = "cpu"                   # cpu | late | gpu: which proxy below
ROWS: tuple[str, ...] = ()      # run these rows only, by name, and the first; () = all of them
WEIGHTS = "imagenet"            # EfficientNet-Lite0's: imagenet (from its package) or a file; not of "late"
SEED = 0                        # 0 ... 4294967295: of every row
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
THREADS = 0                     # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free

RECIPE = {"--preset": "lite"}
SHIPPED = "checkpoints/released/stage1.pt"
# late: going on from the shipped stage 1, which is what a choice is worth when little is left to learn
PROXIES = {"cpu": {"--input-size": 128, "--epochs": 3},
           "late": {"--weights": SHIPPED, "--input-size": 160, "--epochs": 3, "--learning-rate": 3e-4},
           "gpu": {"--input-size": 224, "--epochs": 12, "--batch-size": 64}}
REGRESSION = {"--network": "regression", "--dropout": 0}
# name -> what differs from RECIPE; the first row is RECIPE itself, the best ideas come next
CHOICES = {
    "recipe": {},
    "rotation to 60 degrees": {"--rotation": 60},
    "rotation to 80 degrees": {"--rotation": 80},
    "scale 0.6 to 1.6": {"--scale": (0.6, 1.6)},
    "no moving average": {"--average-decay": 0},
    "no weight decay": {"--weight-decay": 0},
    "no heatmap loss": {"--heatmap-weight": 0},
    "heatmap loss / 10": {"--heatmap-weight": 0.1},
    "heatmap loss x 10": {"--heatmap-weight": 10},
    "learning rate / 2": {"--learning-rate": 1e-3},
    "direct regression, L1": REGRESSION,
    "direct regression, L2": REGRESSION | {"--loss": "mse"},
    "direct regression, residual log-likelihood": REGRESSION | {"--loss": "rle"},
    "random initialisation": {"--weights": "none"},
    "LSP's persons once a pass, 4 epochs": {"--oversample": (), "--epochs": 4},
    "stem and two stages frozen": {"--frozen-stages": 3},
    "no colour": {"--colour": 0},
    "256 px": {"--input-size": 256},
    "24 epochs": {"--epochs": 24},
}


# other ways to read the first row's heatmaps, as appended to its name
FLIP_TEST, WHOLE = ", flip test", ", read at the whole map's centre"
TOLD = ("pdj 0.10", "pck@0.2 mean", "pcp_strict@0.5 mean8")


def main(argv=None):
    settings = parse_settings(globals(), argv)
    first, rows = next(iter(CHOICES)), chosen_rows(settings.rows, CHOICES)
    work = Path(settings.work_dir)
    if not (work / "data/dataset.json").exists():
        run_steps([(lsp_data, ["--raw-dir", settings.raw_dir])], work, settings.seed, settings.device)
    persons = load_persons(work / "data", "train", choose_device(settings.device))
    pending = [name for name in dict.fromkeys([first, *rows]) if not finished(name, work, settings)]
    for name in pending:
        try:
            rows = measure(name, work, persons, settings)
        except UserError as error:  # a loss that is not finite, say: the others can still be compared
            if name == first:
                raise
            rows = {name: {"command": command_of(name, settings), "failed": str(error)}}
        arrays.save_json(record_of(name, work, settings), rows)
        publish(work, persons.device, settings)
    if not pending:
        publish(work, persons.device, settings)


def finished(name, work, settings):
    """Whether a row stands in WORK_DIR. Raises UserError where it was made by another command."""
    record, command = record_of(name, work, settings), command_of(name, settings)
    if not record.exists():
        return False
    if (old := arrays.load_json(record, "")[name]["command"]) != command:
        raise UserError(f"{record} is of\n  {old}\nnot of\n  {command}\nUse another --work-dir")
    return True


def record_of(name, work, settings):
    return folder(work, settings.scale, name) / "row.json"


def chosen_rows(names, choices):
    """The rows to run: those named, or all. Raises UserError where there is no such row."""
    if unknown := set(names) - set(choices):
        raise UserError(f"no row named {min(unknown)!r}; there are: {', '.join(choices)}")
    return list(names or choices)


def as_flags(settings):
    """Flag -> value, or a tuple of none or several, as a command line has them."""
    return [str(part) for flag, value in settings.items()
            for part in (flag, *(value if isinstance(value, tuple) else (value,)))]


def folder(work, scale, name):
    return Path(work, scale, name.replace(" ", "_").replace(",", ""))


def flags_of(name, settings):
    return as_flags({"--weights": settings.weights} | RECIPE | PROXIES[settings.scale] | CHOICES[name])


def command_of(name, settings):
    return f"python train_stage1.py {' '.join(flags_of(name, settings))} --seed {settings.seed}"


def measure(name, work, persons, settings):
    """Train one row and compare its poses of the validation persons with the first row's; the first one's also
    as FLIP_TEST and WHOLE read them. Returns label -> what is told of it."""
    place, first = folder(work, settings.scale, name), next(iter(CHOICES))
    flags = flags_of(name, settings)
    run_steps([(train_stage1, ["--data-dir", work / "data", *flags, "--threads", settings.threads])],
              place, settings.seed, settings.device)
    stage1 = load_stage1(place / "checkpoints", persons, persons.device)
    held, rows = np.flatnonzero(persons.held_out), {}
    training = facts(load_checkpoint(place / "checkpoints/stage1.pt", "python train_stage1.py"))
    for reading in ("", FLIP_TEST, WHOLE) if name == first else ("",):
        if reading == WHOLE:  # the last one
            stage1.network.joints = whole_map
        pose = stage1.predict(persons, torch.tensor(held, device=persons.device), reading == FLIP_TEST).cpu().numpy()
        if name + reading == first:
            arrays.save(first_pose(work, settings), pose, "predictions")
        rows[name + reading] = {
            "command": command_of(name, settings), **({} if reading else training),
            "scores": compared(arrays.load(first_pose(work, settings), "predictions"), pose, persons, held,
                               settings.seed)}
    return rows


def first_pose(work, settings):
    """Where the first row's poses of the validation persons are kept, (M, J, 2) crop pixels."""
    return folder(work, settings.scale, next(iter(CHOICES))) / "runs/validation.npy"


def whole_map(output):
    """Joints at the centre of mass of the whole heatmap, as training sees them."""
    return centres(shares_of(output)), None


def publish(work, device, settings):
    """Print the table of every finished row and write results/ablation_lsp.json."""
    first, table = next(iter(CHOICES)), {}
    for name in CHOICES:
        record = record_of(name, work, settings)
        table |= arrays.load_json(record, "") if record.exists() else {name: "not measured"}
    table |= {label: table.pop(label) for label in (first + FLIP_TEST, first + WHOLE)}  # behind all choices
    path = Path(settings.result_dir, "ablation_lsp.json")
    scales = dict.fromkeys(PROXIES, "not measured") | (arrays.load_json(path, "")["scales"] if path.exists() else {})
    old = scales[settings.scale]["rows"] if isinstance(scales[settings.scale], dict) else {}
    if lost := [label for label, row in old.items() if isinstance(row, dict) and table.get(label) == "not measured"]:
        raise UserError(f"{path} holds rows that {work} does not ({', '.join(lost)}); use the --work-dir that has "
                        "them, or another --result-dir")
    table |= {label: row for label, row in old.items() if label not in table}  # of choices that have left the code
    seconds = 60 * sum(row.get("minutes", 0) for row in table.values() if isinstance(row, dict))
    scales[settings.scale] = {"recipe": " ".join(as_flags(RECIPE)),
                              "proxy": " ".join(as_flags(PROXIES[settings.scale])), "rows": table,
                              **provenance(settings, seconds, device)}
    arrays.save_json(path, {"what": "stage 1 on the validation persons of LSP + LSPe, percent; gains over the first "
                            "row in points, with 95% intervals of a paired bootstrap", "scales": scales})
    for label, row in table.items():
        print(f"{label:45} " + (row if isinstance(row, str) else row.get("failed") or told(row["scores"]["all"], TOLD)))
    print(f"written: {path}")


if __name__ == "__main__":
    run(main)
