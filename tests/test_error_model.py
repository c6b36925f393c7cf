"""The errors of a stage, fitted and drawn anew."""
import dataclasses
import io
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch

from deeppose.arrays import digest
from deeppose.error_model import FIELDS, ErrorModel, ErrorSampler, check_belongs, fit_error_model
from deeppose.errors import Failure, UserError
from deeppose.skeletons import LSP

DELTAS = np.random.default_rng(1).normal(size=(14, 40, 2)).astype(np.float32)
FACTS = {"smallest_diameter": 0.1, "flip_test": False, "fingerprint": "abc", "labels": "def", "split_differs": True,
         "poses": "0" * 16, "deltas": digest(DELTAS)}


@pytest.fixture
def model():
    random = np.random.default_rng(0)
    truth = random.uniform(0, 90, (400, 14, 2)).astype(np.float32)
    spans = random.uniform(10, 30, 400).astype(np.float32)
    error = random.multivariate_normal([0.2, -0.1], [[0.04, 0.01], [0.01, 0.09]], (400, 14))
    predicted = (truth + error * spans[:, None, None]).astype(np.float32)
    truth[::3, 5] = np.nan
    return fit_error_model(predicted, truth, spans, LSP.joints, **FACTS)


def test_fit_finds_the_gaussian_in_diameters(model):
    assert np.allclose(model.mean.mean(0), [0.2, -0.1], atol=0.01)
    assert np.allclose(model.covariance.mean(0), [[0.04, 0.01], [0.01, 0.09]], atol=0.005)
    assert np.isnan(model.residuals[::3, 5]).all() and np.isfinite(np.delete(model.residuals, 5, 1)).all()


def test_it_survives_the_disk(model, tmp_path):
    model.save(tmp_path / "error_model.npz")
    back = ErrorModel.load(tmp_path / "error_model.npz")
    assert {name: getattr(back, name) for name in FACTS} == FACTS and type(back.flip_test) is bool
    for name in ("residuals", "mean", "covariance"):
        assert np.array_equal(getattr(back, name), getattr(model, name), equal_nan=True)
    assert FIELDS.keys() | {"path"} == {field.name for field in dataclasses.fields(ErrorModel)}


@pytest.mark.parametrize("change, kind", [
    ({"poses": ""}, ValueError), ({"deltas": ""}, ValueError), ({"mean": np.zeros((14, 2), np.float32)}, ValueError),
    ({"flip_test": 1}, ValueError), ({"smallest_diameter": 0.0}, Failure), ({"smallest_diameter": np.nan}, Failure),
    ({"mean": np.full((14, 2), np.inf)}, Failure), ({"residuals": np.full((9, 14, 2), np.nan, np.float32)}, Failure),
])
def test_one_that_makes_no_sense_is_not_saved(change, kind, model, tmp_path):
    with pytest.raises(kind, match=f"{'|'.join(change)}|residuals|digests"):
        dataclasses.replace(model, **change).save(tmp_path / "error_model.npz")
    assert not list(tmp_path.iterdir())


class Code:
    """What a pickle would run."""
    def __reduce__(self):
        return os.mkdir, ("ran",)


def zipped(*, packed=False, **content):
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **content)
    return file.getvalue()


def small():
    """A whole error model of three persons and two joints."""
    residuals = np.array([[[0, 0], [1, 2]], [[1, 0], [2, 2]], [[0, 1], [np.nan, np.nan]]], np.float32)
    return {"residuals": residuals, "mean": np.zeros((2, 2)), "covariance": np.tile(np.eye(2), (2, 1, 1)), **FACTS}


def having(**changes):
    return zipped(**small() | changes)


def lacking(*names):
    return zipped(**{name: value for name, value in small().items() if name not in names})


def flipped(place):
    """A bit of a member's numbers turned: the zip's own sum tells."""
    content = bytearray(having())
    content[place] ^= 1
    return bytes(content)


def encrypted():
    """The first member marked as encrypted, in its own header and in the directory."""
    content = bytearray(having())
    for place in (6, content.index(b"PK\1\2") + 8):
        content[place] |= 1
    return bytes(content)


