"""Folders, zips and tars of raw data: what is in them, read a file at a time, each within limits."""
import contextlib
import hashlib
import io
import os
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from .errors import Failure, UserError, reason

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
                  ".gif")
LARGEST_FILE = 1 << 26  # bytes of an image file, or of a MATLAB file unpacked; small zips may hold GBs
LONGEST_NAME = 500      # characters; a zip may give 65,535 of them
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")  # of which no file can be read by itself


class Unreadable(Exception):
    """Why an image or another file can't be used; who catches it names the file."""


@contextlib.contextmanager
def opened(path):
    """Open a folder, zip or tar.

    Gives   read(member) -> bytes, which raises Unreadable where the member is no file, broken, encrypted, or larger
            than LARGEST_FILE
    Raises  Failure where a zip or tar is broken
    """
    if Path(path).is_dir():
        yield lambda member: _read_file(Path(path) / member)
        return
    try:
        status = os.stat(path)
        stamp = status.st_mtime_ns, status.st_size, status.st_ino
    except OSError:
        stamp = None
    if is_tar(path):
        archive, known = _kept(_tar_index, path, stamp)
        yield lambda member: _read_tar_member(archive, known.get(member))
        return
    archive = _kept(_zip, path, stamp)
    yield lambda member: _read_member(archive, member)


_LAST = {}  # the archive that this process read last: to open one of 100,000 members takes most of a second


def _kept(open_archive, path, stamp):
    if (key := (open_archive, str(path), stamp)) not in _LAST:
        _LAST.clear()
        _LAST[key] = open_archive(path)
    return _LAST[key]


def is_tar(path):
    return str(path).lower().endswith(".tar")


def in_words(error):
    """One line on an exception that a broken file made a library raise."""
    told = reason(error) if isinstance(error, OSError) else str(error)
    return " ".join(told.split()) or type(error).__name__


def members(path):
    """Names of the files in a folder, zip or tar, without the shadow files that macOS adds; sorted.

    Raises Failure where it can't be read, UserError for a packed tar, of which no file can be read by itself.
    """
    path = Path(path)
    if path.is_dir():
        try:
            names = [Path(file).relative_to(path).as_posix() for file in _walk(path)]
        except OSError as error:
            raise Failure(f"{in_words(error)}; give yourself the right to read it, or name another folder") from None
    elif path.name.lower().endswith(PACKED):
        raise UserError(f"{os.path.realpath(path)} is a packed tar, of which no image can be read by itself; unpack "
                        f"it: tar -xf {path.name}")
    elif is_tar(path) and path.is_file():
        with _tar(path) as archive:
            names = [info.name for info in archive.getmembers() if info.isfile()]
    elif os.path.lexists(path):
        with _zip(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    else:
        names = []
    return sorted(name for name in names if not is_shadow(name))


def is_shadow(path):
    """Whether a file is one that macOS adds beside another."""
    path = PurePosixPath(path)
    return "__MACOSX" in path.parts or path.name.startswith("._")


def images_in(members, folder):
    """The images among members that lie in a folder of that name."""
    paths = map(PurePosixPath, members)
    return [path for path in paths if path.parent.name == folder and path.suffix.lower() in IMAGE_SUFFIXES]


def check_name(member, where):
    """Raise Failure for a file name that leads out of its archive or can't be printed in a line."""
    parts = PurePosixPath(member).parts
    strange = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in member)  # control characters, lone bytes
    if strange or len(member) > LONGEST_NAME or ".." in parts or parts[0] == "/":
        raise Failure(f"{where} holds a file named {ascii(member[:80])}: a path out of it, or no name to work with; "
                      f"rename or remove it")


def matlab_tables(content, **options):
    """The variables of a MATLAB 5 file, given as bytes: name -> array, see scipy.io.loadmat for the options.

    Raises Unreadable where it is none, broken, or unpacks to more than LARGEST_FILE
    """
    try:
        import scipy.io  # here, since whoever reads photographs alone would wait for it
        return scipy.io.loadmat(io.BytesIO(unpacked(content)), **options)
    except Unreadable:
        raise
    except Exception as error:  # a broken file makes scipy raise nearly anything
        raise Unreadable(f"no MATLAB file: {in_words(error)}") from None


