"""Labels put right by networks that did not train on the person."""
import csv
import json
import shutil

import numpy as np
import pytest
import torch

import clean_labels
import lsp_data
import train_stage1
from deeppose.errors import UserError
from deeppose.inference import diameters
from deeppose.label_cleaning import corrected
from deeppose.persons import load_persons
from deeppose.skeletons import LSP, Skeleton
from networks.trained_stages import Stage1, load_stage1
from tests import narrow

CPU = torch.device("cpu")


def pose():
    """A standing person of torso diameter 50: knees and elbows farther apart than half of it."""
    right = {"ankle": (20, 180), "knee": (20, 140), "hip": (30, 100), "wrist": (0, 110), "elbow": (5, 90),
             "shoulder": (30, 60)}
    places = {f"r_{name}": place for name, place in right.items()} | {"neck": (50, 55), "head_top": (50, 30)}
    places |= {f"l_{name}": (100 - x, y) for name, (x, y) in right.items()}
    return np.array([places[name] for name in LSP.joints], float)


@pytest.fixture
def case():
    """Six persons, all seen as they are by a network that is sure."""
    truth = np.stack([pose()] * 6)
    confidence = np.full((6, 14), 0.9)
    return truth, truth.copy(), confidence, np.full(6, 60.0)


def test_labels_that_fit_stay(case):
    labels, predicted, confidence, spans = case
    found, exchanged, left_out = corrected(labels + 5, predicted, confidence, spans, LSP)
    assert np.array_equal(found, labels + 5) and not exchanged.any() and not left_out.any()


def test_exchanged_sides_are_put_back_part_by_part(case):
    labels, predicted, confidence, spans = case
    mirror, (upper, lower) = np.array(LSP.mirror), np.array(LSP.halves)
    labels[0] = labels[0][mirror]
    labels[1, lower] = labels[1, mirror[lower]]
    labels[2, upper] = labels[2, mirror[upper]]
    labels[2, LSP.index("r_wrist")] = np.nan  # was the left one's label
    given = labels.copy()
    found, exchanged, left_out = corrected(labels, predicted, confidence, spans, LSP)
    assert exchanged.tolist() == [[True, True], [False, True], [True, False]] + 3 * [[False, False]]
    assert np.array_equal(labels, given, equal_nan=True)  # what was given is left alone
    expected = predicted.copy()
    expected[2, LSP.index("l_wrist")] = np.nan
    assert np.array_equal(found, expected, equal_nan=True) and not left_out.any()


def test_doubt_and_small_gains_change_nothing(case):
    labels, predicted, confidence, spans = case
    labels[:2] = labels[:2, LSP.mirror]
    labels[2, 0] += 1000
    confidence[[0, 2]] = 0.4
    spans[1] = 400  # so large that even exchanged joints are near
    found, exchanged, left_out = corrected(labels, predicted, confidence, spans, LSP)
    assert np.array_equal(found, labels) and not exchanged.any() and not left_out.any()


def test_joints_that_are_far_off_are_left_out_alone(case):
    labels, predicted, confidence, spans = case
    labels[3, 4] += (40, 0)  # 0.67 diameters
    labels[4, 4] += (25, 0)
    labels[5, 5] = np.nan
    found, exchanged, left_out = corrected(labels, predicted, confidence, spans, LSP)
    assert np.argwhere(left_out).tolist() == [[3, 4]] and not exchanged.any()
    assert np.isnan(found[3, 4]).all() and np.isfinite(found[4]).all() and np.isnan(found[5, 5]).all()
    assert np.isfinite(found).all(2).sum() == 6 * 14 - 2


def test_a_skeleton_without_a_lower_half_is_one_part():
    skeleton = Skeleton(("a", "b", "c"), pairs=(("a", "b"),))
    predicted = np.array([[[0, 0], [10, 0], [5, 5]]], float)
    labels = predicted[:, [1, 0, 2]]
    found, exchanged, _ = corrected(labels, predicted, np.ones((1, 3)), np.array([10.0]), skeleton)
    assert np.array_equal(found, predicted) and exchanged.tolist() == [[True, False]]


@pytest.fixture(scope="module")
def halves(raw_dir, tmp_path_factory):
    """Prepared figures, and a network trained without each half."""
    folder = tmp_path_factory.mktemp("cleaning")
    lsp_data.main(["--raw-dir", str(raw_dir), "--data-dir", str(folder / "data"), "--run-dir", str(folder / "runs"),
                   "--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30", "--validation-share", "0.2",
                   "--workers", "1"])
    for half in (1, 2):
        train(folder, f"half{half}", "--without", f"{half}/2")
    return folder


def train(folder, name, *flags):
    train_stage1.main(["--data-dir", str(folder / "data"), "--checkpoint-dir", str(folder / name), "--run-dir",
                       str(folder / name), "--network", "integral", "--backbone", narrow.NAME, "--weights",
                       "none", "--input-size", "32", "--batch-size", "8", "--epochs", "1", "--device", "cpu", *flags])


