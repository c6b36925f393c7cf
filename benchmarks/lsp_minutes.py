"""What minutes of training buy: stage 1 on LSP + LSPe, light backbone from ImageNet weights, trained for several times.

Each time has settings of its own, chosen for two otherwise idle cores that compute in bfloat16: an AMD EPYC's for 15,
30 and 60 minutes, an Intel Xeon's, half as fast, for 120. What it took is what is told, and which machine that was.

Reads   the raw archives in RAW_DIR
Writes  results/lsp_minutes.json  scores beside minutes, with the flags of each
        docs/minutes.png          PCK on the test persons beside minutes, a line a machine
        WORK_DIR/                 data, and a folder a row; what is finished there is not run again
"""
from argparse import Namespace
from pathlib import Path

from ablation_lsp import as_flags, chosen_rows
from lsp_run import measure

from deeppose import arrays
from deeppose.devices import choose_device
from deeppose.drawing import score_by_minutes
from deeppose.errors import run
from deeppose.reports import provenance
from deeppose.settings import parse_settings

RAW_DIR = "data/raw"            # holds lsp_dataset.zip and lspet_dataset.zip
WORK_DIR = "runs/lsp_minutes"   # one folder a row
RESULT_DIR = "results"          # where lsp_minutes.json goes
PICTURE = "docs/minutes.png"    # the picture
ROWS: tuple[str, ...] = ()      # run these rows only, by their minutes; () = all of them
SEED = 0                        # 0 ... 4294967295: of every row
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps

# minutes aimed at -> what differs from the preset lite, which is one of them
CHOICES = {"15": {"--input-size": 128, "--epochs": 10}, "30": {"--input-size": 160, "--epochs": 14},
           "60": {"--input-size": 192, "--epochs": 20}, "120": {"--input-size": 224, "--epochs": 20}}


def main(argv=None):
    settings = parse_settings(globals(), argv)
    rows = {}
    for name in chosen_rows(settings.rows, CHOICES):
        own, work = CHOICES[name], Path(settings.work_dir, name)
        found = measure(name, Namespace(**vars(settings) | {"work_dir": work, "result_dir": work}), [],
                        ["--preset", "lite", *as_flags(own)], [], stages=1, flip_test=True)
        rows[name] = {"minutes": found["seconds_of_steps"]["train_stage1.py"] / 60, "differs_from_lite": own,
                      **{key: found["stage 1"][key] for key in ("pck@0.2", "pcp_strict@0.5", "pckh@0.5")},
                      **{key: found[key] for key in ("commands", "validation", "throughput", "trained_at_commit",
                                                      "hardware")}}
    path = Path(settings.result_dir, "lsp_minutes.json")
    rows = (arrays.load_json(path, "python benchmarks/lsp_minutes.py")["rows"] if path.exists() else {}) | rows
    rows = {name: rows[name] for name in CHOICES if name in rows}
    for row in rows.values():
        print(f"{row['minutes']:6.1f} minutes  PCK@0.2 {row['pck@0.2']['mean']:.1f}  strict PCP, ten sticks "
              f"{row['pcp_strict@0.5']['mean10']:.1f}, eight limbs {row['pcp_strict@0.5']['mean8']:.1f}  "
              f"({row['hardware']})")
    arrays.save_json(path, {
        "what": "stage 1 on LSP + LSPe for several times; scores on LSP's 1,000 test images, flip test, percent",
        "rows": rows, **provenance(settings, 60 * sum(row["minutes"] for row in rows.values()),
                                   choose_device(settings.device))})
    lines = {}
    for row in rows.values():
        spent = row["differs_from_lite"]
        lines.setdefault(row["hardware"], []).append(
            (row["minutes"], row["pck@0.2"]["mean"], f"{spent['--input-size']} px, {spent['--epochs']} epochs"))
    score_by_minutes(settings.picture, lines)
    print(f"written: {path}, {settings.picture}")


if __name__ == "__main__":
    run(main)
