"""Bad prepared files: arrays (.npy), the error model (.npz), dataset.json."""
import copy
import json
import struct

import numpy as np
from faults_foreign import as_json, file_cases, npy, npz, putting, rezipped
from faults_raw import zip_bomb
from faults_trial import Case

PREPARE, GENERATE = "python lsp_data.py", "python generate_train_output.py"
READ = (("train_stage1", "train_images"), ("train_stage1", "train_labels"), ("train_stage1", "train_split"),
        ("train_stage1", "train_head_sizes"), ("generate_train_output", "train_labels"),
        ("train_stage2", "train_split"), ("train_stage2", "train_images"), ("test_stage1", "test_images"),
        ("test_stage1", "train_split"), ("test_stage2", "test_labels"), ("test_stage2", "test_head_sizes"),
        ("train_stage2", "train_output"), ("train_stage2", "deltas"))
# finished networks would be skipped without a look at what only training reads
ANEW = {"train_stage2": ["--joints", "neck", "--restart"], "train_stage1": ["--restart"]}


def array_cases(done):
    for step, name in READ:
        file = f"data/{name}.npy"
        array = np.load(done / file)
        good = npy(array)
        more = {"flags": ANEW.get(step, []), "mention": (name,)}
        yield from file_cases(".npy", step, file, good, done, cut=12, **more)
        for what, content in bad_headers(array, good).items():
            yield Case(".npy", f"{name}.npy {what}", step, spoil=putting(file, content), **more)
        for what, content in bad_arrays(array).items():
            yield Case(".npy", f"{name}.npy {what}", step, spoil=putting(file, npy(content)), statuses=(1, 2), **more)
        yield Case(".npy", f"{name}.npy is absent", step, spoil=lambda folder, file=file: (folder / file).unlink(),
                   **more, statuses=(2,))


def bad_headers(array, good):
    """What is wrong -> a .npy's bytes, for any array of the pipeline."""
    shape, kind = str(array.shape).encode(), array.dtype.str.encode()
    length = struct.unpack("<H", good[8:10])[0]
    header, body = good[10:10 + length].strip(), good[10 + length:]

    def headed(text, version=b"\x01\x00", size=None):
        text = text.ljust(length - 1) + b"\n"
        return good[:6] + version + struct.pack("<H", len(text) if size is None else size) + text + body

    def shaped(other):
        return headed(header.replace(shape, other if isinstance(other, bytes) else str(other).encode()))

    return {
        "has another magic": b"\x93NUMPX" + good[6:], "is of version 9": headed(header, b"\x09\x00"),
        "has a header longer than itself": headed(header, size=65000),
        "has a header that is no dictionary": headed(b"[1, 2, 3]"),
        "has a header that calls": headed(b"{'descr': __import__('os').system('true'), 'shape': (1,)}"),
        "has a header without a shape": headed(b"{'descr': '" + kind + b"', 'fortran_order': False, }"),
        "has a header with a key more": headed(header[:-1] + b"'more': 1, }"),
        "has a header nested deeply": good[:8] + struct.pack("<H", 9001) + b"(" * 9000 + b"\n" + body,
        "claims terabytes": shaped(b"(" + b"1000000000, " * array.ndim + b")"),
        "claims a row more": shaped((len(array) + 1, *array.shape[1:])),
        "claims a row less": shaped((len(array) - 1, *array.shape[1:])),
        "claims a negative size": shaped((-1, *array.shape[1:])), "claims a size in words": shaped(b"('a', 'b')"),
        "claims a size with a fraction": shaped((1.5, *array.shape[1:])),
        "has a type that there is not": headed(header.replace(kind, b"<q9")),
        "is of objects": npy(array.astype(object)), "has something after its end": good + bytes(8)}


