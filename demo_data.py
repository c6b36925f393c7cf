"""Draw figures into a data set's raw layout, for the six steps to run on without any download.

Writes, each with its joints in the data set's own form
  lsp    demo/raw/lsp_dataset/    a person an image, cropped as LSP's authors crop
  mpii   demo/raw/mpii/           one to three persons an image; annotations as incomplete as the real ones
  lip    demo/raw/lip/            crops of a person each, some of them from the same photograph
  k2hpd  demo/raw/k2hpd/          films of a person before a depth camera, one channel
  coco   demo/raw/coco/           four-legged animals with a skeleton of their own
Next    python lsp_data.py --raw-dir demo/raw --train-on lsp, or that data set's script
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load ends in a line

from pathlib import Path

from deeppose.claims import claimed
from deeppose.settings import next_command, parse_settings
from figures import coco, k2hpd, lip, lsp, mpii

RAW_DIR = "demo/raw"  # folder of the raw data; the figures go to a folder in it, in place of older figures
DATASET = "lsp"       # lsp | mpii | lip | k2hpd | coco: the layout, and what is drawn
FIGURES = 1350        # 1 ... 1000000: images to draw
TEST_FIGURES = 200    # 0 ... 1000000: of them, test images: the last; lsp and mpii's .mat leave the choice to step 1
SEED = 0              # 0 ... 4294967295: another seed, other figures; figure k does not depend on how many there are
WORKERS = 0           # 0 ... 61: processes that draw; 0 = one for each core
MPII_FORM = "mat"     # mat | list | pair: mpii_human_pose_v1_u12_1.mat, mpii_annotations.json, or annot/*.json
K2HPD_BITS = "16"     # 16 | 8: of depth images, millimetres or 255ths of 4.5 m


def main(argv=None):
    settings = parse_settings(globals(), argv)
    folder, following = Path(settings.raw_dir) / settings.dataset, f"{settings.dataset}_data.py"
    if settings.dataset == "lsp":
        folder, following = folder.with_name("lsp_dataset"), "lsp_data.py --train-on lsp"
        if settings.figures <= 1000:  # which it would all train on
            following += f" --lsp-train-images {max(1, settings.figures * 5 // 6)}"
    elif settings.test_figures >= settings.figures:
        raise UserError(f"--test-figures {settings.test_figures} of --figures {settings.figures} leave none to train "
                        "on")
    elif settings.dataset in ("lip", "k2hpd") and not settings.test_figures:
        raise UserError(f"--test-figures 0 leaves the test file of --dataset {settings.dataset} empty; draw 1 or more")
    elif settings.dataset == "mpii" and settings.mpii_form == "mat":
        following += " --split share"  # it tells no official one
    elif settings.dataset == "coco" and settings.test_figures:
        following += " --test test.json"
    given = (folder, settings.figures, settings.seed, settings.workers)
    with claimed(settings.raw_dir, "figures"):
        match settings.dataset:
            case "lsp":
                lsp.write(*given)
            case "mpii":
                mpii.write(*given, settings.mpii_form, settings.test_figures)
            case "lip":
                lip.write(*given, settings.test_figures)
            case "k2hpd":
                k2hpd.write(*given, settings.test_figures, int(settings.k2hpd_bits))
            case "coco":
                coco.write(*given, settings.test_figures)
    print(f"written: {folder}, {settings.figures} figures")
    print(next_command({"RAW_DIR": "data/raw"}, settings, following, ("raw_dir",)))  # its own


if __name__ == "__main__":
    run(main)
