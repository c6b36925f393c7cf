"""The raw Leeds Sports Pose data: found in a folder or zip, downloaded where missing, opened, and read.

Layouts, for lsp and lspet (LSP's extension) alike
    lsp_dataset/ or lsp_dataset.zip    images/ and joints.mat, wherever in their tree they lie
    images_1/, joints_1.mat            side by side in the raw folder (lspet: images_2/, joints_2.mat)
    images/, joints.mat                in the raw folder itself (lsp only)
"""
import contextlib
import hashlib
import http.client
import io
import os
import re
import stat
import struct
import sys
import unicodedata
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.io
from tqdm import tqdm

from .claims import claimed
from .errors import Failure, UserError, reason

ADDRESS = "https://sam.johnson.io/research"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LARGEST_FILE = 1 << 26  # bytes of an image file, or of joints.mat unpacked (LSPe's: 3 million); small zips may hold GBs
LONGEST_NAME = 500      # characters; a zip may give 65,535 of them


class Unreadable(Exception):
    """Why an image or another file can't be used; who catches it names the file."""


@dataclass(frozen=True)
class Official:
    """One data set as its authors publish it.

    Both sets' coordinates count from the centre of a larger image's first pixel and were then multiplied by the scale
    of the image that is published. That centre lies scale / 2 from the image's edge, not 1/2, so they come out about
    (1 - scale) / 2 too large. `offset` is what was measured along x on training and validation persons
    (benchmarks/lsp_labels.py); along y the coordinates were made by the same steps.
    """
    title: str
    file: str     # name of the zip
    images: int
    sha256: str   # of the zip
    suffix: str   # of images_<suffix>/ and joints_<suffix>.mat
    shape: tuple  # of joints in joints.mat; None = number of images
    joints_sha256: str  # of joints.mat
    offset: float  # by which its coordinates are too large where pixels' centres count from 0, image pixels, x and y


OFFICIAL = {
    "lsp": Official("LSP", "lsp_dataset.zip", 2000,
                    "a6c9faf96629441cd7ced44c1a814c8157349666b8c96be69dc4ccf5558180cc", "1", (3, 14, None),
                    "ddcfcbe904106bfbf26561c8d11720ca62a11c7a861548064b3bae84cb396b2a", 0.35),
    "lspet": Official("LSPe", "lspet_dataset.zip", 10000,
                      "5ddde9ccf919b23a25aacf8b3fad9411b48d07d12a0e4fec74fe80ac663e4dfc", "2", (14, 3, None),
                      "cc66465117888d9f43aac78c15c4548e37df5022640a193f2002fd084cba13ef", 0.15),
}


@dataclass(frozen=True)
class RawData:
    """path     folder or zip
    members  image number -> the image's name inside `path`
    joints   (N, 14, 2) float64, image pixels, centres at integers; may be infinite; row k belongs to image number
             k + 1; NaN = not annotated
    sha256   of the zip, or of joints.mat in a folder
    offset   joints as published less `joints`, image pixels: the known one of the official joints.mat; 0 of another,
             such as that of the images before they were scaled down
    """
    name: str
    path: Path
    members: dict
    joints: np.ndarray
    sha256: str
    offset: float = 0.0


def find(raw_dir, name, address=ADDRESS):
    """Find a data set in the raw folder, or download it there; read its joints and list its images.

    name     "lsp" or "lspet"
    address  where the official zips can be downloaded
    Returns  RawData
    Raises   UserError where raw_dir is a file; Failure where files are missing, broken or do not belong together, or
             where a download fails
    """
    raw_dir, official = Path(raw_dir), OFFICIAL[name]
    if raw_dir.exists() and not raw_dir.is_dir():
        raise UserError(f"{os.path.realpath(raw_dir)} is no folder; name the one that holds {official.file} "
                        f"with --raw-dir")
    for path in (raw_dir / official.file.removesuffix(".zip"), raw_dir / official.file):
        if path.exists():
            return _read(name, path, _members(path), "images", "joints.mat")
    side_by_side = [("images_" + official.suffix, f"joints_{official.suffix}.mat")]
    for images, joints in side_by_side + [("images", "joints.mat")] * (name == "lsp"):
        if (raw_dir / images).is_dir() or (raw_dir / joints).is_file():
            members = [f"{images}/{member}" for member in _members(raw_dir / images)]
            return _read(name, raw_dir, members + [joints] * (raw_dir / joints).is_file(), images, joints)
    path = download(name, raw_dir, address)
    return _read(name, path, _members(path), "images", "joints.mat")