def endless():
    """A member that claims more than is there."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in small().items():
            member = io.BytesIO()
            np.save(member, value)
            if name == "residuals":
                member = io.BytesIO(member.getvalue().replace(b"(3, 2, 2)", b"(3999999999999, 2, 2)"))
            archive.writestr(f"{name}.npy", member.getvalue())
    return file.getvalue()


GOOD = having()
BAD = {
    "empty": b"", "text": b"mean 0\n", "a byte": b"P", "magic alone": GOOD[:4], "half": GOOD[:len(GOOD) // 2],
    "a byte short": GOOD[:-1], "end alone": GOOD[-22:], "beginning lost": GOOD[100:], "zeros": bytes(500),
    "noise": np.random.default_rng(0).bytes(3000), "pickle": pickle.dumps(small()), "hostile": pickle.dumps(Code()),
    "an array": b"\x93NUMPY\x01\x00", "an empty zip": zipped(), "another npz": zipped(x=np.zeros(3)),
    "a bit turned": flipped(200), "packed": zipped(packed=True, **small()), "endless": endless(),
    "encrypted": encrypted(),
    "hostile objects": having(mean=np.array([Code()], object)), "no mean": lacking("mean"),
    "no residuals": lacking("residuals"), "no labels": lacking("labels"), "no number": lacking("smallest_diameter"),
    "float64 residuals": having(residuals=small()["residuals"].astype(float)),
    "flat residuals": having(residuals=small()["residuals"][0]), "nobody": having(residuals=np.zeros((0, 2, 2), "f4")),
    "three joints": having(residuals=np.zeros((3, 3, 2), np.float32)), "mean of three": having(mean=np.zeros((3, 2))),
    "infinite residual": having(residuals=np.full((3, 2, 2), np.inf, np.float32)), "integer mean": having(
        mean=np.zeros((2, 2), int)), "mean not a number": having(mean=np.full((2, 2), np.nan)),
    "joint without residuals": having(residuals=small()["residuals"] * np.float32([[1], [np.nan]])),
    "half a residual": having(residuals=small()["residuals"] * np.float32([1, np.nan])),
    "covariance of one": having(covariance=np.eye(2)), "covariance not a number": having(
        covariance=np.full((2, 2, 2), np.nan)),
    "covariance askew": having(covariance=np.tile([[1, 2], [3, 4.0]], (2, 1, 1))),
    "negative variance": having(covariance=np.tile(-np.eye(2), (2, 1, 1))), "no size": having(smallest_diameter=0.0),
    "negative size": having(smallest_diameter=-0.1), "infinite size": having(smallest_diameter=np.inf),
    "sizes": having(smallest_diameter=np.ones(3)), "integer size": having(smallest_diameter=1),
    "flip test is a number": having(flip_test=1), "flip test is a text": having(flip_test="yes"),
    "labels are a number": having(labels=7), "labels are bytes": having(labels=b"abc"), "two fingerprints": having(
        fingerprint=["a", "b"]), "split is a text": having(split_differs="no"), "poses are a number": having(poses=0.5),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_bad_file_is_told_in_a_line(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "error_model.npz").write_bytes(content)
    with pytest.raises(Failure) as told:
        ErrorModel.load(tmp_path / "error_model.npz", "step 4")
    assert re.fullmatch(r"\S+/error_model\.npz can't be read \(.{5,250}\); run again: step 4", str(told.value))
    assert not (tmp_path / "ran").exists()


def test_a_good_file_of_those_is_read(tmp_path):
    (tmp_path / "error_model.npz").write_bytes(GOOD)
    assert ErrorModel.load(tmp_path / "error_model.npz").residuals.shape == (3, 2, 2)


def test_missing_and_older_files_name_the_command(tmp_path):
    with pytest.raises(UserError, match="absent.npz not found; run: python generate_train_output.py"):
        ErrorModel.load(tmp_path / "absent.npz")
    (tmp_path / "error_model.npz").write_bytes(lacking("split_differs", "poses", "deltas"))
    with pytest.raises(UserError, match="error_model.npz was written by an older version; run again: step 4") as told:
        ErrorModel.load(tmp_path / "error_model.npz", "step 4")
    assert told.value.status == 2
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(Failure, match="folder.npz can't be read .* run again: step 4"):
        ErrorModel.load(tmp_path / "folder.npz", "step 4")


def test_files_of_different_runs_are_told_apart(model, tmp_path):
    poses = np.ones((400, 14, 2), np.float32)
    model.poses = digest(poses)
    model.save(tmp_path / "error_model_stage2.npz")
    model = ErrorModel.load(tmp_path / "error_model_stage2.npz")
    check_belongs(model, poses, DELTAS, "def", "step 4")
    for found, file in (((poses + 1, DELTAS, "def"), "train_output_stage2.npy"),
                        ((poses[:-1], DELTAS, "def"), "train_output_stage2.npy"),
                        ((poses, -DELTAS, "def"), "deltas_stage2.npy"),
                        ((poses, DELTAS, "other"), "error_model_stage2.npz")):
        with pytest.raises(UserError, match=f"^{tmp_path / file} .*; run again: step 4$") as told:
            check_belongs(model, *found, "step 4")
        assert told.value.status == 2


def test_residuals_are_drawn_from_the_joints_own(model):
    joints = torch.tensor([5, 6]).repeat_interleave(3000)
    drawn = ErrorSampler(model, "residuals", "cpu").draw(joints, torch.Generator().manual_seed(0)).numpy()
    assert np.isfinite(drawn).all()
    for joint, part in ((5, drawn[:3000]), (6, drawn[3000:])):
        own = {tuple(r) for r in model.residuals[:, joint]}
        assert {tuple(r) for r in part} <= own
        assert len({tuple(r) for r in part}) > 200


def test_gaussian_draws_have_its_moments(model):
    drawn = ErrorSampler(model, "gaussian", "cpu").draw(torch.full((20000,), 3), torch.Generator().manual_seed(0))
    assert np.allclose(drawn.mean(0), model.mean[3], atol=0.01)
    assert np.allclose(np.cov(drawn.T), model.covariance[3], atol=0.01)


def test_fixed_draws_are_the_deltas(model):
    drawn = ErrorSampler(model, "fixed", "cpu", DELTAS).draw(torch.full((2000,), 3), torch.Generator().manual_seed(0))
    assert {tuple(d) for d in drawn.numpy()} == {tuple(d) for d in DELTAS[3]}


def test_too_few_annotations_are_said():
    truth = np.zeros((10, 14, 2), np.float32)
    truth[:8, 2] = np.nan
    with pytest.raises(UserError, match="^r_hip: annotated on fewer than three validation persons"):
        fit_error_model(truth, truth, np.ones(10), LSP.joints, **FACTS)


@pytest.mark.parametrize("pose, size", [(np.nan, 1), (np.inf, 1), (5, 0), (0, 0), (5, np.nan)])
def test_poses_that_are_no_numbers_or_of_no_size_are_told(pose, size):
    truth, predicted, spans = np.zeros((10, 14, 2)), np.zeros((10, 14, 2)), np.ones(10)
    predicted[4, 3], spans[4] = pose, size
    with pytest.raises(Failure, match="poses are not finite, or of no size"):
        fit_error_model(predicted, truth, spans, LSP.joints, **FACTS)
