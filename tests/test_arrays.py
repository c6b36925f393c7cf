"""Files between the scripts: checked, and whole or not there."""
import json
import re

import numpy as np
import pytest

from deeppose import arrays
from deeppose.claims import temporary_path
from deeppose.errors import UserError


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


def test_missing_and_broken_files_name_the_command(tmp_path):
    with pytest.raises(UserError, match="train_images.npy not found; run: python lsp_data.py"):
        arrays.load(tmp_path / "train_images.npy")
    (tmp_path / "train_images.npy").write_bytes(b"half")
    with pytest.raises(UserError, match="can't be read .* run again: python lsp_data.py"):
        arrays.load(tmp_path / "train_images.npy", mmap=True)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
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
