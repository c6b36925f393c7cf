"""Figures in K2HPD's layout: films of depth images."""
import functools

import numpy as np
from PIL import Image

from deeppose.errors import UserError

from .depth import FARTHEST_MM, film
from .folders import drawn, replaced

JOINTS = ("head", "neck", "spine", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist", "r_hip",
          "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle")
MORE = ("head_top", "pelvis", "r_hand", "l_hand")  # what follows the fifteen in some lines


def write(folder, count, seed, workers=0, test=0, bits=16, frames=10):
    """Draw figures into a folder, in K2HPD's layout: depth_data/film0001/00000001.png ..., {train,test}_annos.txt.

    count    images; image k is the same whatever their number
    workers  processes; 0 = one for each core
    test     how many of them at the end are test images, or a few more: films are not divided
    bits     16 = millimetres, 8 = 255ths of 4500 mm; 0 = not measured
    frames   images of a film
    A line of the text files is film0001/00000001.png x,y,x,y,... in pixels, centres at integers from 0, of JOINTS and
    at times of more; some lines begin with NUL bytes.
    Raises   UserError where no film is left to train on, or the folder holds anything but figures drawn before, which
             are replaced
    """
    films = -(-count // frames)
    last_trained = (count - test) // frames if test else films
    if not last_trained:
        raise UserError(f"{count} figures are {films} films of {frames}, none of which trains and all test; draw more "
                        "with --figures")
    with replaced(folder) as part:
        images = part / "depth_data"
        images.mkdir()
        lines = drawn(functools.partial(_write_film, images, seed, count, bits, frames), films, workers, each=1)
        for side, some in (("train", lines[:last_trained]), ("test", lines[last_trained:])):
            (part / f"{side}_annos.txt").write_bytes(b"".join(some))


def _write_film(folder, seed, count, bits, frames, number):
    """Draw a film's images up to number `count`; returns their lines."""
    rng = np.random.default_rng((seed, number, 1))
    name = f"film{number:04d}"
    (folder / name).mkdir()
    first = (number - 1) * frames + 1
    lines = []
    for image, (depth, joints) in enumerate(film(seed, number, min(frames, count - first + 1)), first):
        if bits == 8:
            depth = (depth * (255 / FARTHEST_MM)).round().astype(np.uint8)
        file = f"{name}/{image:08d}.png"
        Image.fromarray(depth).save(folder / file, compress_level=1)
        told = JOINTS + MORE * (rng.random() < 0.05)
        points = ",".join(f"{value:.1f}" for joint in told for value in joints[joint])
        lines.append("\0" * int(rng.choice([0, 1, 3], p=(0.94, 0.04, 0.02))) + f"{file} {points}\n")
    return "".join(lines).encode()
