"""Drawn figures: the same for the same seed and number, in LSP's layout, people with a left and a right."""
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import demo_data
from figures import lsp, scene
from figures.body import body, random_pose
from figures.scene import draw_figure, hidden
from figures.shapes import turn
from deeppose.errors import UserError
from deeppose.metrics import diameters, joint_hits, overall_mean
from deeppose.skeletons import LSP


@pytest.fixture(scope="module")
def figures():
    return [draw_figure(3, number) for number in range(1, 101)]


@pytest.fixture(scope="module")
def joints(figures):
    return np.stack([joints for _, joints in figures])  # (100, 14, 3)


def test_a_figure_depends_on_seed_and_number_only(tmp_path):
    for name, count, seed, workers in (("a", 3, 1, 1), ("again", 3, 1, 1), ("more", 27, 1, 2), ("other", 3, 2, 1)):
        lsp.write(tmp_path / name, count, seed, workers)
    read = {folder.name: {file.name: file.read_bytes() for file in folder.rglob("*.*")}
            for folder in tmp_path.iterdir()}
    assert read["a"] == read["again"] and len(read["a"]) == 4
    for image in ("im0001.jpg", "im0002.jpg", "im0003.jpg"):
        assert read["a"][image] == read["more"][image] != read["other"][image]
    stored = {name: scipy.io.loadmat(tmp_path / name / "joints.mat")["joints"] for name in read}
    assert stored["more"].shape == (3, 14, 27) and stored["more"].dtype == np.float64
    assert np.array_equal(stored["a"], stored["more"][..., :3]) and not np.array_equal(stored["a"], stored["other"])
    assert np.array_equal(stored["a"][..., 1].T, draw_figure(1, 2)[1])


def test_fewer_figures_replace_more(tmp_path):
    for count in (3, 2):
        lsp.write(tmp_path / "drawn", count, seed=0, workers=1)
    assert sorted(file.name for file in (tmp_path / "drawn/images").iterdir()) == ["im0001.jpg", "im0002.jpg"]
    assert [folder.name for folder in tmp_path.iterdir()] == ["drawn"]


@pytest.mark.parametrize("present", ["joints.mat", "images/im0001.jpg"])
def test_photographs_are_not_drawn_over(tmp_path, present):
    kept = tmp_path / "lsp_dataset" / present
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"MATLAB 5.0 MAT-file, Platform: PCWIN")
    with pytest.raises(UserError, match="holds files that demo_data.py did not draw"):
        demo_data.main(["--raw-dir", str(tmp_path), "--figures", "1"])
    assert kept.read_bytes() == b"MATLAB 5.0 MAT-file, Platform: PCWIN"


@pytest.mark.parametrize("flag, value", [("figures", 0), ("seed", -1), ("workers", 62)])
def test_bad_settings(tmp_path, capsys, flag, value):
    with pytest.raises(SystemExit, match="2"):
        demo_data.main(["--raw-dir", str(tmp_path / "new"), f"--{flag}", str(value)])
    assert f"--{flag} is {value}, expected" in capsys.readouterr().err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("dataset", ["lip", "k2hpd"])
def test_a_test_file_without_a_figure_is_refused(tmp_path, dataset):
    with pytest.raises(UserError, match=f"leaves the test file of --dataset {dataset} empty"):
        demo_data.main(["--raw-dir", str(tmp_path / "new"), "--dataset", dataset, "--test-figures", "0"])
    assert not (tmp_path / "new").exists()


def test_the_next_step_is_named_with_its_folder(tmp_path, capsys):
    demo_data.main(["--raw-dir", str(tmp_path / "with space"), "--figures", "1", "--workers", "1"])
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    assert shlex.split(command)[1:] == ["lsp_data.py", "--train-on", "lsp", "--lsp-train-images", "1", "--raw-dir",
                                        str(tmp_path / "with space")]


