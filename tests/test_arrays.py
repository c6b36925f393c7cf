"""Files between the scripts: checked, and whole or not there."""
import io
import json
import os
import pickle
import re
import struct

import numpy as np
import pytest

from deeppose import arrays
from deeppose.claims import temporary_path
from deeppose.errors import Failure, UserError

LABELS = np.random.default_rng(0).uniform(0, 90, (3, 14, 2)).astype(np.float32)


def npy(array, **keywords):
    file = io.BytesIO()
    np.save(file, array, **keywords)
    return file.getvalue()


def with_header(text, numbers=bytes(LABELS.nbytes)):
    """A .npy whose header is any text."""
    text = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + numbers


def header(shape=(3, 14, 2), descr="<f4", fortran=False):
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def changed(array, value, *place):
    array = array.copy()
    array[place] = value
    return npy(array)


class Code:
    """What a pickle would run."""
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_what_is_saved_comes_back(tmp_path):
    labels = np.random.default_rng(0).normal(size=(3, 14, 2)).astype(np.float32)
    arrays.save(tmp_path / "train_labels.npy", labels)
    assert np.array_equal(arrays.load(tmp_path / "train_labels.npy"), labels)
    assert [p.name for p in tmp_path.iterdir()] == ["train_labels.npy"]


def test_wrong_type_or_shape_is_refused_on_save_and_load(tmp_path):
    with pytest.raises(ValueError, match=r"float64 .* expected float32 \(N, J, 2\)"):
        arrays.save(tmp_path / "train_labels.npy", np.zeros((3, 14, 2)))
    assert not list(tmp_path.iterdir())
    np.save(tmp_path / "deltas.npy", np.zeros((14, 39, 2), np.float32))
    with pytest.raises(UserError, match="expected float32 .* generate_train_output"):
        arrays.load(tmp_path / "deltas.npy")


def test_numbers_that_make_no_sense_are_not_saved(tmp_path):
    predicted = LABELS.copy()
    predicted[1, 2] = np.nan
    with pytest.raises(Failure, match=r"train_output.npy was not written: .* 2 of 84 numbers .* nan at \[1, 2, 0\]"):
        arrays.save(tmp_path / "train_output.npy", predicted)
    assert not list(tmp_path.iterdir())
    arrays.save(tmp_path / "train_labels.npy", predicted)  # there it means: not annotated


def zipped():
    file = io.BytesIO()
    np.savez(file, train_labels=LABELS)
    return file.getvalue()


