"""The photographs and films that a command line means, and what the pictures made of them are called."""
import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .archives import IMAGE_SUFFIXES, is_shadow
from .errors import UserError

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts",
          ".ogv")
OUTPUT = "the folder for output"
LONGEST = 150  # bytes of a picture's name: systems allow 255, and while it is written it has a longer one


@dataclass(frozen=True)
class Input:
    """path   as it was given or found
    name   of what is drawn of it, a path with folders below the folder for output
    video  whether it is a film
    """
    path: str
    name: str
    video: bool


def find_inputs(paths, out, listed=None):
    """The photographs and films that a command line names, each once, however many links lead to it.

    paths    files; folders and patterns with *, ?, [] and **, of which all is taken that is named like a photograph
             or film, and of a pattern all where nothing is; "-" for those listed, a line each or each ended by a NUL
    out      the folder for output, in which nothing is looked for
    listed   function that gives the listed as bytes, where there is "-"
    Returns  list of Input in the order given, folders' in the order of their names; list of (path, why) of what is not
             there; and how many files of folders and patterns are neither
    Raises   UserError where not one is found
    """
    found, missing, others = [], [], 0
    for path in paths:
        for one in _listed(listed()) if path == "-" else [path]:
            files, root, lost, left = _expanded(one, out)
            found += [(file, root) for file in files]
            missing += lost
            others += left
    unique = {}
    for file, root in found:
        unique.setdefault(os.path.realpath(file), (file, root))
    if not unique:
        told = "; ".join(f"{path}: {why}" for path, why in missing[:5])
        raise UserError(f"no photograph or video is found ({told or 'nothing is listed'}); name files, folders, "
                        "patterns, or - for a list on standard input")
    missing = [(path, why) for path, why in missing if why != OUTPUT]  # which * names as well
    top = _common([root for _, root in unique.values()])
    inputs, taken = [], set()
    for file, _ in unique.values():
        video = file.lower().endswith(VIDEOS)
        inputs.append(Input(file, _free(_name(file, top, video), taken), video))
    return inputs, missing, others


def _listed(content):
    """The paths in a list, in which empty lines count for nothing."""
    parts = content.split(b"\0") if b"\0" in content else content.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]


def _expanded(path, out):
    """Of one argument: its files; the folder that their names begin in; list of (path, why) of what there is none of or
    can't be listed; how many are left aside."""
    out = os.path.realpath(out)
    if os.path.isdir(path):
        files, others, lost = [], 0, []
        for file in _below(path, {out}, lost):
            if _is_shown(file):
                files.append(file)
            else:
                others += 1
        if not files and not lost:
            lost = [(path, OUTPUT if Path(os.path.realpath(path)).is_relative_to(out) else
                     "a folder without photographs or videos")]
        return files, path, lost, others
    if os.path.lexists(path):
        return [path], os.path.dirname(path), [], 0
    if glob.has_magic(path):
        matching = [file for file in sorted(glob.glob(path, recursive=True)) if not os.path.isdir(file)]
        files = [file for file in matching if not Path(os.path.realpath(os.path.dirname(file))).is_relative_to(out)]
        shown = [file for file in files if _is_shown(file)] or files  # of a pattern such as *.dat all are meant
        lost = [] if files else [(path, "all that matches lies in the folder for output" if matching else
                                  "no file matches")]
        return shown, os.path.dirname(re.split(r"[*?[]", path)[0]), lost, len(files) - len(shown)
    return [], "", [(path, "not found")], 0


def _is_shown(file):
    """Whether it is named like a photograph or film."""
    return file.lower().endswith((*IMAGE_SUFFIXES, *VIDEOS))


def _below(folder, seen, lost):
    """Paths of the files below a folder in the order of their names; linked folders are entered, but none a second
    time, nor those that are `seen` already. Folders that can't be listed are added to `lost`, with why."""
    here = os.path.realpath(folder)
    if here in seen:
        return
    seen.add(here)
    try:
        with os.scandir(folder) as entries:
            entries = sorted(entries, key=lambda entry: (entry.is_symlink(), by_numbers(entry.name)))
    except OSError as error:
        lost.append((folder, f"can't be listed: {error.strerror or error}"))
        return
    for entry in entries:
        if not entry.is_dir() and not is_shadow(entry.name):
            yield entry.path
    for entry in entries:
        if entry.is_dir():
            yield from _below(entry.path, seen, lost)


def by_numbers(name):
    """frame9 before frame10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split("([0-9]+)", name)]


def _common(folders):
    """The folder that holds them all; None where none does, as on two drives."""
    try:
        return os.path.commonpath([os.path.abspath(folder) for folder in folders])
    except ValueError:
        return None


def _name(file, top, video):
    """Where a file's picture goes: as it lies below `top`, with a suffix of what can be written."""
    name = os.path.relpath(file, top) if top else os.path.basename(file)
    folder, name = os.path.split(name)
    stem, suffix = os.path.splitext(name)
    while len(os.fsencode(stem)) > LONGEST:
        stem = stem[:-1]
    name = os.path.join(folder, stem + suffix)
    if video:
        return name if name.lower().endswith(".mp4") else name + ".mp4"
    return name if name.lower().endswith((".jpg", ".jpeg", ".png")) else name + ".png"


def _free(name, taken):
    """The name, or one with a number where that is taken, be it in other capitals; it is taken then."""
    path, number = Path(name), 2
    while name.casefold() in taken:
        name, number = str(path.with_name(f"{path.stem}-{number}{path.suffix}")), number + 1
    taken.add(name.casefold())
    return name
