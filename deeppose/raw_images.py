"""Where raw files lie, which image an annotation means by a name, and which images are neighbours in a film."""
import math
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from . import archives
from .errors import UserError


def located(folder, name, flag, archive=False):
    """The path of a file that a setting names, or of a folder, which may be a zip or tar as well.

    folder   that it lies in
    flag     the setting's name
    archive  whether it is a folder of images, or a zip or tar that may be named without its suffix
    Raises   UserError where it is not there
    """
    for suffix in ("", ".zip", ".tar", *archives.PACKED) if archive else ("",):
        path = Path(folder, name + suffix)
        if path.exists():
            return path
    where = os.path.realpath(Path(folder, name)) + " (or .zip, .tar)" * archive
    raise UserError(f"{where} not found; name another folder with --raw-dir, or what to look for there with --{flag}")


def named(path, names):
    """Find the images that annotations name.

    path     folder, zip or tar of images
    names    list of N str: a file's name, alone or with any of the folders that it lies in
    Returns  list of N: the image's name in there, or None; and list of N: None, or why there is none
    Raises   Failure where the folder or archive can't be read, or a name leads out of it
    """
    path = Path(path)
    root = path.name if path.is_dir() else path.stem
    images = [member for member in archives.members(path) if member.lower().endswith(archives.IMAGE_SUFFIXES)]
    exact, tails = set(images), {}
    for folders in {name.count("/") for name in names}:
        for member in images:
            tail = "/".join(f"{root}/{member}".split("/")[-1 - folders:])
            tails[tail] = "" if tail in tails else member  # "" = several end so
    found = [name if name in exact else tails.get(name) for name in names]
    for member in set(found) - {None, ""}:
        archives.check_name(member, os.path.realpath(path))
    faults = [None if member else f"no such image in {os.path.realpath(path)}" if member is None else
              f"several images in {os.path.realpath(path)} end so" for member in found]
    return [member or None for member in found], faults


def blocks(names, frames):
    """Number the blocks of neighbouring frames: of each folder in turn, its images in the order of their numbers.

    Films' neighbours are nearly alike, and chains of neighbours reach from a film's first frame to its last: where
    they may not be torn apart a whole film stays together, and all of a data set that is one film. Blocks tear them,
    at their two ends only.

    names    (N,) str, with their folders; equal names share a block
    frames   of a block at most, more than 0
    Returns  (N,) int, 0 ... blocks - 1; those of one folder differ in length by one at most
    """
    films = defaultdict(list)
    for name in dict.fromkeys(names):
        films[name.rpartition("/")[0]].append(name)
    block, count = {}, 0
    for film in films.values():
        film.sort(key=_in_order)
        parts = math.ceil(len(film) / frames)
        block.update((name, count + place * parts // len(film)) for place, name in enumerate(film))
        count += parts
    return np.array([block[name] for name in names], int)


def _in_order(name):
    """frame9 before frame10."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", name)]
