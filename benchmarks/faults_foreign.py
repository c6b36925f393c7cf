"""Contents that a file should not have: other kinds of file, ends cut off, code in pickles."""
import builtins
import functools
import gzip
import io
import json
import os
import pathlib
import pickle
import shutil
import sqlite3
import subprocess
import tarfile
import zipfile

import faults_folders as folders
import faults_trial as trial
import numpy as np
import scipy.io
import torch
from faults_starts import zip_of


@functools.cache
def foreign(done):
    """Kind -> bytes of a good file of that kind, and of some that are nothing."""
    image = next((done / "raw/lsp_dataset/images").iterdir()).read_bytes()
    png = next((done / "runs").glob("*.png")).read_bytes()
    generator = np.random.default_rng(0)
    return {
        "empty": b"", "one byte": b"\0", "a newline": b"\n", "4 KiB of zeros": bytes(4096),
        "random bytes": generator.bytes(5000), "text": b"this is no data\n" * 20,
        "a web page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "csv": b"x,y\n1,2\n3,4\n",
        "json": b'{"a": [1, 2]}', "npy": npy(np.arange(3.0)), "npz": npz({"a": np.arange(3)}),
        "mat": mat({"other": np.arange(3.0)}), "jpg": image, "png": png, "pt": pt({"a": torch.ones(2)}),
        "zip": zip_of({"readme.txt": b"nothing"}), "gzip": gzip.compress(b"nothing" * 100), "tar": tar(image),
        "pickle": pickle.dumps({"a": 1}), "sqlite": database(), "a Git LFS pointer": LFS,
        "UTF-16 text": "this is no data".encode("utf-16"), "a program": b"\x7fELF" + generator.bytes(2000)}


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def mat(variables, **more):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, **more)
    return file.getvalue()


def pt(content, **more):
    file = io.BytesIO()
    torch.save(content, file, **more)
    return file.getvalue()


def tar(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("images/im0001.jpg")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def database():
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a)")
    return base.serialize()


def lengths(size, count, longest=None):
    """Lengths of a file cut off: the first bytes one by one, then spread, up to `longest` (all but one byte)."""
    longest = size - 1 if longest is None else longest
    early = [1, 2, 4, 5, 6, 8, 10, 16, 64, 100, 128]
    spread = np.linspace(1, longest, max(count - len(early), 2)).astype(int).tolist()
    return sorted({length for length in early + spread if length <= longest})


def file_cases(reader, step, file, content, done, cut=16, longest=None, without=(), **more):
    """What may be wrong with any file: cut off, of another kind, not a file at all.

    file     its name in the folder
    content  good bytes
    cut      how many lengths it is cut to
    without  names of `foreign` and of folders.NO_FILES that would be right there
    """
    name = os.path.basename(file)
    more = {"mention": (name,)} | more
    for length in lengths(len(content), cut, longest):
        yield trial.Case(reader, f"{name} cut off after {length} of {len(content)} bytes", step,
                         spoil=putting(file, lambda length=length: content[:length]), **more)
    for other, instead in foreign(done).items():
        if other not in without:
            yield trial.Case(reader, f"{name} is {other}", step, spoil=putting(file, instead), **more)
    more["statuses"] = (1, 2)  # a name that is there and no file: the user's mistake as well as the data's
    for what, make in folders.NO_FILES.items():
        if what not in without:
            # a link may be told by its target
            yield trial.Case(reader, f"{name} is {what}", step, spoil=making(make, file),
                             **more | {"mention": (*more["mention"], "/nowhere", "/dev/")})
    yield trial.Case(reader, f"{name} may not be read", step, spoil=making(forbid, file),
                     inside=trial.hold_to_permissions, **more)


def putting(file, content):
    """content: bytes, or a function that gives them, where thousands of cases' would fill the memory."""
    return lambda folder: folders.put(folder / file, content() if callable(content) else content)


def making(make, file):
    return lambda folder: make(folder / file)


def forbid(path):
    content = path.read_bytes() if path.exists() else b"content"
    folders.put(path, content)  # permissions are a file's own, not a link's
    path.chmod(0)


class Runs:
    """Pickled, it has whoever loads it call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def code(mark):
    """Name -> an object that, unpickled, leaves the file `mark`."""
    mark = str(mark)
    return {"os.system": Runs(os.system, f"touch '{mark}'"), "exec": Runs(builtins.exec, f"open({mark!r}, 'w')"),
            "eval": Runs(builtins.eval, f"open({mark!r}, 'w')"), "open": Runs(builtins.open, mark, "w"),
            "subprocess": Runs(subprocess.call, ["touch", mark]), "pathlib": Runs(pathlib.Path.touch,
                                                                                  pathlib.Path(mark)),
            "os.mkdir": Runs(os.mkdir, mark), "shutil": Runs(shutil.copy, "/etc/hostname", mark)}


def pickle_cases(scratch, done):
    """Files that would run code when they are unpickled, under each name that some reader might unpickle."""
    mark = scratch / trial.MARK
    networks = [("test_stage1", "checkpoints/stage1.pt", "done", []),
                ("test_stage2", "checkpoints/stage2_neck.pt", "done", []),
                ("train_stage1", "weights.pt", "prepared", ["--weights", "weights.pt"])]
    tables = [("generate_train_output", "data/train_labels.npy"), ("train_stage2", "data/train_output.npy"),
              ("train_stage2", "data/error_model.npz"), ("test_stage1", "data/dataset.json")]
    for name, hostile in code(mark).items():
        forms = {"pt": pt({"weights": hostile}), "old pt": pt({"weights": hostile},
                                                              _use_new_zipfile_serialization=False),
                 "pickle": pickle.dumps(hostile), "text pickle": pickle.dumps(hostile, protocol=0)}
        holder = np.empty(1, object)
        holder[0] = hostile
        for step, file, start, flags in networks:
            for form in ("pt", "old pt", "text pickle"):
                yield trial.Case("pickle", f"{file} as {form} that calls {name}", step, flags,
                                 putting(file, forms[form]), (os.path.basename(file),), start=start)
        for step, file in tables:
            form = npz({"residuals": holder}) if file.endswith("z") else npy(holder)
            yield trial.Case("pickle", f"{file} with an object that calls {name}", step,
                             spoil=putting(file, form), mention=(os.path.basename(file),))
            yield trial.Case("pickle", f"{file} as a pickle that calls {name}", step,
                             spoil=putting(file, forms["pickle"]), mention=(os.path.basename(file),))


def rezipped(content, change):
    """A zip's bytes (also a .pt or .npz) with its members' dictionary changed in place by a function."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    return zip_of(members, zipfile.ZIP_STORED)


def as_json(value):
    return json.dumps(value).encode()
