"""Figures in LSP's layout."""
import functools
import io

import numpy as np
import scipy.io

from .folders import drawn, replaced
from .scene import draw_figure

HEADER = b"MATLAB 5.0 MAT-file, figures drawn by demo_data.py"


def write(folder, count, seed, workers=0):
    """Draw figures into a folder, in LSP's layout: images/im0001.jpg ..., joints.mat.

    count    figures; figure k is the same whatever their number
    workers  processes; 0 = one for each core
    joints.mat holds joints (3, 14, count) float64: x, y in image pixels, centres at integers; 1 = occluded or outside
    Raises   UserError where the folder holds anything but figures drawn before, which are replaced
    """
    with replaced(folder, ("joints.mat", HEADER)) as part:
        (part / "images").mkdir()
        joints = drawn(functools.partial(_write_image, part / "images", seed), count, workers)
        # (count, 14, 3) -> (3, 14, count)
        (part / "joints.mat").write_bytes(mat({"joints": np.stack(joints).T}))


def mat(content):
    """A MATLAB file's bytes. The header's free text is ours: SciPy's has the time of day, so each file is another."""
    file = io.BytesIO()
    scipy.io.savemat(file, content)
    return HEADER.ljust(116) + file.getvalue()[116:]


def _write_image(folder, seed, number):
    image, joints = draw_figure(seed, number)
    image.save(folder / f"im{number:04d}.jpg", quality=92)
    return joints
