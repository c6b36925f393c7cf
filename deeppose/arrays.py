"""The files that go from script to script: name, type, shape and meaning of each, checked on save and on load.

Every file is written under a temporary name and renamed when it is whole.
"""
import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .claims import temporary_path
from .errors import UserError


@dataclass(frozen=True)
class Array:
    """dtype and shape of one .npy file; a letter in `shape` is a size that the file itself sets."""
    dtype: str
    shape: tuple
    made_by: str
    meaning: str


PREPARE, GENERATE = "python lsp_data.py", "python generate_train_output.py"

ARRAYS = {
    "train_images": Array("uint8", ("N", "S", "S", 3), PREPARE, "RGB crop round one person, aspect kept, padded"),
    "train_labels": Array("float32", ("N", "J", 2), PREPARE, "joints in crop pixels; NaN = not annotated"),
    "train_boxes": Array("float32", ("N", 3), PREPARE, "the crop's outer edges in its image: x0, y0, side"),
    "train_head_sizes": Array("float32", ("N",), PREPARE, "head length in crop pixels; NaN = not annotated"),
    "train_split": Array("uint8", ("N",), PREPARE, "0 = train, 1 = validation"),
    "train_output": Array("float32", ("N", "J", 2), GENERATE, "stage-1 predictions in crop pixels"),
    "deltas": Array("float32", ("J", 40, 2), GENERATE, "40 draws of each joint's error, in person diameters"),
    "predictions": Array("float32", ("N", "J", 2), "python test_stage1.py", "test predictions in crop pixels"),
}
ARRAYS |= {name.replace("train", "test"): spec for name, spec in ARRAYS.items()
           if name in ("train_images", "train_labels", "train_boxes", "train_head_sizes")}
WHOLE_DIGEST, DIGEST_ROWS = 64 << 20, 64  # bytes up to which all content counts; rows that stand for more


@contextlib.contextmanager
def whole(path):
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
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


def save(path, array, name=None):
    """Write an array as .npy.

    path   file; its stem names the declaration in ARRAYS unless `name` does
    Raises ValueError where dtype or shape break the declaration.
    """
    _check(path, array.dtype, array.shape, _declared(path, name), ValueError)
    with whole(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def load(path, name=None, mmap=False, made_by=None):
    """Read an array written by `save`; mmap=True maps it, copy-on-write, instead of reading it.

    made_by  the command that an error names, where it is not the declaration's

    Raises UserError where the file is missing, broken, or not of its declared dtype and shape.
    """
    spec = _declared(path, name)
    made_by = made_by or spec.made_by
    try:
        array = np.load(path, mmap_mode="c" if mmap else None)
    except FileNotFoundError:
        raise UserError(f"{Path(path).resolve()} not found; run: {made_by}") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{Path(path).resolve()} can't be read ({error}); run again: {made_by}") from None
    _check(path, array.dtype, array.shape, spec, UserError)
    return array


def save_json(path, content):
    """Write a JSON file, one key a line, whole or not at all. NaN becomes null."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load_json(path, made_by):
    """Read a JSON file; raises UserError naming the command `made_by` where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{Path(path).resolve()} not found; run: {made_by}") from None
    except ValueError as error:
        raise UserError(f"{Path(path).resolve()} is not valid JSON ({error}); run again: {made_by}") from None


def stage_suffix(stage):
    """What the file names of a stage's output on the training persons carry; stage 1's carry nothing."""
    return "" if stage == 1 else f"_stage{stage}"


def _declared(path, name):
    return ARRAYS[name or Path(path).stem]


def _check(path, dtype, shape, spec, error):
    fits = len(shape) == len(spec.shape) and all(isinstance(want, str) or size == want
                                                 for size, want in zip(shape, spec.shape))
    if dtype != spec.dtype or not fits:
        want = ", ".join(map(str, spec.shape))
        raise error(f"{Path(path).resolve()} is {dtype} {tuple(shape)}, expected {spec.dtype} ({want}); "
                    f"made by: {spec.made_by}")


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
