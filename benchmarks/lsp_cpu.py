"""All six steps on the real LSP and LSPe, as large as two CPU cores train in about an hour and a half.

Reads   the raw archives in RAW_DIR
Writes  results/lsp_cpu.json            scores of both stages, settings, seconds of each step, hardware, commit
        checkpoints/released/stage1.pt  stage 1 in half precision, with its scores
        WORK_DIR/                       data, checkpoints and runs; a step that is finished there is not run again
"""
import sys
from pathlib import Path

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
from deeppose.errors import run  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402
from deeppose.steps import run_steps  # noqa: E402
from deeppose.training import load_checkpoint, save_checkpoint  # noqa: E402

RAW_DIR = "data/raw"            # holds lsp_dataset.zip and lspet_dataset.zip
WORK_DIR = "runs/lsp_cpu"       # data, checkpoints and runs of this measurement
RESULT_DIR = "results"          # where lsp_cpu.json goes
RELEASE_DIR = "checkpoints/released"  # where the half-precision stage 1 goes
SEED = 0                        # of every step
DEVICE = "cpu"                  # auto, cpu, cuda, cuda:1, mps


def steps(settings):
    """(module, flags) of each step; the README gives them as commands."""
    return [
        (lsp_data, ["--raw-dir", settings.raw_dir, "--crop-size", 160]),
        (train_stage1, STAGE1),
        (test_stage1, []),
        (generate_train_output, []),
        (train_stage2, STAGE2),
        (test_stage2, []),
    ]


STAGE1 = ("--backbone resnet18 --weights none --input-size 96 --loss smooth_l1 --dropout 0 --optimiser adamw "
          "--learning-rate 1e-3 --weight-decay 0.05 --schedule cosine --warmup-epochs 1 --epochs 22 --batch-size 32 "
          "--channels-last").split()
STAGE2 = ("--crop-size 67 --width 0.5 --loss smooth_l1 --dropout 0 --optimiser adam --learning-rate 1e-3 "
          "--batch-size 64 --schedule cosine --sigma 1 --crops-per-image 3 --epochs 3").split()


def main(argv=None):
    settings = parse_settings(globals(), argv)
    work = Path(settings.work_dir)
    record = work / "steps.json"
    seconds = arrays.load_json(record, "") if record.exists() else {}
    for module, flags in steps(settings):
        if f"{module.__name__}.py" in seconds:
            continue
        if module is train_stage1 and (work / "checkpoints/stage1_last.pt").exists():
            flags = [*flags, "--resume"]
        seconds |= run_steps([(module, flags)], work, settings.seed, settings.device)
        arrays.save_json(record, seconds)

    checkpoint = load_checkpoint(work / "checkpoints/stage1.pt", "python train_stage1.py")
    history = checkpoint.pop("history")
    seconds["train_stage1.py"] = round(checkpoint["provenance"]["seconds"], 1)  # also when it was resumed
    scores = arrays.load_json(work / "runs/stage2.json", "python test_stage2.py")
    content = {"what": "all six steps on LSP + LSPe; scores on LSP's 1,000 test images, percent",
               "commands": [f"python {module.__name__}.py {' '.join(map(str, flags))}".replace(
                   str(settings.raw_dir), "data/raw") for module, flags in steps(settings)],
               "seconds_of_steps": seconds, "stage 1": scores.pop("stage 1"), "mean pose": scores.pop("mean pose"),
               "stage 2": scores, "validation": {"stage 1": history[-1], "epochs": len(history)},
               **provenance(settings, sum(seconds.values()))}
    arrays.save_json(Path(settings.result_dir, "lsp_cpu.json"), content)
    checkpoint["weights"] = {name: value.half() if value.is_floating_point() else value
                             for name, value in checkpoint["weights"].items()}
    checkpoint["scores"] = {"pck@0.2": content["stage 1"]["pck@0.2"]["mean"],
                            "pcp_strict@0.5_mean10": content["stage 1"]["pcp_strict@0.5"]["mean10"],
                            "pcp_strict@0.5_mean8": content["stage 1"]["pcp_strict@0.5"]["mean8"]}
    save_checkpoint(Path(settings.release_dir, "stage1.pt"), checkpoint | {"history": []})
    torch.load(Path(settings.release_dir, "stage1.pt"), weights_only=True)
    print(f"written: {settings.result_dir}/lsp_cpu.json, {settings.release_dir}/stage1.pt")


if __name__ == "__main__":
    run(main)
