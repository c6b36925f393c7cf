"""Scores in percent, their table, and the facts that go with a result."""
import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from deeppose import arrays, reports
from deeppose.metrics import joint_hits, limb_hits, standard_error
from deeppose.reports import THRESHOLDS, command_line, git_commit, headlines, provenance, score, table, thresholds_to
from deeppose.skeletons import LSP, Skeleton

METRICS = {"pck@0.2", "pdj", "pckh@0.5", "pcp_strict@0.5", "pcp_relaxed@0.5", "pck_box@0.05", "pck_box@0.1",
           "pck_box@0.2", "pck@0.2_symmetric", "pckh@0.5_symmetric", "pcp_strict@0.5_symmetric",
           "pcp_relaxed@0.5_symmetric", "pck_box@0.1_symmetric"}


def truth_of(count=40, seed=0):
    return np.random.default_rng(seed).uniform(0, 200, (count, 14, 2)).astype(np.float32)


def near(truth, error, seed=1):
    return truth + np.random.default_rng(seed).normal(0, error, truth.shape).astype(np.float32)


def scores_of(error, count=40):
    truth = truth_of(count)
    return score(near(truth, error), truth, np.full(count, 30, np.float32), LSP, box_side=170)


def test_thresholds_of_the_pdj_curve():
    assert THRESHOLDS == (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    assert thresholds_to(0.75) == (*THRESHOLDS, 0.55, 0.6, 0.65, 0.7, 0.75)


def test_every_key_of_a_perfect_score():
    scores = scores_of(0)
    assert scores.keys() == METRICS | {"standard_error", "persons"}
    assert list(scores["pck@0.2"]) == [*LSP.joints, "mean", "mean12"]
    assert list(scores["pckh@0.5"]) == [*LSP.joints, "mean", "total"]
    assert list(scores["pck_box@0.05"]) == list(scores["pck_box@0.1"]) == [*LSP.joints, "mean"]
    parts = ["ankle", "knee", "hip", "wrist", "elbow", "shoulder", "neck", "head_top"]
    assert list(scores["pck@0.2_symmetric"]) == list(scores["pckh@0.5_symmetric"]) == parts
    assert list(scores["pcp_strict@0.5_symmetric"]) == ["torso", "upper_leg", "lower_leg", "upper_arm", "lower_arm",
                                                        "head", "mean6"]
    assert list(scores["pdj"]) == ["0.05", "0.10", "0.15", "0.20", "0.25", "0.30", "0.35", "0.40", "0.45", "0.50"]
    assert list(scores["pcp_strict@0.5"]) == list(scores["pcp_relaxed@0.5"]) == [*LSP.limbs, "mean10", "mean8"]
    assert {rate for metric in METRICS for rate in scores[metric].values()} == {100}
    assert scores["standard_error"] == dict.fromkeys(
        ("pck@0.2", "pck@0.2_mean12", "pckh@0.5", "pckh@0.5_total", "pcp_strict@0.5_mean10", "pcp_strict@0.5_mean8",
         "pcp_strict@0.5_symmetric_mean6", "pcp_relaxed@0.5_mean10", "pcp_relaxed@0.5_mean8",
         "pcp_relaxed@0.5_symmetric_mean6", "pck_box@0.05", "pck_box@0.1", "pck_box@0.2"), 0)
    assert scores["persons"] == 40


def test_scores_by_hand():
    truth = truth_of(4)
    truth[:, LSP.index("l_shoulder")] = 50, 60
    truth[:, LSP.index("r_hip")] = 20, 20  # a diameter of 50: an error of 10 is right at 0.2
    truth[:, LSP.index("neck")], truth[:, LSP.index("head_top")] = (50, 50), (50, 20)
    predicted = truth.copy()
    predicted[0, LSP.index("head_top"), 0] += 10
    predicted[1, LSP.index("head_top"), 0] += 10.01
    predicted[2, LSP.index("head_top"), 0] += 15.01  # beyond half of the head's 30
    scores = score(predicted, truth, [20.0, 20.1, 40, np.nan], LSP)
    assert scores["pck@0.2"]["head_top"] == 50 and scores["pck@0.2"]["neck"] == 100
    assert scores["pck@0.2"]["mean"] == pytest.approx(100 * (13 + 0.5) / 14)
    assert scores["pck@0.2"]["mean12"] == 100  # neither neck nor head top counts
    assert scores["pdj"]["0.20"] == scores["pck@0.2"]["mean"]
    assert scores["pdj"]["0.15"] == pytest.approx(100 * (13 + 0.25) / 14)
    assert scores["pdj"]["0.35"] == 100
    assert scores["pckh@0.5"]["head_top"] == 100  # 10 of 20, 10.01 of 20.1, 15.01 of 40; the fourth does not count
    assert scores["pcp_strict@0.5"]["head"] == 75 and scores["pcp_relaxed@0.5"]["head"] == 100
    assert scores["pcp_strict@0.5"]["mean10"] == 97.5 and scores["pcp_strict@0.5"]["mean8"] == 100
    # the persons' means of ten sticks: 1, 1, 0.9, 1
    assert scores["standard_error"]["pcp_strict@0.5_mean10"] == pytest.approx(100 * 0.05 / 2)


def test_what_is_not_annotated_is_nan_in_scores_null_in_json_and_a_dash_in_the_table(tmp_path):
    truth = truth_of()
    predicted = near(truth, 5)
    truth[:, LSP.index("r_ankle")] = np.nan
    scores = score(predicted, truth, np.full(40, 30.0), LSP)
    assert np.isnan([scores["pck@0.2"]["r_ankle"], scores["pcp_strict@0.5"]["r_lower_leg"],
                     scores["pckh@0.5"]["r_ankle"]]).all()
    assert not np.isnan([scores["pck@0.2"]["mean"], scores["pcp_strict@0.5"]["mean8"],
                         *scores["pcp_strict@0.5_symmetric"].values()]).any()
    arrays.save_json(tmp_path / "scores.json", scores)
    read = json.loads((tmp_path / "scores.json").read_text())
    assert read["pck@0.2"]["r_ankle"] is None
    assert table({"a": read, "b": scores}, [("a", "b")]) == table({"a": scores, "b": scores}, [("a", "b")])
    assert sections(table({"a": read}))["strict PCP@0.5"]["r_lower_leg"] == ["-"]


@pytest.mark.parametrize("truth", [np.zeros((0, 14, 2)), np.full((3, 14, 2), np.nan)], ids=["nobody", "nothing known"])
def test_nobody_to_score_is_nan_in_scores_null_in_json_and_a_dash_in_the_table(truth, tmp_path):
    scores = score(np.zeros_like(truth), truth, np.full(len(truth), np.nan), LSP, box_side=170)
    torso = {"PDJ, PCK of 3 of 3 persons": "their l_shoulder or r_hip is not annotated"} if len(truth) else {}
    assert (scores.pop("persons"), scores.pop("left_out")) == (
        len(truth), torso | {"PCKh": "no person's head size is known"})
    assert {str(rate) for rates in scores.values() for rate in rates.values()} == {"nan"}
    scores["persons"] = len(truth)
    arrays.save_json(tmp_path / "scores.json", scores)
    read = json.loads((tmp_path / "scores.json").read_text())
    for columns in ({"a": scores, "b": scores}, {"a": read, "b": read}):
        shown = sections(table(columns, [("a", "b")]))
        assert {cell for rows in shown.values() for cells in rows.values() for cell in cells} == {"-"}


def left_out_of(text):
    return [line.split(": left out, ") for line in text.splitlines() if ": left out, " in line]


SNAIL = Skeleton(("nose", "tail", "hump"))
HORSE = Skeleton(("nose", "r_hoof", "l_hoof", "tail"), limbs={"r_leg": (("tail",), ("r_hoof",)),
                                                              "l_leg": (("tail",), ("l_hoof",))},
                 pairs=(("r_hoof", "l_hoof"),), unscored=("nose",))


@pytest.mark.parametrize("skeleton, heads, keys, reasons", [
    (SNAIL, np.nan, {"pck_box"}, ["PDJ, PCK", "PCKh", "PCP", "left and right averaged"]),
    (HORSE, np.nan, {"pck_box", "pcp_strict", "pcp_relaxed"}, ["PDJ, PCK", "PCKh", "PCP of arms and legs alone"]),
    (HORSE, 30.0, {"pck_box", "pcp_strict", "pcp_relaxed", "pckh"}, ["PDJ, PCK", "PCP of arms and legs alone"]),
    (LSP, np.nan, {"pck_box", "pcp_strict", "pcp_relaxed", "pck", "pdj"}, ["PCKh"])])
def test_what_a_skeleton_lacks_is_left_out_with_a_word(skeleton, heads, keys, reasons, tmp_path):
    truth = np.random.default_rng(0).uniform(0, 200, (40, len(skeleton.joints), 2))
    scores = score(near(truth, 5), truth, np.full(40, heads), skeleton, box_side=170)
    assert {key.split("@")[0] for key in scores} - {"standard_error", "persons", "left_out"} == keys
    assert list(scores["left_out"]) == reasons
    text = table({"mean pose": scores, "stage 1": scores}, [("mean pose", "stage 1")])
    assert [what for what, _ in left_out_of(text)] == reasons
    shown = sections(text)
    assert ("PCK@0.1 of box" in shown) == (skeleton != LSP)
    assert "nan" not in text and not any("-" in cells for rows in shown.values() for cells in rows.values())
    if skeleton == HORSE:
        assert list(shown["PCK@0.1 of box"]) == ["nose", "r_hoof", "l_hoof", "tail", "mean"]
        assert list(shown["PCK@0.2 of box"]) == ["mean"]
        assert list(scores["pcp_strict@0.5"]) == ["r_leg", "l_leg", "mean2"]
        assert list(scores["pcp_strict@0.5_symmetric"]) == ["leg", "mean1"]
    if skeleton == HORSE and heads == 30:
        assert list(shown["PCKh@0.5"]) == ["nose", "r_hoof", "l_hoof", "tail", "mean", "mean3", "total"]


def test_pck_at_fractions_of_the_box_by_hand():
    truth = np.zeros((4, 3, 2))
    predicted = truth.copy()
    predicted[:, 0, 0] = 5, 10, 20, 20.1  # of a box of 100
    predicted[1, 1] = np.nan
    scores = score(predicted, truth, np.full(4, np.nan), SNAIL, box_side=100)
    assert [scores[f"pck_box@{fraction}"]["nose"] for fraction in (0.05, 0.1, 0.2)] == [25, 50, 75]
    assert scores["pck_box@0.1"]["mean"] == pytest.approx((50 + 75 + 100) / 3)
    each = score(predicted, truth, np.full(4, np.nan), SNAIL, box_side=[100, 100, 100, 101])
    assert each["pck_box@0.2"]["nose"] == 100
    assert score(predicted, truth, np.full(4, np.nan), SNAIL).keys() == {"standard_error", "persons", "left_out"}


def test_headlines_are_of_what_there_is():
    assert list(headlines(scores_of(10))) == ["PCK@0.2", "PDJ@0.1", "PCKh@0.5", "6-part PCP", "10-limb PCP",
                                              "8-limb PCP"]
    truth = np.random.default_rng(0).uniform(0, 200, (40, 4, 2))
    scores = score(near(truth, 9) + [[99, 0], [0, 0], [0, 0], [0, 0]], truth, np.full(40, 30), HORSE, box_side=170)
    found = headlines(scores)
    assert list(found) == ["PCKh@0.5", "PCK@0.1 of box", "1-part PCP", "2-limb PCP"]
    assert found["PCKh@0.5"] == scores["pckh@0.5"]["total"] != scores["pckh@0.5"]["mean"]


def test_results_of_before_are_still_shown():
    """They lack what came later."""
    for path in sorted((reports.PROJECT / "results").glob("lsp_lite*.json")):
        found = json.loads(path.read_text())
        columns = {name: found[name] for name in ("mean pose", "stage 1")}
        shown = sections(table(columns, [("mean pose", "stage 1")]))
        assert list(shown) == ["strict PCP@0.5", "relaxed PCP@0.5", "PCK@0.2", "PDJ", "PCKh@0.5"]
        assert shown["PCK@0.2"]["mean"][2] == f"{found['stage 1']['pck@0.2']['mean']:.1f}"
        new = table({"older": found["stage 1"], "newer": scores_of(9)}, [("older", "newer")])
        assert "left and right averaged, newer" in new


def test_one_person_has_scores_and_no_standard_error():
    truth = truth_of(1)
    truth[:, LSP.index("r_hip")] = np.nan  # and no diameter
    scores = score(truth, truth, [30], LSP)
    assert np.isnan(scores["pck@0.2"]["mean"]) and np.isnan(scores["pdj"]["0.50"])
    assert scores["pckh@0.5"]["mean"] == 100 and np.isnan(list(scores["standard_error"].values())).all()
    assert sections(table({"a": scores}))["PCKh@0.5"]["mean"] == ["100.0"]


def test_standard_errors_are_those_of_the_means():
    truth = truth_of()
    predicted = near(truth, 40)
    scores = score(predicted, truth, np.full(40, 60), LSP)["standard_error"]
    limbs = limb_hits(predicted, truth, LSP)
    assert scores["pcp_strict@0.5_mean10"] == pytest.approx(100 * standard_error(limbs))
    assert scores["pcp_strict@0.5_mean8"] == pytest.approx(100 * standard_error(limbs[:, 1:9]))
    assert scores["pckh@0.5"] == pytest.approx(100 * standard_error(joint_hits(predicted, truth, [60] * 40, 0.5)))
    assert min(scores.values()) > 0


def sections(text):
    """Title -> {part: cells} of a table, without its lines of words."""
    blocks = [block.splitlines() for block in text.split("\n\n")[1:]
              if not re.match(r"left and right averaged, |.*: left out, ", block)]
    return {block[0][:16].strip(): {line[:16].strip(): line[16:].split() for line in block[1:]} for block in blocks}


def test_table_has_every_part_every_model_and_the_gains():
    columns = {"mean pose": scores_of(80), "stage 1": scores_of(30), "stage 2": scores_of(20)}
    text = table(columns, [("stage 1", "stage 2")])
    shown = sections(text)
    assert list(shown) == ["strict PCP@0.5", "relaxed PCP@0.5", "PCK@0.2", "PDJ", "PCKh@0.5"]
    for title, metric in zip(shown, ("pcp_strict@0.5", "pcp_relaxed@0.5", "pck@0.2", "pdj", "pckh@0.5"), strict=True):
        six = ["mean6"] if metric.startswith("pcp") else []
        assert [part.removeprefix("at ") for part in shown[title]] == [*(
            part for part in columns["stage 1"][metric] if part != "total"), *six]
        for part, cells in shown[title].items():
            key = f"{metric}_symmetric" if part == "mean6" else metric
            rates = [scores[key][part.removeprefix("at ")] for scores in columns.values()]
            rates.append(rates[2] - rates[1])
            numbers = [cell for cell in cells if "±" not in cell]
            assert numbers == [*(f"{rate:.1f}" for rate in rates[:3]), f"{rates[3]:+.1f}"]
            assert len(cells) - len(numbers) == 3 * part.startswith("mean")
    error = columns["stage 2"]["standard_error"]["pcp_relaxed@0.5_mean8"]
    assert shown["relaxed PCP@0.5"]["mean8"][5] == f"±{error:.1f}"
    assert "40 persons" in text.splitlines()[0]
    halves = text.split("\n\n")[-1].splitlines()
    assert halves[0] == "left and right averaged, stage 2" and not left_out_of(text)
    assert [line.split(":")[0].strip() for line in halves[1:] if ":" in line] == ["strict PCP@0.5", "relaxed PCP@0.5",
                                                                                  "PCK@0.2", "PCKh@0.5"]
    assert f"  PCK@0.2: ankle {columns['stage 2']['pck@0.2_symmetric']['ankle']:.1f}, knee" in text
    assert text.count("gain\n") == 5


def test_table_is_aligned_and_narrow():
    columns = {name: scores_of(error) for name, error in
               (("mean pose", 80), ("stage 1", 30), ("stage 2", 20), ("stage 3", 0))}
    lines = table(columns, [("stage 1", "stage 2"), ("stage 2", "stage 3")]).splitlines()
    assert max(map(len, lines)) < 100
    assert not any(line.endswith(" ") for line in lines)
    points = {line.index(".", 16) for line in lines if re.match(r"  [^ :]+( |$)[^:]*$", line)}
    assert len(points) == 1  # the first model's decimal points stand in one column
    assert "gain" not in table(columns)


def test_table_of_one_model_with_a_long_name():
    text = table({"stage 1 without duplicates": scores_of(10)})
    assert "stage 1 without duplicates\n" in text
    assert sections(text)["PCK@0.2"]["neck"] == [f"{scores_of(10)['pck@0.2']['neck']:.1f}"]


def test_long_names_of_parts_widen_the_table_and_stay_whole_in_its_lines():
    parts, sides = [f"front_foreleg_{part}" for part in ("elbow", "knee", "hoof")], ("right", "left")
    names = [f"{side}_{part}" for part in parts for side in sides]
    edges = [(f"{side}_{a}", f"{side}_{b}") for a, b in zip(parts, parts[1:]) for side in sides]
    camel = Skeleton(tuple(names), {f"{a}-{b}": ((a,), (b,)) for a, b in edges},
                     pairs=tuple(zip(names[::2], names[1::2])))
    truth = np.random.default_rng(0).uniform(0, 200, (40, 6, 2))
    lines = table({"stage 1": score(truth, truth, np.full(40, 9), camel, box_side=100)}).splitlines()
    assert len({line.index("100.0") for line in lines if re.match(r"  (right|left)_\S+ +100.0", line)}) == 1
    assert "    front_foreleg_knee-front_foreleg_hoof 100.0" in lines
    assert max(map(len, lines)) < 100


def test_provenance_is_plain_and_says_where_the_result_comes_from(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(reports.PROJECT / "train_stage1.py"), "--seed", "4"])
    settings = argparse.Namespace(seed=4, scale=(0.8, 1.2), clip=None, data_dir=Path("data"), resume=False)
    facts = provenance(settings, np.float32(1.5), persons=3)
    assert facts["settings"] == {"seed": 4, "scale": [0.8, 1.2], "clip": None, "data_dir": "data", "resume": False}
    assert facts["seed"] == 4 and facts["seconds"] == 1.5 and facts["persons"] == 3
    assert facts["command"] == "python train_stage1.py --seed 4"
    assert facts["commit"] == git_commit(reports.PROJECT)
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["numpy"] == np.__version__
    assert re.search(r", \d+ cores?$", facts["hardware"])
    assert facts["date"].endswith("+00:00")
    assert json.loads(json.dumps(facts)) == facts