GOOD = npy(LABELS)
SPLIT, HEADS, BOXES = np.zeros(3, np.uint8), np.ones(3, np.float32), np.ones((3, 3), np.float32)
BAD_LABELS = {
    "empty": b"", "text": b"x,y\n1,2\n", "one byte": b"\x93", "magic alone": GOOD[:6], "version alone": GOOD[:8],
    "no header": GOOD[:10], "half a header": GOOD[:60], "header alone": GOOD[:128], "half": GOOD[:300],
    "a byte short": GOOD[:-1], "a byte long": GOOD + b"\0", "two in one": GOOD + GOOD, "zeros": bytes(len(GOOD)),
    "noise": np.random.default_rng(1).bytes(500), "another magic": b"\x92" + GOOD[1:],
    "version 9": GOOD[:6] + b"\x09" + GOOD[7:], "version 2, a header of 4 GB": GOOD[:6] + b"\2\0\xff\xff\xff\xff",
    "header longer than the file": GOOD[:8] + b"\xff\xff" + GOOD[10:],
    "header without end": with_header("{'descr': '<f4', "), "header is no dictionary": with_header("[1, 2]"),
    "header is code": with_header("__import__('os').mkdir('ran')"), "header of brackets": with_header("(" * 9000),
    "header of minus signs": with_header("-" * 9000 + "1"), "header with a key more": with_header(
        header()[:-1] + "'more': 1}"), "header with a key less": with_header("{'descr': '<f4', 'shape': (3, 14, 2)}"),
    "no such type": with_header(header(descr="<q9")), "type is a number": with_header(
        "{'descr': 5, 'fortran_order': False, 'shape': (3, 14, 2), }"),
    "shape is a text": with_header(header("'abc'")), "shape of floats": with_header(header((3.0, 14, 2))),
    "negative shape": with_header(header((-3, 14, 2))), "shape of minus signs": with_header(header((3, -14, -2))),
    "terabytes": with_header(header((10 ** 11, 14, 2))), "more than can be counted": with_header(
        header((10 ** 30, 14, 2))), "nobody": with_header(header((0, 14, 2)), b""), "no joint": with_header(
        header((3, 0, 2)), b""),
    "npz": zipped(), "pickle": pickle.dumps(LABELS), "hostile pickle": pickle.dumps(Code()),
    "objects": npy(np.array([Code(), None], object), allow_pickle=True),
    "objects of the right shape": npy(np.full((3, 14, 2), Code(), object), allow_pickle=True),
    "big-endian": npy(LABELS.astype(">f4")), "Fortran's order": npy(np.asfortranarray(LABELS)),
    "float64": npy(LABELS.astype(np.float64)), "float16": npy(LABELS.astype(np.float16)),
    "integers": npy(LABELS.astype(np.int32)), "complex": npy(LABELS.astype(np.complex64)),
    "texts": npy(np.full((3, 14, 2), "1.5")), "dates": npy(np.full((3, 14, 2), "2020-01-01", "M8[D]")),
    "records": npy(np.zeros((3, 14), [("x", "<f4"), ("y", "<f4")])), "a number": npy(np.float32(1)),
    "one dimension": npy(LABELS.ravel()), "four dimensions": npy(LABELS[None]), "three columns": npy(
        np.zeros((3, 14, 3), np.float32)), "turned": npy(LABELS.transpose(0, 2, 1).copy()),
    "infinite": changed(LABELS, np.inf, 1, 2, 0), "minus infinity": changed(LABELS, -np.inf, 0, 0),
    "enormous": changed(LABELS, 2e6, 2, 13, 1), "far to the left": changed(LABELS, -1e30, 2, 13, 1),
    "half a joint": changed(LABELS, np.nan, 2, 5, 0), "the other half": changed(LABELS, np.nan, 2, 5, 1),
}
BAD_OTHERS = {
    "train_split": {"another side": changed(SPLIT, 2, 1), "side 255": changed(SPLIT, 255, 0), "boolean": npy(SPLIT > 0),
                    "int64": npy(SPLIT.astype(int)), "a table": npy(SPLIT[:, None])},
    "test_head_sizes": {"negative": changed(HEADS, -1, 2), "infinite": changed(HEADS, np.inf, 2)},
    "train_boxes": {"no side": changed(BOXES, 0, 1, 2), "negative side": changed(BOXES, -5, 1, 2),
                    "no number": changed(BOXES, np.nan, 0, 0), "infinite": changed(BOXES, np.inf, 0, 1),
                    "corners": npy(np.ones((3, 4), np.float32))},
    "train_output": {"not a number": changed(LABELS, np.nan, 1, 1), "infinite": changed(LABELS, np.inf, 1, 1, 1)},
    "deltas": {"another number of draws": npy(np.zeros((14, 39, 2), np.float32)),
               "not a number": changed(np.zeros((14, 40, 2), np.float32), np.nan, 3)},
    "test_images": {"grey": npy(np.zeros((3, 8, 8), np.uint8)), "with alpha": npy(np.zeros((3, 8, 8, 4), np.uint8)),
                    "oblong": npy(np.zeros((3, 8, 9, 3), np.uint8)), "floats": npy(np.zeros((3, 8, 8, 3), np.float32)),
                    "terabytes": with_header(header((10 ** 8, 256, 256, 3), "|u1")), "nobody": with_header(
                        header((0, 8, 8, 3), "|u1"), b"")},
}
BAD = [("train_labels", *fault) for fault in BAD_LABELS.items()]
BAD += [(name, *fault) for name, faults in BAD_OTHERS.items() for fault in faults.items()]


@pytest.mark.parametrize("name, content", [(name, content) for name, _, content in BAD],
                         ids=[f"{name}: {fault}" for name, fault, _ in BAD])
def test_a_bad_array_is_told_in_a_line(name, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"{name}.npy"
    path.write_bytes(content)
    for mmap in (False, True):
        with pytest.raises(Failure) as told:
            arrays.load(path, mmap=mmap)
        assert re.fullmatch(rf"\S+/{name}\.npy can't be read \(its? .{{5,250}}\); run again: "
                            rf"{arrays.ARRAYS[name].made_by}", str(told.value))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_file_is_told_in_a_line_and_never_waited_for(tmp_path):
    (tmp_path / "train_split.npy").mkdir()
    (tmp_path / "a file").write_bytes(b"")
    (tmp_path / "deltas.npy").symlink_to(tmp_path / "gone.npy")
    (tmp_path / "train_output.npy").symlink_to(tmp_path / "train_output.npy")
    faults = [("train_split.npy", Failure, "no regular file"), ("train_images.npy", UserError, "not found"),
              ("a file/train_images.npy", UserError, "not found"), ("nowhere/train_images.npy", UserError, "not found"),
              ("deltas.npy", UserError, "gone.npy not found"), ("train_output.npy", Failure, "symbolic links")]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "train_labels.npy")
        faults.append(("train_labels.npy", Failure, "no regular file"))
    for name, kind, words in faults:
        with pytest.raises(UserError, match=words) as told:
            arrays.load(tmp_path / name, mmap=True)
        assert type(told.value) is kind and "\n" not in str(told.value) and "; " in str(told.value)
        assert re.search("run(?: again)?: python (lsp_data|generate_train_output).py$", str(told.value))