def unpacked(content):
    """A MATLAB 5 file as bytes -> the same with its compressed variables unpacked, to LARGEST_FILE bytes at most.

    SciPy would unpack whatever a variable inside declares. Another file stays as it is. Raises Unreadable, zlib.error.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        return content
    elements, start, room = [content[:128]], 128, LARGEST_FILE
    while start + 8 <= len(content):
        kind, length = struct.unpack_from(order + "2I", content, start)
        element = content[start:start + 8 + length]
        if kind == 15:  # miCOMPRESSED; what is inside has a kind and length of its own
            element = zlib.decompressobj().decompress(element[8:], room + 1)
        room -= len(element)
        if room < 0:
            raise _too_large(LARGEST_FILE)
        elements.append(element)
        start += 8 + length
    return b"".join(elements)


def damage(path):
    """What is broken in a zip, each of its files read whole; None where nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # a broken zip makes zipfile raise nearly anything
        return in_words(error)
    return f"{broken} is damaged" if broken else None


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_file(path):
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
            raise Unreadable("a folder, not a file" if path.is_dir() else "a device, FIFO or socket, not a file")
        if status.st_size > LARGEST_FILE:
            raise _too_large(status.st_size)
        return path.read_bytes()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError) and path.is_symlink()
        raise Unreadable(f"a link to what is not there: {os.readlink(path)}" if gone else in_words(error)) from None


def _read_member(archive, member):
    try:
        info = archive.getinfo(member)
        if info.flag_bits & 1:
            raise Unreadable("encrypted; unpack the zip with its password")
        if info.file_size > LARGEST_FILE:
            raise _too_large(info.file_size)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable("packed by another method than deflate, whose length can't be limited; pack the zip anew")
        with archive.open(info) as file:  # gives what is declared and no more
            content = b"".join(iter(lambda: file.read(1 << 16), b""))
        if len(content) < info.file_size:
            raise Unreadable(f"{len(content):,} bytes long, not {info.file_size:,}")
        return content
    except Unreadable:
        raise
    except Exception as error:  # a broken zip makes zipfile raise nearly anything
        raise Unreadable(in_words(error)) from None


def _tar(path):
    try:
        return tarfile.open(path, "r:")
    except Exception as error:  # as of a zip
        raise Failure(f"{os.path.realpath(path)} can't be opened as a tar ({in_words(error)}); delete it, get it anew "
                      "and run again") from None


def _tar_index(path):
    archive = _tar(path)
    return archive, {info.name: info for info in archive.getmembers()}


def _read_tar_member(archive, info):
    try:
        if info is None or not info.isfile():
            raise Unreadable("no such file in the tar" if info is None else "a folder or link, not a file")
        if info.size > LARGEST_FILE:
            raise _too_large(info.size)
        content = archive.extractfile(info).read()
        if len(content) < info.size:
            raise Unreadable(f"{len(content):,} bytes long, not {info.size:,}")
        return content
    except Unreadable:
        raise
    except Exception as error:  # as of a zip
        raise Unreadable(in_words(error)) from None


def _too_large(size):
    return Unreadable(f"{size:,} bytes or more, expected at most {LARGEST_FILE:,}; scale it down or compress it")


def _zip(path):
    if not Path(path).is_file():
        raise Failure(f"{os.path.realpath(path)} is no file; put the zip or its unpacked folder there")
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # a broken zip makes zipfile raise nearly anything
        raise Failure(f"{os.path.realpath(path)} can't be opened as a zip ({in_words(error)}); "
                      "delete it, get it anew and run again") from None


def _walk(folder, above=()):
    """Paths below a folder: files, and folders named like an image. Enters linked folders, but none within itself."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            inside = os.path.isdir(entry.path)
            if inside:
                yield from _walk(entry.path, (*above, here))
            if not inside or entry.name.lower().endswith(IMAGE_SUFFIXES):
                yield entry.path
