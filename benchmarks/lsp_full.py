"""All six steps on the real LSP and LSPe at full size, for a large GPU: ResNet-34 at 224 px, fourteen full AlexNets,
with the scripts' constants as they stand.

Stage 1 sees 100 epochs of 9,900 persons, about 22 PFLOP; stage 2 draws CROPS_PER_IMAGE windows of each of them in 7
epochs, about 33 PFLOP with 5 windows and 133 with 20.

Reads   the raw archives in RAW_DIR
Writes  results/lsp_full.json  scores of both stages, seconds of each step, throughput, memory, settings, hardware
        WORK_DIR/              data, checkpoints and runs; a step that is finished there is not run again, and one that
                               was killed goes on where it was
"""
from lsp_run import measure

from deeppose.errors import run
from deeppose.settings import parse_settings

RAW_DIR = "data/raw"       # holds lsp_dataset.zip and lspet_dataset.zip
WORK_DIR = "runs/lsp_full"  # data, checkpoints and runs of this measurement
RESULT_DIR = "results"     # where lsp_full.json goes
SEED = 0                   # 0 ... 4294967295: of every step
DEVICE = "cuda"            # auto, cpu, cuda, cuda:1, mps
WEIGHTS = "imagenet"       # initial weights of stage 1: imagenet (downloaded), none, or a file of torchvision weights
EPOCHS = 100               # 1 ... 100000: of stage 1
STAGE2_EPOCHS = 7          # 1 ... 100000: of each cascade network
CROPS_PER_IMAGE = 5        # 1 ... 100000: windows drawn of each person and epoch


def main(argv=None):
    settings = parse_settings(globals(), argv)
    stage1 = ["--weights", settings.weights, "--epochs", settings.epochs]
    stage2 = ["--crops-per-image", settings.crops_per_image, "--epochs", settings.stage2_epochs]
    measure("lsp_full", settings, [], stage1, stage2)


if __name__ == "__main__":
    run(main)