@contextlib.contextmanager
def opened(path):
    """Open a folder or zip.

    Gives   read(member) -> bytes, which raises Unreadable where the member is no file, broken, encrypted, or larger
            than LARGEST_FILE
    Raises  Failure where a zip is broken
    """
    if Path(path).is_dir():
        yield lambda member: _read_file(Path(path) / member)
        return
    with _zip(path) as archive:
        yield lambda member: _read_member(archive, member)


def in_words(error):
    """One line on an exception that a broken file made a library raise."""
    told = reason(error) if isinstance(error, OSError) else str(error)
    return " ".join(told.split()) or type(error).__name__


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


def _too_large(size):
    return Unreadable(f"{size:,} bytes or more, expected at most {LARGEST_FILE:,}")


def download(name, folder, address=ADDRESS):
    """Download an official zip, resuming an interrupted download; it gets its name when it is whole.

    Returns the zip's path. Raises Failure where the server can't be reached, the connection ends early (the next call
    resumes), or what came is not the whole data set; UserError for a senseless address.
    """
    official = OFFICIAL[name]
    if not re.fullmatch(r"\w+://\S+", address):
        raise UserError(f"{official.title} is not in {os.path.realpath(folder)}, and --download-from is {address!r}: "
                        f"put {official.file} there, or name a web address")
    path, url = Path(folder) / official.file, f"{address.rstrip('/')}/{official.file}"
    part = path.with_name(path.name + ".part")
    place = os.path.realpath(path.parent)
    by_hand = f"fetch {url} by hand and put it into {place}, or name another folder with --raw-dir"
    if name == "lspet":
        by_hand += ", or leave LSPe out with --no-use-lspe"
    print(f"{official.title} is not in {place}; downloading {url}")
    try:
        _fetch(url, part)
        fault = _fault(part, official)
        if fault is None:
            part.replace(path)
            return path
        part.unlink()
    except (OSError, ValueError, http.client.HTTPException) as error:
        kind = UserError if isinstance(error, ValueError) else Failure  # ValueError: no address
        raise kind(f"{official.file} can't be downloaded ({in_words(error).strip('<>')}); run again to resume, "
                   f"or {by_hand}") from None
    raise Failure(f"what {url} sent is not the whole data set ({fault}); run again, or {by_hand}")


def _zip(path):
    if not Path(path).is_file():
        raise Failure(f"{os.path.realpath(path)} is no file; put the zip or its unpacked folder there")
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # a broken zip makes zipfile raise nearly anything
        raise Failure(f"{os.path.realpath(path)} can't be opened as a zip ({in_words(error)}); "
                      f"delete it and run again: python lsp_data.py") from None


def _fetch(url, part):
    """Bring `part` up to the length of the file at `url`."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing lies beyond what is there
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{start}"):
            return
        part.unlink()  # longer than the server's file: another file's beginning
        return _fetch(url, part)
    with response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0  # a server that ignores Range sends the whole file
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (claimed(part.parent, part.stem), open(part, "ab" if start else "wb") as file,
              tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, leave=False,
                   disable=None) as bar):
            while block := response.read(1 << 18):
                file.write(block)
                bar.update(len(block))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")


def _fault(path, official):
    """Why a zip is not the whole data set; None where it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # a broken zip makes zipfile raise nearly anything
        return in_words(error)
    if broken:
        return f"{broken} is damaged"
    members = _members(path)
    images = len(_images(members, "images"))
    if images != official.images or not any(PurePosixPath(member).name == "joints.mat" for member in members):
        return f"it holds {images} images and {official.images} and joints.mat are expected"


