"""The measurements of LSP's labels, on differences and pictures whose answers are known."""
import argparse
import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeppose.skeletons import LSP

SEARCH = argparse.Namespace(residual=0.25, turn=12.0, likeness=0.9)


@pytest.fixture
def lsp_labels(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    return importlib.import_module("lsp_labels")


def test_a_constant_and_a_slope_are_found_among_errors_with_heavy_tails(lsp_labels):
    generator = np.random.default_rng(0)
    share = generator.uniform(0.2, 1.2, 400)
    away = generator.standard_t(2, (400, 14, 2)) + (0.4, -0.3) + np.outer(share, (-0.5, 0.2))[:, None]
    away[generator.uniform(size=(400, 14)) < 0.2] = np.nan
    factors = np.column_stack([np.ones(400), share])
    found = lsp_labels.located(away, factors, 40, generator)
    for axis, truth in (("x", (0.4, -0.5)), ("y", (-0.3, 0.2))):
        np.testing.assert_allclose(found[axis], truth, atol=0.15)
        assert (np.array(found[axis + "_low"]) < truth).all() and (truth < np.array(found[axis + "_high"])).all()
        width = np.array(found[axis + "_high"]) - found[axis + "_low"]
        assert (0.05 < width).all() and (width < 0.5).all()


def scene(seed):
    """A smooth picture that no other resembles, and joints in it."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC), generator.uniform(60, 180, (14, 2))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_person_is_known_again_however_the_photograph_was_cut(lsp_labels, mirrored):
    people, generator = lsp_labels.People(), np.random.default_rng(1)
    for seed in range(6):
        people.add(*scene(seed))
    image, joints = scene(4)
    image, joints = image.crop((40, 30, 220, 210)).resize((135, 135)), (joints + 0.5 - (40, 30)) * 0.75 - 0.5
    if mirrored:
        image, joints = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), joints[list(LSP.mirror)] * (-1, 1) + (134, 0)
    joints += generator.normal(0, 2, joints.shape)
    joints[[2, 7]] = np.nan
    again = people.add(image, joints)
    same_joints = people.add(scene(99)[0], scene(4)[1])  # another picture, the same shape
    few = np.full((14, 2), np.nan)
    few[:6] = scene(4)[1][:6]
    too_few = people.add(scene(4)[0], few)
    found = people.twins(np.array([again, same_joints, too_few]), np.arange(6), SEARCH)
    assert [pair[:3] for pair in found] == [(again, 4, mirrored)]
    assert 0.9 < found[0][-1] <= 1 and 0 < found[0][3] < 0.2


def test_a_turned_shape_is_another(lsp_labels):
    people = lsp_labels.People()
    people.add(*scene(4))
    joints = (scene(4)[1] - 120) @ [[0.94, 0.34], [-0.34, 0.94]] + 120  # by 20 degrees
    people.add(scene(4)[0], joints)
    pairs = [list(people.alike(np.array([1]), np.array([0]), argparse.Namespace(residual=0.25, turn=turn)))
             for turn in (15.0, 25.0)]
    assert [len(found) for found in pairs] == [0, 1] and pairs[1][0][3] < 0.02
