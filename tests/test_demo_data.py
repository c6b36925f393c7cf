"""Drawn figures: reproducible, in LSP's layout, people with a left and a right."""
import numpy as np
import pytest
import scipy.io
from PIL import Image

import demo_data
from deeppose.errors import UserError
from deeppose.metrics import diameters, joint_hits, overall_mean
from deeppose.skeletons import LSP


def test_a_figure_depends_on_seed_and_number_only(tmp_path):
    demo_data.write_figures(tmp_path / "a", 3, seed=1, workers=1)
    demo_data.write_figures(tmp_path / "b", 5, seed=1, workers=2)
    demo_data.write_figures(tmp_path / "c", 3, seed=2, workers=1)
    joints = {name: scipy.io.loadmat(tmp_path / name / "joints.mat")["joints"] for name in "abc"}
    assert joints["a"].shape == (3, 14, 3) and joints["b"].shape == (3, 14, 5)
    assert np.array_equal(joints["a"], joints["b"][:, :, :3]) and not np.array_equal(joints["a"], joints["c"])
    for number in (1, 2, 3):
        same, other = ((tmp_path / name / f"images/im{number:04d}.jpg").read_bytes() for name in "bc")
        assert (tmp_path / f"a/images/im{number:04d}.jpg").read_bytes() == same != other


def test_fewer_figures_replace_more_but_photographs_are_not_touched(tmp_path):
    demo_data.write_figures(tmp_path / "drawn", 3, seed=0, workers=1)
    demo_data.write_figures(tmp_path / "drawn", 2, seed=0, workers=1)
    assert len(list((tmp_path / "drawn/images").iterdir())) == 2
    (tmp_path / "lsp_dataset/images").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "lsp_dataset/images/im0001.jpg")
    with pytest.raises(UserError, match="holds files that demo_data.py did not draw"):
        demo_data.main(["--raw-dir", str(tmp_path), "--figures", "1"])
    assert (tmp_path / "lsp_dataset/images/im0001.jpg").exists()
    with pytest.raises(UserError, match="at least one"):
        demo_data.main(["--raw-dir", str(tmp_path / "new"), "--figures", "0"])


@pytest.fixture(scope="module")
def figures():
    return [demo_data.draw_figure(3, number) for number in range(1, 91)]


def test_joints_lie_on_the_image_with_a_few_cut_off_or_covered(figures):
    inside = np.array([((joints[:, :2] > -0.5) & (joints[:, :2] < np.array(image.size) - 0.5)).all(1)
                       for image, joints in figures])
    covered = np.array([joints[:, 2] for _, joints in figures])
    assert 0.94 < inside.mean() < 1 and set(np.unique(covered)) == {0, 1}
    assert 0.03 < covered.mean() < 0.35 and covered[~inside].all()


def test_sizes_are_those_of_lsp(figures):
    sizes = np.median([image.size for image, _ in figures], axis=0)
    assert 60 < sizes[0] < 130 and 120 < sizes[1] < 190


def test_left_and_right_are_the_persons_own(figures):
    across = np.array([joints[LSP.index("l_shoulder"), 0] - joints[LSP.index("r_shoulder"), 0] for _, joints in figures])
    assert 0.55 < (across > 0).mean() < 0.9  # most face the viewer, some turn their back


def test_limbs_have_natural_proportions(figures):
    joints = np.array([joints[:, :2] for _, joints in figures])

    def longest(a, b):  # the view shortens limbs, never lengthens them
        return np.percentile(np.linalg.norm(joints[:, LSP.index(a)] - joints[:, LSP.index(b)], axis=1), 90)

    thigh, shin = longest("r_hip", "r_knee"), longest("r_knee", "r_ankle")
    upper, lower = longest("l_shoulder", "l_elbow"), longest("l_elbow", "l_wrist")
    assert 0.85 < shin / thigh < 1.1 and 0.7 < lower / upper < 1 and 1.2 < thigh / upper < 1.6


def test_a_constant_mean_pose_scores_badly(figures):
    sides = np.array([max(image.size) for image, _ in figures])[:, None, None]
    middles = np.array([np.array(image.size) / 2 for image, _ in figures])[:, None]
    truth = (np.array([joints[:, :2] for _, joints in figures]) - middles) / sides
    mean = np.broadcast_to(truth.mean(0), truth.shape)
    assert overall_mean(joint_hits(mean, truth, diameters(truth, LSP), 0.2)) < 0.35


def test_what_is_drawn_at_a_visible_joint_stands_out_from_the_corner(figures):
    differences = []
    for image, joints in figures:
        pixels = np.asarray(image, float)
        x, y, covered = joints[LSP.index("r_knee")]
        if not covered:
            differences.append(np.abs(pixels[int(y + 0.5), int(x + 0.5)] - pixels[0, 0]).max())
    assert np.median(differences) > 25
