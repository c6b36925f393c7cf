"""Figures in LSP's layout."""
import functools

import numpy as np

from .folders import drawn, replaced
from .matlab import HEADER, mat
from .scene import draw_figure


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


def _write_image(folder, seed, number):
    image, joints = draw_figure(seed, number)
    image.save(folder / f"im{number:04d}.jpg", quality=92)
    return joints
