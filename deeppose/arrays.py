"""The files that go from script to script: name, type, shape, values and meaning, checked on save and on load.

Every file is written under a temporary name and renamed when it is whole. Whatever is wrong with one that is read is
told in one line: its path, what is wrong, and the command that makes it.
"""
import contextlib
import hashlib
import json
import math
import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .claims import temporary_path
from .errors import Failure, UserError, reason


@dataclass(frozen=True)
class Array:
    """dtype    "str" = text of any length; several are joined by |
    shape    a letter is a size that the file itself sets, above 0 and the same wherever the letter stands; several
             numbers are a choice
    values   least and greatest number, each one for all or one for each column (the last axis); None = any
    missing  whether NaN may stand for what is not annotated, in both coordinates of a joint
    """
    dtype: str
    shape: tuple
    made_by: str
    meaning: str
    values: tuple | None = None
    missing: bool = False


PREPARE, GENERATE = "python lsp_data.py", "python generate_train_output.py"
FARTHEST = 1e6  # pixels or diameters: no coordinate lies farther out
PLACES = (-FARTHEST, FARTHEST)

ARRAYS = {
    "train_images": Array("uint8|uint16", ("N", "S", "S", (1, 3)), PREPARE,
                          "crop round one person, RGB or of one channel, aspect kept, padded"),
    "train_labels": Array("float32", ("N", "J", 2), PREPARE, "joints in crop pixels; NaN = not annotated",
                          PLACES, True),
    "train_boxes": Array("float32", ("N", 3), PREPARE, "the crop's outer edges in its image: x0, y0, side",
                         ((-FARTHEST, -FARTHEST, 1e-6), FARTHEST)),
    "train_head_sizes": Array("float32", ("N",), PREPARE, "head length in crop pixels; NaN = not annotated",
                              (0, FARTHEST), True),
    "train_split": Array("uint8", ("N",), PREPARE, "0 = train, 1 = validation", (0, 1)),
    "train_output": Array("float32", ("N", "J", 2), GENERATE, "stage-1 predictions in crop pixels", PLACES),
    "deltas": Array("float32", ("J", 40, 2), GENERATE, "40 draws of each joint's error, in person diameters", PLACES),
    "predictions": Array("float32", ("N", "J", 2), "python test_stage1.py", "test predictions in crop pixels", PLACES),
}
ARRAYS |= {name.replace("train", "test"): spec for name, spec in ARRAYS.items()
           if name in ("train_images", "train_labels", "train_boxes", "train_head_sizes")}
PREPARED = tuple(name for name, spec in ARRAYS.items() if spec.made_by == PREPARE)
WHOLE_DIGEST, DIGEST_ROWS = 64 << 20, 64  # bytes up to which all content counts; rows that stand for more

# what broken content raises: numbers, text and JSON; zip files and their members
BROKEN = (ValueError, EOFError, KeyError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)


@contextlib.contextmanager
def whole(path):
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, else remove it. Raises Failure
    where the system refuses to write."""
    path = Path(path)
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        other = error.filename and Path(error.filename) not in (path, temporary)  # which was in the way
        why = reason(error) if other else error.strerror or error
        raise Failure(f"{os.path.abspath(path)} can't be written ({why}); make room there, or name another folder") \
            from None
    finally:
        with contextlib.suppress(OSError):  # a path that can't be written can't be looked at either
            temporary.unlink(missing_ok=True)


def digest(array):
    """Fingerprint of an array's dtype, shape and content: 16 hex characters of a SHA-256.

    Of more than 64 MiB, 64 rows spread evenly stand for the content: milliseconds on a memory map of all images.
    """
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    if array.nbytes > WHOLE_DIGEST:
        array = array[np.unique(np.linspace(0, len(array) - 1, DIGEST_ROWS).astype(int))]
    found.update(np.ascontiguousarray(array))
    return found.hexdigest()[:16]


def digests(folder):
    """Digest of each array of step 1 in a folder, by name, as dataset.json keeps them."""
    return {name: digest(load(Path(folder, f"{name}.npy"), mmap=True)) for name in PREPARED}


def save(path, array, name=None):
    """Write an array as .npy.

    path   file; its stem names the declaration in ARRAYS unless `name` does
    Raises ValueError where dtype or shape break the declaration, Failure where the numbers do.
    """
    spec = _declared(path, name)
    if fault := form_fault(array.dtype, array.shape, spec):
        raise ValueError(f"{_shown(path)} {fault}")
    if fault := value_fault(array, spec):
        raise Failure(f"{_shown(path)} was not written: what it would hold {fault}; make anew what it comes from")
    with whole(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def load(path, name=None, mmap=False, made_by=None):
    """Read an array written by `save`; mmap=True maps it, copy-on-write, instead of reading it.

    made_by  the command that an error names, where it is not the declaration's

    Raises UserError where the file is missing, Failure where it is broken or not as declared.
    """
    spec = _declared(path, name)
    with opened(path, made_by or spec.made_by) as file:
        return read_npy(file, spec, mmap)


@contextlib.contextmanager
def opened(path, made_by):
    """Open a file to read bytes; `with` its reading inside, so that what goes wrong there is told in one line.

    made_by  the command that makes the file
    Raises   UserError where there is none, Failure where it can't be read or the block raises one of BROKEN
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would have us wait for a writer
            raise ValueError("it is no regular file")
        with open(path, "rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{_shown(path)} not found; run: {made_by}") from None
    except OSError as error:
        raise Failure(f"{_shown(path)} can't be read ({error.strerror or error}); see what keeps it, "
                      f"or run again: {made_by}") from None
    except BROKEN as error:
        told = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Failure(f"{_shown(path)} can't be read ({told}); run again: {made_by}") from None


