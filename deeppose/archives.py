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
import sys
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.io
from tqdm import tqdm

from .errors import UserError

ADDRESS = "https://sam.johnson.io/research"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Official:
    """One data set as its authors publish it."""
    title: str
    file: str     # name of the zip
    images: int
    sha256: str   # of the zip
    suffix: str   # of images_<suffix>/ and joints_<suffix>.mat
    shape: tuple  # of joints in joints.mat; None = number of images


OFFICIAL = {
    "lsp": Official("LSP", "lsp_dataset.zip", 2000,
                    "a6c9faf96629441cd7ced44c1a814c8157349666b8c96be69dc4ccf5558180cc", "1", (3, 14, None)),
    "lspet": Official("LSPe", "lspet_dataset.zip", 10000,
                      "5ddde9ccf919b23a25aacf8b3fad9411b48d07d12a0e4fec74fe80ac663e4dfc", "2", (14, 3, None)),
}


@dataclass(frozen=True)
class RawData:
    """path     folder or zip
    members  image number -> the image's name inside `path`
    joints   (N, 14, 2) float64, image pixels as published; row k belongs to image number k + 1; NaN = not annotated
    sha256   of the zip, or of joints.mat in a folder
    """
    name: str
    path: Path
    members: dict
    joints: np.ndarray
    sha256: str


def find(raw_dir, name, address=ADDRESS):
    """Find a data set in the raw folder, or download it there; read its joints and list its images.

    name     "lsp" or "lspet"
    address  where the official zips can be downloaded
    Returns  RawData
    Raises   UserError where files are missing, broken or do not belong together, or where a download fails
    """
    raw_dir, official = Path(raw_dir), OFFICIAL[name]
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
    """Open a folder or zip; gives read(member) -> bytes. Raises UserError where a zip is broken."""
    if Path(path).is_dir():
        yield lambda member: (Path(path) / member).read_bytes()
        return
    with _zip(path) as archive:
        yield archive.read


def download(name, folder, address=ADDRESS):
    """Download an official zip, resuming an interrupted download; it gets its name when it is whole.

    Returns the zip's path. Raises UserError where the server can't be reached, the connection ends early (the next
    call resumes), or what came is not the whole data set.
    """
    official = OFFICIAL[name]
    path, url = Path(folder) / official.file, f"{address.rstrip('/')}/{official.file}"
    part = path.with_name(path.name + ".part")
    by_hand = f"fetch {url} by hand and put it into {path.parent.resolve()}, or name another folder with --raw-dir"
    if name == "lspet":
        by_hand += ", or leave LSPe out with --no-use-lspe"
    print(f"{official.title} is not in {path.parent.resolve()}; downloading {url}")
    try:
        _fetch(url, part)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(f"{official.file} can't be downloaded ({str(error).strip('<>')}); run again to resume, "
                        f"or {by_hand}") from None
    fault = _fault(part, official)
    if fault:
        part.unlink()
        raise UserError(f"what {url} sent is not the whole data set ({fault}); run again, or {by_hand}")
    part.replace(path)
    return path


def _zip(path):
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{Path(path).resolve()} can't be opened as a zip ({error}); "
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
        part.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab" if start else "wb") as file, tqdm(desc=part.stem, total=total, initial=start, unit="B",
                                                               unit_scale=True, leave=False, disable=None) as bar:
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
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        return str(error)
    if broken:
        return f"{broken} is damaged"
    members = _members(path)
    images = len(_images(members, "images"))
    if images != official.images or not any(PurePosixPath(member).name == "joints.mat" for member in members):
        return f"it holds {images} images and {official.images} and joints.mat are expected"


def _members(path):
    """Names of the files in a folder or zip, without the shadow files that macOS adds; sorted."""
    if path.is_dir():
        # not rglob, which passes linked folders by
        names = [Path(folder, file).relative_to(path).as_posix()
                 for folder, _, files in os.walk(path, followlinks=True) for file in files]
    elif path.exists():
        with _zip(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    else:
        names = []
    return sorted(name for name in names
                  if "__MACOSX" not in name.split("/") and not PurePosixPath(name).name.startswith("._"))


def _images(members, folder):
    """The images among members that lie in a folder of that name."""
    paths = map(PurePosixPath, members)
    return [path for path in paths if path.parent.name == folder and path.suffix.lower() in IMAGE_SUFFIXES]


def _read(name, path, members, images, joints):
    official, where = OFFICIAL[name], path.resolve()
    tables = [member for member in members if PurePosixPath(member).name == joints]
    if len(tables) != 1:
        raise UserError(f"{where} holds {len(tables)} files named {joints}, expected one; unpack {official.file} again")
    numbered = {}
    for image in _images(members, images):
        number = re.search(r"\d+$", image.stem)
        if not number:
            raise UserError(f"{where}: {image} has no number in its name, so no joints can be told to be its own")
        other = numbered.setdefault(int(number[0]), str(image))
        if other != str(image):
            raise UserError(f"{where}: {other} and {image} have the same number")
    with opened(path) as read:
        try:
            content = read(tables[0])
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{where}: {tables[0]} can't be read ({error}); unpack {official.file} again") from None
    table = _joints(content, name, f"{where}/{tables[0]}")
    beyond = [member for number, member in numbered.items() if not 1 <= number <= len(table)]
    if beyond or not numbered:
        example = f", e.g. {beyond[0]} has none" if beyond else ""
        raise UserError(f"{where}: {len(numbered)} images in {images}/, joints for {len(table)} in {joints}{example}; "
                        f"they do not belong together")
    sha256 = _sha256(path) if path.is_file() else hashlib.sha256(content).hexdigest()
    if path.is_file() and sha256 != official.sha256:
        print(f"warning: {where} is not the {official.title} that this program knows (SHA-256 {sha256}, known "
              f"{official.sha256}); scores may not compare", file=sys.stderr)
    return RawData(name, path, numbered, table, sha256)


def _joints(content, name, where):
    """joints.mat -> (N, 14, 2), NaN = not annotated. The third value of LSP says occluded, LSPe's says annotated."""
    try:
        table = scipy.io.loadmat(io.BytesIO(content), variable_names=["joints"])["joints"]
    except Exception as error:  # a broken file makes scipy raise nearly anything
        raise UserError(f"{where} can't be read as a MATLAB file with joints "
                        f"({type(error).__name__}: {error})") from None
    shape = OFFICIAL[name].shape
    if table.ndim != 3 or table.shape[:2] != shape[:2] or not np.issubdtype(table.dtype, np.number):
        raise UserError(f"{where}: joints is {table.dtype} {table.shape}, expected numbers ({shape[0]}, {shape[1]}, N)")
    table = table.astype(float).transpose((2, 1, 0) if name == "lsp" else (2, 0, 1))  # -> (N, 14, 3)
    known = np.isfinite(table).all(2) & ((name == "lsp") | (table[..., 2] == 1))
    return np.where(known[..., None], table[..., :2], np.nan)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
