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

PRESET = ["--preset", "small"]


def main(argv=None):
    settings = parse_settings(globals(), argv)
    measure("lsp_cpu", settings, PRESET, PRESET, PRESET, settings.stages)


if __name__ == "__main__":
    run(main)
