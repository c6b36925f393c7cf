"""All six steps on the real LSP and LSPe from random initialisation, as large as two CPU cores train in about two
hours: direct regression, as in the paper.

Reads   the raw archives in RAW_DIR
Writes  results/lsp_cpu.json  scores of every stage, settings, seconds of each step, hardware, commit
        WORK_DIR/             data, checkpoints and runs; a step that is finished there is not run again
"""
from lsp_run import measure

from deeppose.errors import run
from deeppose.settings import parse_settings

RAW_DIR = "data/raw"            # holds lsp_dataset.zip and lspet_dataset.zip
WORK_DIR = "runs/lsp_cpu"       # data, checkpoints and runs of this measurement
RESULT_DIR = "results"          # where lsp_cpu.json goes
STAGES = 3                      # 1 ... 3: to train; more can follow later
SEED = 0                        # 0 ... 4294967295: of every step
DEVICE = "cpu"                  # auto, cpu, cuda, cuda:1, mps

PREPARE = "--crop-size 160".split()
STAGE1 = ("--backbone resnet18 --weights none --input-size 96 --loss smooth_l1 --dropout 0 --optimiser adamw "
          "--learning-rate 1e-3 --weight-decay 0.05 --schedule cosine --warmup-epochs 1 --epochs 22 --batch-size 32 "
          "--channels-last").split()
STAGE2 = ("--crop-size 67 --width 0.5 --loss smooth_l1 --dropout 0 --optimiser adam --learning-rate 1e-3 "
          "--batch-size 64 --schedule cosine --sigma 1 --crops-per-image 3 --epochs 3 --no-missed").split()


def main(argv=None):
    settings = parse_settings(globals(), argv)
    measure("lsp_cpu", settings, PREPARE, STAGE1, STAGE2, settings.stages)


if __name__ == "__main__":
    run(main)
