"""The errors of a stage, fitted and drawn anew."""
import numpy as np
import pytest
import torch

from deeppose.error_model import ErrorModel, ErrorSampler, fit_error_model
from deeppose.errors import UserError

FACTS = {"smallest_diameter": 0.1, "flip_test": False, "fingerprint": "abc", "labels": "def"}


@pytest.fixture
def model():
    random = np.random.default_rng(0)
    truth = random.uniform(0, 90, (400, 14, 2)).astype(np.float32)
    spans = random.uniform(10, 30, 400).astype(np.float32)
    error = random.multivariate_normal([0.2, -0.1], [[0.04, 0.01], [0.01, 0.09]], (400, 14))
    predicted = (truth + error * spans[:, None, None]).astype(np.float32)
    truth[::3, 5] = np.nan
    return fit_error_model(predicted, truth, spans, **FACTS)


def test_fit_finds_the_gaussian_in_diameters(model):
    assert np.allclose(model.mean.mean(0), [0.2, -0.1], atol=0.01)
    assert np.allclose(model.covariance.mean(0), [[0.04, 0.01], [0.01, 0.09]], atol=0.005)
    assert np.isnan(model.residuals[::3, 5]).all() and np.isfinite(np.delete(model.residuals, 5, 1)).all()


def test_it_survives_the_disk(model, tmp_path):
    model.save(tmp_path / "error_model.npz")
    back = ErrorModel.load(tmp_path / "error_model.npz")
    assert back.smallest_diameter == 0.1 and back.flip_test is False and back.fingerprint == "abc"
    assert np.array_equal(back.residuals, model.residuals, equal_nan=True)
    with pytest.raises(UserError, match="not found; run: python generate_train_output.py"):
        ErrorModel.load(tmp_path / "absent.npz")
    (tmp_path / "broken.npz").write_bytes(b"half")
    with pytest.raises(UserError, match="can't be read"):
        ErrorModel.load(tmp_path / "broken.npz")


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
    deltas = np.random.default_rng(1).normal(size=(14, 40, 2)).astype(np.float32)
    drawn = ErrorSampler(model, "fixed", "cpu", deltas).draw(torch.full((2000,), 3), torch.Generator().manual_seed(0))
    assert {tuple(d) for d in drawn.numpy()} == {tuple(d) for d in deltas[3]}


def test_too_few_annotations_are_said():
    truth = np.zeros((10, 14, 2), np.float32)
    truth[:8, 2] = np.nan
    with pytest.raises(UserError, match=r"joints \[2\] .* fewer than three"):
        fit_error_model(truth, truth, np.ones(10), **FACTS)
