"""Draw articulated human figures into LSP's raw layout, for the six steps to run on without any download.

Writes  demo/raw/lsp_dataset/images/im0001.jpg ...  a person each, cropped as LSP's authors crop
        demo/raw/lsp_dataset/joints.mat             joints in image pixels; row 3: 1 = occluded or outside the image
Next    python lsp_data.py --raw-dir demo/raw --train-on lsp
"""
from deeppose.errors import run  # first, so that Ctrl-C while the others load ends in a line

from pathlib import Path

from deeppose.claims import claimed
from deeppose.settings import next_command, parse_settings
from figures import lsp

RAW_DIR = "demo/raw"  # folder of the raw data; the figures go to its lsp_dataset/, in place of older figures
FIGURES = 1350        # 1 ... 1000000: figures to draw
SEED = 0              # 0 ... 4294967295: another seed, other figures; figure k does not depend on how many there are
WORKERS = 0           # 0 ... 61: processes that draw; 0 = one for each core


def main(argv=None):
    settings = parse_settings(globals(), argv)
    folder = Path(settings.raw_dir) / "lsp_dataset"
    with claimed(settings.raw_dir, "figures"):
        lsp.write(folder, settings.figures, settings.seed, settings.workers)
    print(f"written: {folder}, {settings.figures} figures")
    print(next_command({"RAW_DIR": "data/raw"}, settings, "lsp_data.py --train-on lsp", ("raw_dir",)))  # its own


if __name__ == "__main__":
    run(main)
