"""Stage 1 by the recipe from which the shipped model came, and the paper's cascade on it, on LSP + LSPe.

With these settings two CPU cores train stage 1 in about an hour. The model that the project ships went on from there:
    python benchmarks/lsp_recipe.py --stages 1
    python benchmarks/lsp_recipe.py --name lsp_lite_192 --weights runs/lsp_lite/checkpoints/stage1.pt --input-size 192
        --epochs 15 --learning-rate 1e-3 --heatmap-weight 1 --stages 2 --crops-per-image 2
On a GPU:
    python benchmarks/lsp_recipe.py --name lsp_recipe_gpu --input-size 256 --epochs 150 --batch-size 64
        --cascade-size 227 --cascade-width 1 --cascade-epochs 7

Reads   the raw archives in RAW_DIR
Writes  results/<NAME>.json  scores of every stage, settings, seconds of each step, hardware, commit
        runs/<NAME>/         data, checkpoints and runs; a step that is finished there is not run again
"""
from pathlib import Path

from ablation_lsp import as_flags
from lsp_run import measure

from deeppose.errors import run
from deeppose.settings import parse_settings

RAW_DIR = "data/raw"            # holds lsp_dataset.zip and lspet_dataset.zip
NAME = "lsp_lite"               # of the result and of the folder under WORK_DIR
WORK_DIR = "runs"               # the folder NAME in it holds data, checkpoints and runs of this measurement
RESULT_DIR = "results"          # where NAME.json goes
STAGES = 3                      # 1 ... 3: to train; more can follow later
SEED = 0                        # 0 ... 4294967295: of every step
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps

BACKBONE = "efficientnet_lite0"  # or a torchvision ResNet
WEIGHTS = "imagenet"            # initial weights: imagenet, none, or a file
INPUT_SIZE = 160                # 32 ... 1024: side of stage 1's input, pixels
EPOCHS = 22                     # 1 ... 100000: of stage 1
BATCH_SIZE = 32                 # 2 ... 65536: of stage 1
LEARNING_RATE = 2e-3            # 1e-12 ... 1e6: of stage 1
HEATMAP_WEIGHT = 0.1            # 0.0 ... 1000: of stage 1's heatmap loss
SIGMA = 1.0                     # 0.05 ... 20: side of the cascade's windows, torso diameters
CASCADE_SIZE = 67               # 67 ... 1024: pixels along a window
CASCADE_WIDTH = 0.5             # 0.001 ... 8: of the cascade's networks, 1 = AlexNet
CASCADE_EPOCHS = 3              # 1 ... 100000: of each cascade network
CROPS_PER_IMAGE = 3             # 1 ... 100000: windows drawn of each person and epoch


def main(argv=None):
    settings = parse_settings(globals(), argv)
    settings.work_dir = Path(settings.work_dir, settings.name)
    stage1 = as_flags({
        "--preset": "lite", "--oversample": (),  # the recipe came before LSP's persons were seen more often
        "--backbone": settings.backbone, "--weights": settings.weights, "--input-size": settings.input_size,
        "--epochs": settings.epochs, "--batch-size": settings.batch_size, "--learning-rate": settings.learning_rate,
        "--heatmap-weight": settings.heatmap_weight})
    stage2 = as_flags({
        "--crop-size": settings.cascade_size, "--width": settings.cascade_width, "--loss": "smooth_l1", "--dropout": 0,
        "--optimiser": "adam", "--learning-rate": 1e-3, "--batch-size": 64, "--schedule": "cosine",
        "--sigma": settings.sigma, "--crops-per-image": settings.crops_per_image,
        "--epochs": settings.cascade_epochs, "--no-missed": ()})
    measure(settings.name, settings, [], stage1, stage2, settings.stages, flip_test=True)


if __name__ == "__main__":
    run(main)
