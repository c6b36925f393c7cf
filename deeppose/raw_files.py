"""Where the files of a raw data set lie: annotations by their names, images in a folder, a zip or a tar."""
import os
from pathlib import Path, PurePosixPath

from . import archives
from .errors import Failure, UserError

DEPTHS = ("", "*/", "*/*/")  # how far below the raw folder things may lie


def raw_home(raw_dir, name):
    """The folder of one data set: raw_dir/name, or raw_dir itself where that is not there. Raises UserError."""
    folder = Path(raw_dir)
    if not folder.is_dir():
        raise UserError(f"{os.path.realpath(folder)} is no folder; name the one that holds the raw data with --raw-dir")
    return folder / name if (folder / name).is_dir() else folder


def find(home, *patterns):
    """The path that matches one of the patterns, in a folder or, where none does there, one or two folders below it.

    Returns  None where none does
    Raises   Failure where several do
    """
    for depth in DEPTHS:
        found = sorted({path for pattern in patterns for path in home.glob(depth + pattern) if _is_own(path)})
        if len(found) > 1:
            raise Failure(f"{os.path.realpath(home)} holds both {found[0].relative_to(home)} and "
                          f"{found[1].relative_to(home)}; leave one of them there")
        if found:
            return found[0]
    return None


def find_images(home, name):
    """The images of a folder, zip or tar called `name`, else those of a folder of that name within a zip or tar.

    Returns  the path of the folder or archive; file name -> the image's name in there
    Raises   UserError where there are none, Failure where two have one file name
    """
    path = find(home, name, name + ".zip", name + ".tar")
    if path:
        inside = [PurePosixPath(member) for member in archives.members(path)
                  if member.lower().endswith(archives.IMAGE_SUFFIXES)]
    else:
        for path in _with_suffixes(home, (".zip", ".tar", *archives.PACKED)):  # `members` refuses packed tars
            if inside := archives.images_in(archives.members(path), name):
                break
        else:
            raise UserError(f"{os.path.realpath(home)} holds no images: put a folder {name}, {name}.zip or {name}.tar "
                            "there, or name another folder with --raw-dir")
    images = {}
    for member in inside:
        archives.check_name(str(member), os.path.realpath(path))
        if images.setdefault(member.name, str(member)) != str(member):
            raise Failure(f"{os.path.realpath(path)}: {images[member.name]} and {member} have the same name, so no "
                          "annotations can be told to be their own; leave one of them there")
    if not images:
        raise UserError(f"{os.path.realpath(path)} holds no images; put those of the data set there")
    return path, images


def _with_suffixes(home, suffixes):
    """What lies in a folder or up to two below it and ends so, in the suffixes' order."""
    return [path for suffix in suffixes for depth in DEPTHS for path in sorted(home.glob(f"{depth}*{suffix}"))
            if _is_own(path)]


def _is_own(path):
    """Whether it is none of the shadow files that macOS adds."""
    return not path.name.startswith("._") and "__MACOSX" not in path.parts