def _members(path):
    """Names of the files in a folder or zip, without the shadow files that macOS adds; sorted.

    Raises Failure where a folder or zip can't be read.
    """
    if path.is_dir():
        try:
            names = [Path(file).relative_to(path).as_posix() for file in _walk(path)]
        except OSError as error:
            raise Failure(f"{in_words(error)}; give yourself the right to read it, or name another folder with "
                          f"--raw-dir") from None
    elif os.path.lexists(path):
        with _zip(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    else:
        names = []
    return sorted(name for name in names
                  if "__MACOSX" not in name.split("/") and not PurePosixPath(name).name.startswith("._"))


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


def _images(members, folder):
    """The images among members that lie in a folder of that name."""
    paths = map(PurePosixPath, members)
    return [path for path in paths if path.parent.name == folder and path.suffix.lower() in IMAGE_SUFFIXES]


def _read(name, path, members, images, joints):
    official, where = OFFICIAL[name], os.path.realpath(path)
    tables = [member for member in members if PurePosixPath(member).name == joints]
    if len(tables) != 1:
        raise Failure(f"{where} holds {len(tables)} files named {joints}, expected one; unpack {official.file} again")
    numbered, pictures = {}, _images(members, images)
    for member in (*tables, *map(str, pictures)):
        _check_name(member, where)
    for image in pictures:
        number = re.search(r"(?<![0-9])[0-9]{1,18}$", image.stem)
        if not number:
            raise Failure(f"{where}: {image} has no number in its name, so no joints can be told to be its own; "
                          f"unpack {official.file} again")
        if other := numbered.get(int(number[0])):
            raise Failure(f"{where}: {other} and {image} have the same number; unpack {official.file} again")
        numbered[int(number[0])] = str(image)
    with opened(path) as read:
        try:
            content = read(tables[0])
            table = _joints(content, name)
        except Unreadable as error:
            raise Failure(f"{where}/{tables[0]} can't be used ({error}); unpack {official.file} again") from None
    beyond = [member for number, member in numbered.items() if not 1 <= number <= len(table)]
    if beyond or not numbered:
        example = f", e.g. {beyond[0]} has none" if beyond else ""
        raise Failure(f"{where}: {len(numbered)} images in {images}/, joints for {len(table)} in {joints}{example}; "
                      f"they do not belong together, unpack {official.file} again")
    sha256 = _sha256(path) if path.is_file() else hashlib.sha256(content).hexdigest()
    if path.is_file() and sha256 != official.sha256:
        print(f"warning: {where} is not the {official.title} that this program knows (SHA-256 {sha256}, known "
              f"{official.sha256}); scores may not compare", file=sys.stderr)
    offset = official.offset if hashlib.sha256(content).hexdigest() == official.joints_sha256 else 0.0
    return RawData(name, path, numbered, table - offset, sha256, offset)


def _check_name(member, where):
    """Raise Failure for a file name that leads out of its archive or can't be printed in a line."""
    parts = PurePosixPath(member).parts
    strange = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in member)  # control characters, lone bytes
    if strange or len(member) > LONGEST_NAME or ".." in parts or parts[0] == "/":
        raise Failure(f"{where} holds a file named {ascii(member[:80])}: a path out of it, or no name to work with; "
                      f"rename or remove it")


def _joints(content, name):
    """joints.mat -> (N, 14, 2), NaN = not annotated. The third value of LSP says occluded, LSPe's says annotated."""
    rows, columns, _ = OFFICIAL[name].shape
    try:
        content = _unpacked(content)
        found = [(shape, kind) for title, shape, kind in scipy.io.whosmat(io.BytesIO(content)) if title == "joints"]
    except Unreadable:
        raise
    except Exception as error:  # a broken file makes scipy raise nearly anything
        raise Unreadable(f"no MATLAB file: {in_words(error)}") from None
    if len(found) != 1:
        raise Unreadable(f"it holds {len(found)} variables named joints, expected one")
    (shape, kind), = found
    if len(shape) != 3 or shape[:2] != (rows, columns) or not re.fullmatch("double|single|u?int[0-9]+", kind):
        raise Unreadable(f"joints is {kind} {shape}, expected numbers ({rows}, {columns}, N)")
    try:
        table = scipy.io.loadmat(io.BytesIO(content), variable_names=["joints"])["joints"]
    except Exception as error:  # as above
        raise Unreadable(f"its joints are broken: {in_words(error)}") from None
    if table.shape != tuple(shape) or np.iscomplexobj(table):
        raise Unreadable(f"joints is {table.dtype} {table.shape}, expected numbers ({rows}, {columns}, N)")
    table = table.astype(float).transpose((2, 1, 0) if name == "lsp" else (2, 0, 1))  # -> (N, 14, 3)
    known = ~np.isnan(table).any(2) & ((name == "lsp") | (table[..., 2] == 1))
    return np.where(known[..., None], table[..., :2], np.nan)


def _unpacked(content):
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


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