def bad_arrays(array):
    """What is wrong -> an array, for any array of the pipeline."""
    bad = {
        "is complex": array.astype(np.complex64), "is of text": array.astype(str), "is of truths": array > 0,
        "is of float64": array.astype(float), "is of int64": np.nan_to_num(array).astype(np.int64),
        "is of float16": array.astype(np.float16), "is of records": np.zeros(array.shape, [("x", "f4"), ("y", "f4")]),
        "has a row less": array[:-1], "has a row more": np.concatenate([array, array[:1]]), "has no row": array[:0],
        "has a dimension more": array[..., None], "is a number": array.ravel()[0],
        "has other rows": np.roll(array, 1, 0),
        "is of zeros": np.zeros_like(array), "is of ones": np.ones_like(array), "has its rows reversed": array[::-1]}
    if array.ndim > 1:
        bad |= {"is flat": array.ravel(), "lacks a column": array[..., :-1], "lacks a dimension": array[..., 0],
                "has a column more": np.concatenate([array, array[..., :1]], -1),
                "is turned over": np.ascontiguousarray(array.T), "is in Fortran's order": np.asfortranarray(array)}
    if array.itemsize > 1:
        bad["is big-endian"] = array.astype(array.dtype.newbyteorder(">"))
        for what, value in {"infinite": np.inf, "minus infinite": -np.inf, "1e30": 1e30, "-1e30": -1e30, "NaN": np.nan,
                            "1e9": 1e9}.items():
            for where, place in (("first number", 0), ("last number", -1)):
                bad[f"has {what} for its {where}"] = changed(array, place, value)
            bad[f"is {what} throughout"] = np.full_like(array, value)
    if array.dtype == np.uint8 and array.ndim == 1:
        bad |= {f"holds a {value}": changed(array, 0, value) for value in (2, 7, 255)}
    return bad


def changed(array, place, value):
    spoilt = array.copy()
    spoilt.reshape(-1)[place] = value
    return spoilt


def error_model_cases(done):
    file = "data/error_model.npz"
    good = (done / file).read_bytes()
    more = {"flags": ANEW["train_stage2"], "mention": ("error_model",)}
    step = "train_stage2"
    yield from file_cases(".npz", step, file, good, done, cut=24, **more)
    with np.load(done / file) as opened:
        arrays = {name: opened[name] for name in opened.files}

    def case(what, content, statuses=(1,)):
        return Case(".npz", f"error_model.npz: {what}", step, spoil=putting(file, content), **more, statuses=statuses)

    for name, array in arrays.items():
        yield case(f"no {name}", npz({key: value for key, value in arrays.items() if key != name}),
                   (1, 2))  # so did an older version
        wrong = {"text": np.array("text") if array.dtype.kind != "U" else np.array(5), "of objects": np.array([None]),
                 "in rows more": np.stack([array] * 3), "empty": np.zeros(0, np.float32),
                 "complex": np.array(1j), "records": np.zeros(3, [("x", "f4")])}
        if array.dtype.kind == "f":
            wrong |= {"NaN": np.full_like(array, np.nan), "infinite": np.full_like(array, np.inf),
                      "1e30": np.full_like(array, 1e30)}
        if array.ndim:
            wrong |= {"a number": array.ravel()[0], "of one joint less": array[:, 1:] if name == "residuals"
                      else array[1:]}
        for what, value in wrong.items():
            yield case(f"{name} is {what}", npz(arrays | {name: value}))
        yield case(f"{name} is no array", rezipped(good, lambda members, name=name: members.update(
            {f"{name}.npy": b"text"})))
    for value in (0.0, -1.0):
        yield case(f"smallest_diameter is {value}", npz(arrays | {"smallest_diameter": np.array(value)}))
    yield case("the covariance is not symmetric", npz(arrays | {"covariance": arrays["covariance"]
                                                                + np.array([[0, 1], [0, 0]])}))
    yield case("other residuals", npz(arrays | {"residuals": arrays["residuals"][:, ::-1] + 1e7}))
    yield case("gigabytes of zeros", npz_bomb(good))
    yield Case(".npz", "error_model.npz is absent", step, spoil=lambda folder: (folder / file).unlink(), **more,
               statuses=(2,))


def npz_bomb(good):
    """residuals claims and unpacks to gigabytes."""
    header = npy(np.zeros((1, 14, 2), np.float32))[:128].replace(b"(1, 14, 2), }      ", b"(40000000, 14, 2), }")
    members = {}
    rezipped(good, members.update)
    members["residuals.npy"] = header
    return zip_bomb(members, "residuals.npy", 3 << 30, True)


NEEDED = ("dataset", "skeleton", "crop_size", "context", "digests", "settings")  # by training and by testing