def test_an_error_names_the_command_that_makes_this_stages_file(tmp_path):
    with pytest.raises(UserError, match="train_output_stage2.npy not found; run: step 4 --stage 2$"):
        arrays.load(tmp_path / "train_output_stage2.npy", "train_output", made_by="step 4 --stage 2")
    np.save(tmp_path / "train_output_stage2.npy", LABELS.astype(np.float64))
    with pytest.raises(Failure, match="train_output_stage2.npy can't be read .* run again: step 4 --stage 2$"):
        arrays.load(tmp_path / "train_output_stage2.npy", "train_output", made_by="step 4 --stage 2")


def test_a_mapped_array_is_read_as_needed_and_can_be_changed_in_memory_alone(tmp_path):
    path = tmp_path / "test_images.npy"
    arrays.save(path, np.arange(3 * 64 * 3, dtype=np.uint8).reshape(1, 8, 24, 3)[:, :, :8].copy())
    images = arrays.load(path, mmap=True)
    assert isinstance(images, np.memmap) and np.array_equal(images, np.load(path))
    images[:] = 7
    assert not (arrays.load(path) == 7).all()


BAD_JSON = {
    "empty": b"", "half": b'{"a": 1', "a list": b"[1, 2]", "a number": b"7", "null": b"null", "a text": b'"x"',
    "no UTF-8": b'{"a": "\xff"}', "UTF-16": '{"a": 1}'.encode("utf-16"), "two in one": b'{"a": 1}{"b": 2}',
    "Python's": b"{'a': 1}", "nested": b'{"a": ' + b"[" * 100000 + b"]" * 100000 + b"}", "nested objects":
    b'{"a":' * 100000, "an endless number": b'{"a": ' + b"9" * 5000 + b"}", "zeros": bytes(100), "a picture":
    b"\x89PNG\r\n\x1a\n", "a comment": b'{"a": 1} // one',
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_told_in_a_line(content, tmp_path):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(Failure) as told:
        arrays.load_json(tmp_path / "dataset.json", arrays.PREPARE)
    assert re.fullmatch(r"\S+/dataset\.json can't be read \(its? .{5,250}\); run again: python lsp_data.py",
                        str(told.value))


def test_json_that_is_missing_or_no_file(tmp_path):
    with pytest.raises(UserError, match="dataset.json not found; run: python lsp_data.py"):
        arrays.load_json(tmp_path / "dataset.json", arrays.PREPARE)
    (tmp_path / "dataset.json").mkdir()
    with pytest.raises(Failure, match="dataset.json can't be read .* run again: python lsp_data.py"):
        arrays.load_json(tmp_path / "dataset.json", arrays.PREPARE)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.json"
    arrays.save_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), arrays.whole(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_json_takes_numpy_and_writes_nan_as_null(tmp_path):
    arrays.save_json(tmp_path / "x.json", {"n": np.float32(0.5), "nan": np.nan, "list": np.arange(2), "path": tmp_path})
    assert arrays.load_json(tmp_path / "x.json", "x") == {"n": 0.5, "nan": None, "list": [0, 1], "path": str(tmp_path)}


def test_a_digest_tells_type_shape_content_and_order():
    numbers = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    others = [numbers.astype(np.float64), numbers.reshape(2, 3, 2), numbers[::-1], numbers + 1, numbers[:2],
              np.where(numbers == 5, np.nan, numbers).astype(np.float32)]
    digests = [arrays.digest(array) for array in (numbers, *others)]
    assert len(set(digests)) == len(digests) and all(re.fullmatch("[0-9a-f]{16}", found) for found in digests)
    assert arrays.digest(np.asfortranarray(numbers)) == arrays.digest(numbers[::-1][::-1]) == digests[0]
    assert re.fullmatch("[0-9a-f]{16}", arrays.digest(np.zeros((0, 2), np.float32)))


def test_a_digest_of_many_images_reads_a_few_rows(monkeypatch):
    monkeypatch.setattr(arrays, "WHOLE_DIGEST", 1000)
    images = np.random.default_rng(0).integers(0, 256, (1000, 4, 4, 3), np.uint8)
    assert arrays.digest(images) == arrays.digest(images.copy())
    assert arrays.digest(images) != arrays.digest(images[:-1])
    for row, tells in ((0, True), (1, False), (999, True)):
        changed = images.copy()
        changed[row] ^= 1
        assert (arrays.digest(changed) != arrays.digest(images)) == tells


def test_a_dead_runs_temporary_file_is_known_as_such(tmp_path):
    with arrays.whole(tmp_path / "deltas.npy") as temporary:
        assert temporary == temporary_path(tmp_path / "deltas.npy") != tmp_path / "deltas.npy"
        temporary.write_bytes(b"x")


def test_the_digests_of_a_folder_are_those_of_step_1s_nine_arrays(tmp_path):
    made = {"images": np.zeros((3, 8, 8, 3), np.uint8), "labels": LABELS, "boxes": BOXES, "head_sizes": HEADS}
    made = {f"{split}_{name}": array for split in ("train", "test") for name, array in made.items()}
    made["train_split"] = SPLIT
    for name, array in made.items():
        arrays.save(tmp_path / f"{name}.npy", array)
    assert arrays.digests(tmp_path) == {name: arrays.digest(array) for name, array in made.items()}