def read_npy(file, spec, mmap=False):
    """Read one .npy to the end of a binary file.

    Raises ValueError, in words, where it is anything but what `spec` declares; nothing is unpickled, and no memory is
    taken before type, shape and the file's size are known to agree.
    """
    if file.read(8) != b"\x93NUMPY\x01\x00":
        raise ValueError("it is no .npy file")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception:  # of any kind: numpy hands the header to Python's own parser
        raise ValueError("its header is broken") from None
    if fault := form_fault(dtype, shape, spec):
        raise ValueError(f"it {fault}")
    if fortran and len(shape) > 1:
        raise ValueError("it is in Fortran's order")
    start, size = file.tell(), file.seek(0, os.SEEK_END)
    needed = math.prod(shape) * dtype.itemsize
    if size - start != needed:
        raise ValueError(f"it has {size - start:,} bytes of numbers, its shape {shape} needs {needed:,}")
    file.seek(start)
    if mmap:
        array = np.memmap(file, dtype, "c", start, shape)
    else:
        array = np.frombuffer(bytearray(file.read()), dtype).reshape(shape)
    if fault := value_fault(array, spec):
        raise ValueError(f"it {fault}")
    return array


def form_fault(dtype, shape, spec):
    """What is wrong with a type and shape, in words; None where they are as declared."""
    sizes = {}
    fits = len(shape) == len(spec.shape) and all(size > 0 and size == sizes.setdefault(want, size)
                                                 if isinstance(want, str) else size in np.atleast_1d(want)
                                                 for size, want in zip(shape, spec.shape))
    if fits and (dtype.kind == "U" if spec.dtype == "str" else dtype in map(np.dtype, spec.dtype.split("|"))):
        return None
    shown = ", ".join(" or ".join(map(str, want)) if isinstance(want, tuple) else str(want) for want in spec.shape)
    return f"is {dtype} {tuple(shape)}, expected {spec.dtype.replace('|', ' or ')} ({shown})"


def value_fault(array, spec):
    """What is wrong with an array's numbers, in words; None where they are as declared."""
    if spec.values is None:
        return None
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
    least, greatest = (np.broadcast_to(limit, array.shape) for limit in spec.values)
    wrong = ~((array >= least) & (array <= greatest) | (missing if spec.missing else False))
    if spec.shape[-1:] == (2,):  # half a joint is none
        wrong |= missing & ~missing[..., ::-1]
    if not wrong.any():
        return None
    first = tuple(map(int, np.argwhere(wrong)[0]))
    return (f"has {wrong.sum():,} of {wrong.size:,} numbers that make no sense, the first {array[first]} at "
            f"{list(first)}, expected {least[first]:g} ... {greatest[first]:g}"
            + (", or NaN in all columns" if spec.missing else ""))


def save_json(path, content):
    """Write a JSON file, one key a line, whole or not at all. NaN becomes null."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load_json(path, made_by):
    """Read a JSON file that holds an object.

    Raises UserError naming the command `made_by` where it is missing, Failure where it is something else.
    """
    with opened(path, made_by) as file:
        try:
            content = json.loads(file.read().decode("utf-8"))
        except ValueError as error:
            raise ValueError(f"it is not valid JSON: {error}") from None
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, expected an object")
        return content


def stage_suffix(stage):
    """What the file names of a stage's output on the training persons carry; stage 1's carry nothing."""
    return "" if stage == 1 else f"_stage{stage}"


def _declared(path, name):
    return ARRAYS[name or Path(path).stem]


def _shown(path):
    return os.path.realpath(path)  # pathlib's resolve stops at links that go round in circles


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