@pytest.mark.parametrize("step", [1, 2])
def test_a_run_that_is_killed_while_it_replaces_older_figures_hinders_no_other(tmp_path, monkeypatch, step):
    folder, rename, calls = tmp_path / "drawn", Path.rename, []
    lsp.write(folder, 2, seed=0, workers=1)

    def killed(*arguments):
        calls.append(None)
        if len(calls) == step:
            raise KeyboardInterrupt
        return rename(*arguments)
    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        lsp.write(folder, 1, seed=0, workers=1)
    assert not folder.exists() or len(list(folder.rglob("*.jpg"))) == 2
    lsp.write(folder, 1, seed=0, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"] and len(list(folder.rglob("*.jpg"))) == 1


def test_joints_lie_on_the_image_with_a_few_cut_off_or_occluded(figures, joints):
    sizes = np.array([image.size for image, _ in figures])[:, None]
    inside = ((joints[..., :2] >= -0.5) & (joints[..., :2] < sizes - 0.5)).all(2)
    occluded = joints[..., 2]
    assert 0.95 < inside.mean() < 1 and set(np.unique(occluded)) == {0, 1}
    assert 0.03 < occluded[inside].mean() < 0.25 and (occluded[~inside] == 1).all()


def test_sizes_are_those_of_lsp(figures):
    width, height = np.median([image.size for image, _ in figures], axis=0)
    assert 80 < width < 130 and 160 < height < 190


def test_left_and_right_are_the_persons_own():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        rest, _ = body(generator, random_pose(generator))
        for joint in ("shoulder", "hip"):  # who faces the viewer has the left side at the image's right
            assert rest[f"l_{joint}"][0] > rest[f"r_{joint}"][0]
        back = turn("y", 180)
        assert (back @ rest["l_hip"])[0] < (back @ rest["r_hip"])[0]


def test_most_persons_face_the_viewer(joints):
    upright = joints[:, LSP.index("head_top"), 1] < joints[:, LSP.index("r_hip"), 1]
    across = joints[upright, LSP.index("l_shoulder"), 0] - joints[upright, LSP.index("r_shoulder"), 0]
    assert 0.6 < (across > 0).mean() < 0.92  # the others turn their backs


def test_limbs_have_natural_proportions():
    lengths = {}
    for seed in range(30):
        generator = np.random.default_rng(seed)
        rest, _ = body(generator, random_pose(generator))
        for name, ends in LSP.limbs.items():
            first, last = (np.mean([rest[joint] for joint in end], axis=0) for end in ends)
            lengths.setdefault(name, []).append(np.linalg.norm(first - last))
    for limb, length in (("upper_leg", 0.245), ("lower_leg", 0.246), ("upper_arm", 0.186), ("lower_arm", 0.146)):
        for side in "rl":  # in heights, Drillis and Contini (1966)
            assert np.mean(lengths[f"{side}_{limb}"]) == pytest.approx(length, rel=0.05)
        assert np.allclose(lengths[f"r_{limb}"], lengths[f"l_{limb}"])
    assert np.mean(lengths["torso"]) == pytest.approx(0.28, rel=0.08)


def test_what_lies_before_a_joint_hides_it_but_not_its_own_limb():
    joints, cover = np.zeros((14, 3)) + (5.2, 5.4, 0), np.full(14, 9.0)
    painted = np.ones((30, 30), int)  # one quad everywhere
    quads, nothing = np.full((1, 4, 3), 50.0), np.zeros((1, 14), bool)
    own = np.arange(14)[None] == 3
    assert hidden(joints, cover, painted, quads, nothing, 3).all()
    assert np.flatnonzero(~hidden(joints, cover, painted, quads, own, 3)).tolist() == [3]
    assert not hidden(joints, cover, painted, -quads, nothing, 3).any()
    assert not hidden(joints, cover, painted * 0, quads, nothing, 3).any()
    assert hidden(joints - (6, 0, 0), cover, painted * 0, quads, nothing, 3).all()  # left of the image


def test_a_visible_joint_lies_on_the_drawn_person(monkeypatch):
    monkeypatch.setattr(scene, "background", lambda rng, size, scale: np.full((*size[::-1] * scale, 3), 255.0))
    monkeypatch.setattr(scene, "photograph", lambda rng, image: image)
    for number in range(1, 31):
        image, joints = draw_figure(5, number)
        pixels = np.asarray(image)
        for x, y, _ in joints[joints[:, 2] == 0][:-1]:  # the top of the head is the rim of the figure
            assert (pixels[int(y + 0.5), int(x + 0.5)] < 255).any()


def test_a_constant_mean_pose_scores_badly(figures, joints):
    sizes = np.array([image.size for image, _ in figures])
    truth = (joints[..., :2] - sizes[:, None] / 2) / sizes.max(1)[:, None, None]
    mean = np.broadcast_to(truth.mean(0), truth.shape)
    assert overall_mean(joint_hits(mean, truth, diameters(truth, LSP), 0.2)) < 0.32


def test_figures_are_those_of_before():
    image, joints = draw_figure(0, 7)
    assert image.size == (74, 192)
    assert joints[[0, 5, 11, 13]].round(1).tolist() == [[35.5, 174.8, 0], [47.4, 172.1, 0], [43.9, 101.7, 0],
                                                        [30.4, 19.3, 0]]
    grey = np.asarray(image.resize((3, 4), Image.Resampling.BOX)).mean(2)  # to 2: the last digits are a platform's
    assert np.abs(grey - [[162, 155, 154], [158, 170, 155], [165, 177, 154], [166, 158, 161]]).max() < 2
