"""Where the files of a raw data set lie, and which image its annotations mean by a name."""
import glob
import os
import unicodedata
from pathlib import Path

from . import archives
from .errors import Failure, UserError

DEPTHS = ("", "*/", "*/*/")  # how far below the raw folder things may lie
ARCHIVES = (".zip", ".tar", *archives.PACKED)  # `archives.members` refuses the packed ones, and says what to do


def raw_home(raw_dir, name):
    """The folder of one data set: raw_dir/name, or raw_dir itself where that is not there. Raises UserError."""
    folder = Path(raw_dir)
    if not folder.is_dir():
        raise UserError(f"{os.path.realpath(folder)} is no folder; name the one that holds the raw data with --raw-dir")
    return folder / name if (folder / name).is_dir() else folder


def find(home, *patterns, flag=None):
    """The path that matches one of the patterns, in a folder or, where none does there, one or two folders below it.

    flag     the setting that names it; None = it can't be named otherwise
    Returns  None where none does
    Raises   Failure where several do, or what does is neither file nor folder
    """
    for depth in DEPTHS:
        found = sorted({path for pattern in patterns for path in _matches(home, depth, pattern)})
        if len(found) > 1:
            one, other = (os.path.relpath(path, home) for path in found[:2])
            raise Failure(f"{os.path.realpath(home)} holds both {one} and {other}; "
                          "leave one of them there" + (f", or name one in full with --{flag}" if flag else ""))
        if found:
            if not (found[0].is_file() or found[0].is_dir()):  # to open a FIFO would wait for ever
                raise Failure(f"{os.path.abspath(found[0])} is a device, FIFO or socket, expected a file; put it there")
            return found[0]
    return None


def located(home, name, flag):
    """The path of a file that a setting names; flag: the setting's. Raises UserError where it is not there."""
    return find(home, glob.escape(name), flag=flag) or _not_there(home, name, flag)


def find_images(home, name, flag=None):
    """The folder, zip or tar of images called `name`, else a zip or tar that holds a folder of that name.

    flag     the setting that names it; None = it can't be named otherwise
    Returns  its path; and what names within it begin with: "", or of the latter NAME/
    Raises   UserError where there is none
    """
    if path := find(home, *(glob.escape(name) + suffix for suffix in ("", *ARCHIVES)), flag=flag):
        return path, ""
    for suffix in ARCHIVES:
        for path in (path for depth in DEPTHS for path in sorted(_matches(home, depth, "*" + suffix))):
            if archives.images_in(archives.members(path), name):
                return path, name + "/"
    return _not_there(home, f"folder {name}, {name}.zip or {name}.tar of images", flag)


def named(path, names, within=""):
    """Find the images that annotations name.

    path     folder, zip or tar of images
    names    list of N str: a file's name, alone or with any of the folders that it lies in
    within   what names in there begin with, see `find_images`; those of the annotations may, too
    Returns  list of N: the image's name in there, or None; and list of N: None, or why there is none
    Raises   UserError where there are no images at all, Failure where the folder or archive can't be read, or a name
             leads out of it
    """
    names = [composed(name if name.startswith(within) else within + name) for name in names]
    path = Path(path)
    root = composed((path.resolve() if path.is_dir() else path.resolve().with_name(path.stem)).as_posix())
    images = [member for member in archives.members(path) if member.lower().endswith(archives.IMAGE_SUFFIXES)]
    if not images:
        raise UserError(f"{os.path.realpath(path)} holds no images; put those of the data set there")
    exact, tails = {composed(member).removeprefix("./"): member for member in images}, {}  # tar -C FOLDER . has ./
    for folders in {name.count("/") for name in names}:
        for plain, member in exact.items():
            tail = "/".join(f"{root}/{plain}".split("/")[-1 - folders:])
            if tails.setdefault(tail, member) != member:
                tails[tail] = ""  # several end so
    found = [exact.get(name, tails.get(name)) for name in names]
    for member in set(found) - {None, ""}:
        archives.check_name(member, os.path.realpath(path))
    faults = [None if member else f"no such image in {os.path.realpath(path)}" if member is None else
              f"several images in {os.path.realpath(path)} end so" for member in found]
    return [member or None for member in found], faults


def composed(name):
    """In composed Unicode: macOS writes ü as u and two dots, and a list from elsewhere does not."""
    return unicodedata.normalize("NFC", name)


def _not_there(home, what, flag):
    hint = f", or what to look for there with --{flag}" if flag else ""
    raise UserError(f"{os.path.realpath(home)} holds no {what}; put it there, or name another folder with --raw-dir"
                    f"{hint}")


def _matches(home, depth, pattern):
    """Paths without the shadow files that macOS adds; an absolute pattern's are its own."""
    paths = map(Path, glob.glob(os.path.join(glob.escape(str(home)), depth + pattern)))
    return [path for path in paths if path.exists() and not archives.is_shadow(path.as_posix())]