def test_command_line_names_the_projects_files_relative_to_it_and_quotes(tmp_path, monkeypatch):
    inside, outside = reports.PROJECT / "data", tmp_path / "other folder"
    command = ["test_stage1.py", "--data-dir", str(inside), "--run-dir", str(outside), "--name", "it's $5"]
    for system, quotes in (("linux", f"'{outside}' --name 'it'\"'\"'s $5'"),
                           ("win32", f'"{outside}" --name "it\'s $5"')):
        monkeypatch.setattr(sys, "platform", system)
        assert command_line(command) == f"python test_stage1.py --data-dir data --run-dir {quotes}"
    monkeypatch.undo()
    assert command_line(["", "--joints"]) == "python '' --joints"
    assert command_line(["-c"]) == "python -c"


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Run git in a fresh repository with one committed file."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # as a hook sets them

    def call(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout.strip()
    call("init")
    (tmp_path / "code.py").write_text("1\n")
    call("add", "code.py")
    return call


def test_git_commit(git, tmp_path, monkeypatch):
    assert git_commit(tmp_path) == "unknown"  # nothing committed yet
    git("commit", "-m", "first")
    git("tag", "v1")
    monkeypatch.chdir(Path(__file__).parent)  # it is the folder that counts, not where one stands
    short = git("rev-parse", "--short", "HEAD")
    assert git_commit(tmp_path) == short
    (tmp_path / "results.json").write_text("{}")
    assert git_commit(tmp_path) == short
    (tmp_path / "code.py").write_text("2\n")
    assert git_commit(tmp_path) == short + "-dirty"
    (tmp_path / "copy").mkdir()
    assert git_commit(tmp_path / "copy") == "unknown"


def test_git_commit_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(reports.PROJECT) == "unknown"


def test_hardware_names_the_gpu_that_is_used_and_no_other(monkeypatch):
    cuda = types.SimpleNamespace(is_available=lambda: True, get_device_name=lambda device: f"GPU of {device}")
    torch = types.SimpleNamespace(cuda=cuda, get_num_threads=lambda: 1, __version__="2")
    monkeypatch.setitem(sys.modules, "torch", torch)
    for device, gpu in (("cuda:1", "; GPU of cuda:1"), ("cuda", "; GPU of cuda"), ("cpu", ""), ("mps", ""), (None, "")):
        named = reports.hardware(device)
        assert named.endswith(gpu) and ("GPU" in named) == bool(gpu)
        assert provenance(argparse.Namespace(), 1, device)["hardware"] == named


def test_hardware_counts_the_cores_that_may_be_used(monkeypatch):
    for cores, words in ((1, ", 1 core"), (3, ", 3 cores")):
        monkeypatch.setattr(reports, "usable_cores", lambda cores=cores: cores)
        assert reports.hardware().endswith(words)
