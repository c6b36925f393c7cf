"""Files between the scripts: checked, and whole or not there."""
import json

import numpy as np
import pytest

from deeppose import arrays
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
