"""What lies in the folders of a trial: compared by hash, told whole from half, and put there to be in the way."""
import hashlib
import json
import os
import shutil
import socket
import stat
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def copy_of(folder, place):
    """A prepared folder again, by hard links; its subfolders are there even where they are empty."""
    return Path(shutil.copytree(folder, place, copy_function=os.link, symlinks=True))


def contents(folder):
    """What lies in a folder: relative name -> SHA-256 of a file, target of a link, or kind of anything else."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        kind = path.lstat().st_mode
        name = path.relative_to(folder).as_posix()
        if stat.S_ISLNK(kind):
            found[name] = f"link to {os.readlink(path)}"
        elif stat.S_ISREG(kind):
            found[name] = sha256(path)
        elif not stat.S_ISDIR(kind):
            found[name] = f"kind {stat.S_IFMT(kind):o}"
    return found


KNOWN = {}  # a file that is linked into a thousand folders is read once, unless it is written to


def sha256(path):
    about = path.stat()
    key = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns if about.st_nlink < 2 else 0
    if key not in KNOWN:
        KNOWN[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return KNOWN[key]


def is_whole(path):
    """Whether a file under its final name can be read to its end."""
    try:
        if path.suffix == ".npy":
            np.load(path)
        elif path.suffix == ".npz":
            with np.load(path) as file:
                [file[name] for name in file.files]
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".csv":
            return path.read_bytes().endswith(b"\n")
    except Exception:
        return False
    return True


def results(folder):
    """What a step computed, told apart bit for bit: arrays and networks -> SHA-256 of their numbers."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix == ".npy":
            found[path.name] = sha256(path)
        elif path.suffix == ".npz":
            with np.load(path) as file:
                found[path.name] = _digest((name, file[name]) for name in sorted(file.files))
        elif path.suffix == ".pt":
            state = torch.load(path, map_location="cpu", weights_only=True)
            for part in ("weights", "model", "average", "best_weights"):
                if state.get(part):
                    found[f"{path.name} {part}"] = _digest((name, np.asarray(value)) for name, value
                                                           in state[part].items())
            found[f"{path.name} losses"] = str([row["loss"] for row in state["history"]])
    return found


def _digest(named):
    digest = hashlib.sha256()
    for name, array in named:
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def remove(path):
    """A folder and whatever a case left in it, folders without permissions as well."""
    if not os.path.lexists(path):
        return
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path)


def put(path, content):
    """Replace a file, which may be linked elsewhere, by bytes."""
    clear(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def clear(path):
    if os.path.lexists(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def put_fifo(path):
    clear(path)
    os.mkfifo(path)


def put_socket(path):
    clear(path)
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has 107 characters at most
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def put_link(target):
    def make(path):
        clear(path)
        path.symlink_to(path.name if target is None else target)
    return make


def put_folder(path):
    clear(path)
    path.mkdir()
    (path / "something").write_text("of the user's\n")


# what may lie where a file should be
NO_FILES = {"a folder": put_folder, "a FIFO": put_fifo, "a socket": put_socket, "a dangling link": put_link("nowhere"),
            "a link to itself": put_link(None), "a link to /dev/zero": put_link("/dev/zero"),
            "a link to /dev/null": put_link("/dev/null")}


def is_temporary(name):
    return name.endswith((".part", ".lock"))