def run(folder, *names, flags=()):
    clean_labels.main([*(str(folder / name) for name in names), "--data-dir", str(folder / "data"), "--cleaned-dir",
                       str(folder / "cleaned"), "--run-dir", str(folder / "cleaned"), "--device", "cpu", *flags])


def test_each_half_is_left_out_of_one_training_and_validation_persons_of_both(halves):
    persons = load_persons(halves / "data", "train", CPU)
    part = persons.parts(2)
    assert (part[persons.held_out] == 0).all() and set(part[~persons.held_out]) == {1, 2}
    settings = train_stage1.parse_settings(vars(train_stage1), ["--without", "2/2"])
    with train_stage1.process_group(CPU) as group:
        seen = train_stage1.rows_of(persons, settings, group)["train"].numpy()
    assert sorted(seen) == np.flatnonzero(part == 1).tolist()
    assert torch.load(halves / "half1/stage1.pt", weights_only=True)["without"] == "1/2"


def test_groups_of_step_1_stay_together_and_older_data_go_by_photograph(halves, tmp_path):
    persons = load_persons(halves / "data", "train", CPU)
    groups = np.array(persons.dataset["train_groups"])
    persons.dataset["train_groups"] = (groups // 8).tolist()
    part = persons.parts(3)
    for group in set(groups // 8):
        assert len(set(part[(groups // 8 == group) & ~persons.held_out])) <= 1
    assert set(part[~persons.held_out]) <= {1, 2, 3}
    persons.dataset.pop("train_groups")
    assert (persons.parts(2)[~persons.held_out] > 0).all()


def test_the_script_corrects_by_the_network_that_did_not_see_the_person(halves, monkeypatch, capsys):
    """The networks here know nothing: in place of their poses stand the published labels with sides exchanged."""
    persons = load_persons(halves / "data", "train", CPU)
    asked = {}

    def predicted(self, persons, rows, flip_test, batch_size):
        asked[self.fingerprint] = rows
        return persons.joints_px[rows][:, LSP.mirror].nan_to_num(0), torch.ones(len(rows), 14)
    monkeypatch.setattr(Stage1, "predict_with_confidence", predicted)
    run(halves, "half2", "half1", flags=["--gain", "0.05"])
    shown = capsys.readouterr().out
    part = persons.parts(2)
    for half in (1, 2):
        network = load_stage1(halves / f"half{half}", persons, CPU)
        assert asked[network.fingerprint].tolist() == np.flatnonzero(part == half).tolist()

    assert (halves / "cleaned/cleaned_labels.png").exists()
    cleaned = load_persons(halves / "cleaned", "train", CPU)
    assert cleaned.split == persons.split
    assert np.array_equal(cleaned.truth[persons.held_out], persons.truth[persons.held_out], equal_nan=True)
    changed = ~(np.nan_to_num(cleaned.truth) == np.nan_to_num(persons.truth)).all((1, 2))
    assert changed.any() and f"{changed.sum()} of {(part > 0).sum()} training persons with sides" in shown
    with open(halves / "cleaned/cleaned_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == np.flatnonzero(changed).tolist()
    assert all(row["exchanged"] in ("arms", "legs", "arms legs", "") for row in rows)
    predicted = persons.joints_px[:, LSP.mirror].nan_to_num(0)
    spans = diameters(predicted, LSP, 0.5 * float(diameters(predicted[part > 0], LSP, 0).median())).numpy()
    for row in np.flatnonzero(changed):
        known = np.isfinite(cleaned.truth[row]).all(1) & np.isfinite(persons.truth[row, LSP.mirror]).all(1)
        off = np.linalg.norm(cleaned.truth[row] - persons.truth[row, LSP.mirror], axis=1)[known]
        assert (off <= 0.5 * spans[row] + 1e-4).all()
    assert (halves / "cleaned/cleaned_labels.png").stat().st_size > 1000
    assert f"--data-dir {halves / 'cleaned'}" in shown.splitlines()[-1]
    assert json.loads((halves / "data/dataset.json").read_text())["digests"] == persons.dataset["digests"]
    train_stage1.load_persons(halves / "data", "train", CPU)  # as it was
    monkeypatch.setattr(Stage1, "predict_with_confidence", lambda self, persons, rows, *_: (
        persons.joints_px[rows].nan_to_num(0), torch.zeros(len(rows), 14)))
    run(halves, "half2", "half1")  # an earlier picture does not stay beside a list of nobody
    assert not (halves / "cleaned/cleaned_labels.png").exists()
    assert (halves / "cleaned/cleaned_labels.csv").read_text().splitlines() == [
        "row,source,image,exchanged,left_out,largest_error_up_to_1"]


@pytest.mark.parametrize("names, said", [(("half1",), "name a folder"), (("half1", "half1"), "two of the networks"),
                                         (("half1", "all"), "by heart")])
def test_wrong_networks_are_refused(halves, names, said):
    if "all" in names and not (halves / "all").exists():
        train(halves, "all")
    with pytest.raises(UserError, match=said):
        run(halves, *names)


def test_networks_of_other_parts_are_refused_and_an_empty_part_is_told(halves, tmp_path):
    shutil.copytree(halves / "data", tmp_path / "data")
    dataset = json.loads((tmp_path / "data/dataset.json").read_text())
    for name in ("half1", "half2"):
        (tmp_path / name).symlink_to(halves / name)
    groups = dataset["train_groups"]
    (tmp_path / "data/dataset.json").write_text(json.dumps(dataset | {"train_groups": [group + 1 for group in groups]}))
    with pytest.raises(UserError, match="may know labels by heart"):
        run(tmp_path, "half1", "half2")
    (tmp_path / "data/dataset.json").write_text(json.dumps(dataset | {"train_groups": [0] * len(groups)}))
    persons = load_persons(tmp_path / "data", "train", CPU)
    part = max(persons.parts(2))
    with pytest.raises(UserError, match=f"holds 0 train persons of other parts than {part}/2; prepare more"):
        train(tmp_path, "none", "--without", f"{part}/2")


def test_data_that_are_links_are_followed(halves, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for path in (halves / "data").iterdir():
        if path.is_file():
            (tmp_path / "data" / path.name).symlink_to(path)
    for name in ("half1", "half2"):
        (tmp_path / name).symlink_to(halves / name)
    run(tmp_path, "half1", "half2")
    published, cleaned = (load_persons(tmp_path / name, "train", CPU) for name in ("data", "cleaned"))
    assert torch.equal(cleaned.crops, published.crops) and not (tmp_path / "cleaned/train_images.npy").is_symlink()


def test_kept_labels_stay_as_published_and_tell_the_networks_mistakes(halves, tmp_path, monkeypatch, capsys):
    """Half of the figures pass for another data set; the networks say of all that their sides are exchanged."""
    shutil.copytree(halves / "data", tmp_path / "data")
    dataset = json.loads((tmp_path / "data/dataset.json").read_text())
    dataset["train"]["source"] = ["right", "coarse"] * 15
    (tmp_path / "data/dataset.json").write_text(json.dumps(dataset))
    monkeypatch.setattr(clean_labels, "networks_of", lambda settings, persons, device: (dict.fromkeys(
        (1, 2), load_stage1(halves / "half1", None, device)), 2))  # who would not know these data sets
    monkeypatch.setattr(Stage1, "predict_with_confidence", lambda self, persons, rows, *more: (
        persons.joints_px[rows][:, LSP.mirror].nan_to_num(0), torch.ones(len(rows), 14)))
    run(tmp_path, "half1", "half2", flags=["--gain", "0.05", "--keep", "right"])
    published, cleaned = (load_persons(tmp_path / name, "train", CPU) for name in ("data", "cleaned"))
    changed = ~(np.nan_to_num(cleaned.truth) == np.nan_to_num(published.truth)).all((1, 2))
    assert changed.any() and set(published.sources[changed]) == {"coarse"}
    lines = capsys.readouterr().out.splitlines()
    assert cleaned.dataset["prepare"].endswith("half2 --keep right") and "--keep" not in published.dataset["prepare"]
    told = {line.split()[0]: line for line in lines if line.startswith(("right", "coarse"))}
    assert told["right"].endswith("kept as published: mistakes of the networks") and "kept" not in told["coarse"]
    assert int(told["right"].split()[2]) > 0  # arms that would have been exchanged
    with open(tmp_path / "cleaned/cleaned_labels.csv", newline="") as file:
        assert [int(row["row"]) for row in csv.DictReader(file)] == np.flatnonzero(changed).tolist()
    with pytest.raises(UserError, match="--keep left: expected one of coarse, right"):
        run(tmp_path, "half1", "half2", flags=["--keep", "left"])


def test_the_data_as_published_are_never_written_over(halves):
    with pytest.raises(UserError, match="another folder"):
        run(halves, "half1", "half2", flags=["--cleaned-dir", str(halves / "data")])


def test_a_half_does_not_begin_with_weights_that_know_it(halves):
    if not (halves / "all").exists():
        train(halves, "all")
    for weights in ("all", "half2"):
        with pytest.raises(UserError, match="knows its labels by heart"):
            train(halves, "again", "--without", "1/2", "--weights", str(halves / weights / "stage1.pt"))
    train(halves, "again", "--without", "1/2", "--weights", str(halves / "half1/stage1.pt"))


@pytest.mark.parametrize("text", ["1", "0/2", "3/2", "1/1", "a/b", "1/2/3", "-1/2"])
def test_parts_that_are_none_are_refused(text):
    with pytest.raises(UserError, match="e.g. 1/2"):
        train_stage1.part_of(text)
