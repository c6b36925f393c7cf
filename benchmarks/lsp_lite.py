"""The best stage 1 that two CPU cores train in about an hour, and the cascade on it: EfficientNet-Lite0 with ImageNet
weights, integral regression, flip test. Its stage 1 is the model that the project ships.

Reads   the raw archives in RAW_DIR
Writes  results/lsp_lite.json           scores of every stage, settings, seconds of each step, hardware, commit
        checkpoints/released/stage1.pt  stage 1 in half precision, with its scores
        WORK_DIR/                       data, checkpoints and runs; a step that is finished there is not run again
"""
from pathlib import Path

from ablation_lsp import RECIPE
from lsp_run import measure, release

from deeppose.errors import run
from deeppose.settings import parse_settings

RAW_DIR = "data/raw"            # holds lsp_dataset.zip and lspet_dataset.zip
WORK_DIR = "runs/lsp_lite"      # data, checkpoints and runs of this measurement
RESULT_DIR = "results"          # where lsp_lite.json goes
RELEASE_DIR = "checkpoints/released"  # where the half-precision stage 1 goes
STAGES = 3                      # to train: 1, 2 or 3
SEED = 0                        # of every step
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps

# what results/ablation_lsp.json says of the recipe's choices: a learning rate twice as high
STAGE1 = [*RECIPE, *"--learning-rate 2e-3 --weights imagenet --input-size 160 --epochs 22 --batch-size 32 "
          "--channels-last --compile".split()]
STAGE2 = ("--crop-size 67 --width 0.5 --loss smooth_l1 --dropout 0 --optimiser adam --learning-rate 1e-3 "
          "--batch-size 64 --schedule cosine --sigma 1 --crops-per-image 3 --epochs 3").split()


def main(argv=None):
    settings = parse_settings(globals(), argv)
    content = measure("lsp_lite", settings, [], STAGE1, STAGE2, settings.stages, flip_test=True)
    release(Path(settings.release_dir, "stage1.pt"), settings.work_dir, content["stage 1"])


if __name__ == "__main__":
    run(main)