def dataset_cases(done):
    file = "data/dataset.json"
    text = (done / file).read_bytes()
    good = json.loads(text)
    for step, split in (("train_stage1", "train"), ("test_stage1", "test")):
        more = {"flags": ANEW.get(step, []), "mention": ("dataset.json",)}
        if step == "train_stage1":
            yield from file_cases(".json", step, file, text, done, cut=20, longest=len(text.strip()) - 1,
                                  without=("json",), **more)
        broken = {"is UTF-16": text.decode().encode("utf-16"), "has bytes that are no text": b"\xff\xfe{" + text,
                  "is nested a hundred thousand times": b"[" * 10 ** 5 + b"]" * 10 ** 5,
                  "is nested in objects": b'{"a":' * 10 ** 5 + b"1" + b"}" * 10 ** 5,
                  "is a list": as_json([good]), "is a text": b'"text"', "is null": b"null", "is a number": b"5",
                  "lacks a comma": text.replace(b",", b"", 1), "is there twice": text + text}
        for what, content in broken.items():
            yield Case(".json", f"dataset.json {what}", step, spoil=putting(file, content), **more)
        for what, content in bad_datasets(good, split).items():
            # without digests it is an older version's, with others another run's: to be made anew
            yield Case(".json", f"dataset.json: {what}", step, spoil=putting(file, as_json(content)), **more,
                       statuses=(1, 2) if "digest" in what or "digests" not in content else (1,))
        yield Case(".json", f"dataset.json is absent for {step}", step,
                   spoil=lambda folder: (folder / file).unlink(), **more, statuses=(2,))


def bad_datasets(good, split):
    """What is wrong -> the content of a dataset.json."""
    bad = {"nothing": {}, "another object": {"a": [1, 2]}}

    def change(what, *path, value=None, drop=False):
        content = copy.deepcopy(good)
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        if drop:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        bad[what] = content

    for key in (*NEEDED, split) + (("test_duplicates",) if split == "test" else ()):
        if key not in good:
            continue
        change(f"no {key}", key, drop=True)
        for value in (None, [], {}, "text", -1, [None], True):
            if value != good[key] and (key, value) != ("dataset", "text"):  # any name will do
                change(f"{key} is {json.dumps(value)}", key, value=value)
    for value in (0.5, 0, 1e30, float("inf"), "1.5"):
        change(f"context is {value}", "context", value=value)
    for value in (63, 65, 0, 1e30, 64.5, "64"):
        change(f"crop_size is {value}", "crop_size", value=value)
    for value in ("", 5, ["lsp"]):
        change(f"dataset is {value!r}", "dataset", value=value)
    joints = good["skeleton"]["joints"]
    for what, value in {"one less": joints[1:], "one more": [*joints, "tail"], "one twice": [*joints, joints[0]],
                        "others": [f"joint{k}" for k in range(14)], "numbers": list(range(14))}.items():
        change(f"joints are {what}", "skeleton", "joints", value=value)
    for key in good["skeleton"]:
        change(f"no {key} in the skeleton", "skeleton", key, drop=True)
        for value in (None, "text", 5, [[["tail"]]]):
            change(f"the skeleton's {key} is {json.dumps(value)}", "skeleton", key, value=value)
    for key in ("source", "image"):
        rows = good[split][key]
        change(f"no {split}/{key}", split, key, drop=True)
        for what, value in {"one row less": rows[1:], "one row more": [*rows, rows[0]],
                            "numbers": list(range(len(rows))),
                            "nothing": [], "null": None, "text": "lsp", "lists": [[row] for row in rows],
                            "nulls": [None] * len(rows)}.items():
            change(f"{split}/{key} is {what}", split, key, value=value)
    if split == "test":
        pair = {"test_row": 0, "test_image": "a", "train_image": "b", "train_source": "lsp", "distance": 1,
                "mirrored": False}
        for row in (-1, 10, 10 ** 9, "0", None, 0.5, [0]):
            change(f"a duplicate's test_row is {row}", "test_duplicates", value=[pair | {"test_row": row}])
        change("a duplicate without test_row", "test_duplicates", value=[{"distance": 1}])
        change("pixels without channels", "pixels", "channels", drop=True)
    for name in good.get("digests", {}):
        if name.startswith(split) and not name.endswith("boxes"):
            change(f"no digest of {name}", "digests", name, drop=True)
            change(f"another digest of {name}", "digests", name, value="0" * 16)
            change(f"the digest of {name} is a number", "digests", name, value=5)
    return bad
