"""Calibrated confidence: what it is fitted with, what is measured of it, and its way through the scripts."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import calibrate
import generate_train_output
import lsp_data
import test_stage1 as step3
import test_stage2 as step6
import train_stage1
import train_stage2
from deeppose import reliability
from deeppose.calibration import CHOICES, calibrations_of, choose, fit, folds_of, left_out, probabilities
from deeppose.errors import Failure, UserError
from networks.trained_stages import calibration_of, load_stages
from tests import narrow

NAN = np.nan


def drawn(persons, joints=4, seed=0, line=(0.5, 1.5), size=0.0, offsets=0.0):
    """Persons whose joints are right with known log-odds: own confidence, lengths, hits, and the probabilities."""
    generator = np.random.default_rng(seed)
    own, lengths = generator.uniform(0.02, 0.98, (persons, joints)), generator.uniform(0.05, 0.8, persons)
    log_odds = line[0] + line[1] * np.log(own / (1 - own)) + size * np.log(lengths)[:, None] + offsets
    true = 1 / (1 + np.exp(-log_odds))
    return own, lengths, (generator.random(own.shape) < true).astype(float), true


def test_the_measures_are_those_of_hand_counted_joints():
    confidence = np.array([[0.95, 0.95], [0.15, 0.95], [0.15, 0.5]])
    hits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, NAN]])
    # two bins: three of 0.95 of whom two are right, two of 0.15 of whom one is
    assert reliability.calibration_error(confidence, hits) == pytest.approx((3 * (0.95 - 2 / 3) + 2 * (0.5 - 0.15)) / 5)
    assert reliability.brier(confidence, hits) == pytest.approx((2 * 0.05**2 + 0.95**2 + 0.15**2 + 0.85**2) / 5)
    # right 0.95, 0.95, 0.15 against wrong 0.95, 0.15: ties count half
    assert reliability.auroc(confidence, hits) == pytest.approx((0.5 + 1 + 0.5 + 1 + 0 + 0.5) / 6)
    assert reliability.surest_right(confidence, hits, 0.4) == 0.5  # the first two of the five
    assert np.isnan(reliability.auroc(confidence, np.ones((3, 2))))
    assert np.isnan(reliability.brier(confidence, np.full((3, 2), NAN)))


def test_weights_are_persons_drawn_several_times():
    own, _, hits, _ = drawn(30)
    weights = np.random.default_rng(1).integers(0, 3, 30)
    rows = np.repeat(np.arange(30), weights)
    assert reliability.auroc(own, hits, weights) == pytest.approx(reliability.auroc(own[rows], hits[rows]))
    assert reliability.surest_right(own, hits, 0.5, weights) == pytest.approx(
        reliability.surest_right(own[rows], hits[rows], 0.5))


def test_intervals_hold_what_they_are_of_and_empty_bins_have_none():
    own, _, hits, true = drawn(400)
    found = reliability.confidence_scores(true, hits, "abcd", True, draws=100)
    curve = found["reliability"]["all"]
    assert sum(curve["counts"]) == found["joints"] == 1600 and len(found["reliability"]["edges"]) == 11
    assert all(low <= right <= high for low, right, high in zip(curve["low"], curve["right"], curve["high"]))
    assert found["calibration_error"]["all"] < 4 and found["calibration_error"][found["worst_joint"]] == max(
        found["calibration_error"][name] for name in "abcd")
    again = np.array([np.nan] * 100 + [0.1 * each for each in range(900)])
    assert np.isnan(reliability._interval(again)).all() and np.isfinite(reliability._interval(again[90:])).all()
    low, high = found["intervals"]["auroc"]
    assert low < found["auroc"] < high
    rare = reliability.reliability(np.full((5, 1), 0.55), np.ones((5, 1)), draws=20)
    assert rare["counts"][0].tolist() == [0] * 5 + [5] + [0] * 4 and np.isnan(rare["right"][0, [4, 6]]).all()
    assert "calibration_error" not in reliability.confidence_scores(own, hits, "abcd", False, draws=2)


def test_the_interval_of_a_calibration_error_lies_round_it():
    for seed in range(6):
        *_, hits, true = drawn(400, seed=seed)
        found = reliability.confidence_scores(true, hits, "abcd", True, draws=200, seed=seed)
        for name, error in found["calibration_error"].items():
            low, high = found["intervals"]["calibration_error"][name]
            assert 0 <= low <= error <= high


def test_a_fit_gives_back_the_probabilities_that_drew_its_persons():
    own, lengths, hits, true = drawn(3000, size=1.0, offsets=np.array([-1.0, 0.0, 0.5, 1.0]))
    hits[:, 0][:100] = NAN
    found = probabilities(fit(own, lengths, hits, ("by joint", "with its size")), own, lengths)
    assert np.abs(found - true).mean() < 0.02
    line = probabilities(fit(own, lengths, hits, ()), own, lengths)  # knows neither joints nor sizes
    assert np.abs(line - true).mean() > 0.05


def test_what_a_network_is_surer_of_never_counts_less():
    own, lengths, hits, _ = drawn(300, line=(0.0, -1.0))  # the surer, the more often wrong
    calibration = fit(own, lengths, hits)
    assert min(calibration.slopes.values()) >= 0
    surer, sure = torch.tensor([[0.9, 0.3], [0.9, 1.0]]), torch.tensor([[0.4, 0.3], [0.0, 1.0]])
    for choices in (("bent",), tuple(CHOICES)):
        for seed in range(3):
            calibration = fit(*drawn(60, 2, seed)[:3], choices)
            more, less = (calibration.probabilities(some, torch.tensor([0.3, 0.3])) for some in (surer, sure))
            assert (more >= less).all() and 0 <= less.min() and more.max() <= 1 and more[0, 0] > less[0, 0]


def test_of_few_persons_only_the_line_is_fitted_and_the_rest_is_the_others():
    few, many = drawn(60, line=(2.0, 1.0), size=1.0), drawn(2000, seed=1, line=(0.0, 1.0), size=1.0)
    both = fit(*few[:3], ("with its size",), many[:3])
    assert both.slopes["size"] == pytest.approx(fit(*many[:3], ("with its size",)).slopes["size"])
    assert both.persons == 60 and np.abs(probabilities(both, *few[:2]) - few[3]).mean() < 0.04
    assert np.mean(probabilities(both, *few[:2])) == pytest.approx(few[2].mean(), abs=0.01)


def test_cross_validation_chooses_what_the_persons_are_drawn_with():
    own, lengths, hits, _ = drawn(200, offsets=np.array([-2.0, -1.0, 1.0, 2.0]))
    (best, loss), *rest = choose(own, lengths, hits)
    assert "by joint" in best and len(rest) == 15 and loss == min(loss for _, loss in rest + [(best, loss)])
    fold = np.arange(200) % 10
    changed = hits.copy()
    changed[fold == 3] = 1 - changed[fold == 3]  # what a fold's persons are does not count in what is said of them
    assert np.array_equal(*(left_out(own, lengths, some, fold, best)[fold == 3] for some in (hits, changed)))


def test_frames_of_one_film_are_held_out_together():
    """Twelve films of forty frames each, nearly alike: by frame, cross-validation takes what films have by chance for
    what their joints have."""
    films, own, lengths, hits, _ = np.repeat(np.arange(12), 40), *drawn(12)
    own, lengths, hits = (np.repeat(each, 40, 0) for each in (own, lengths, hits))
    own = (own + np.random.default_rng(1).normal(0, 0.005, own.shape)).clip(0.01, 0.99)
    apart, together = dict(choose(own, lengths, hits)), dict(choose(own, lengths, hits, groups=films))
    assert min(apart, key=apart.get) != () and min(apart.values()) < min(together.values()) - 0.02
    fold = folds_of(films, np.random.default_rng(0))
    assert all(len(set(fold[films == film])) == 1 for film in range(12)) and set(fold) == set(range(10))
    alone = folds_of(np.array([7, 3, 5, 9]), np.random.default_rng(2))
    assert alone.tolist() == np.random.default_rng(2).permutation(4).tolist()  # as without groups
    assert choose(own, lengths, hits, groups=films * 0)[0][0] == ()


def test_of_one_film_alone_the_line_is_taken(capsys):
    given = drawn(30)[:3]
    found = calibrate.fitted("stage 1", given, given, np.zeros(30), 0)
    assert found.slopes.keys() == {"own"} and "stage 1: a line; not cross-validated" in capsys.readouterr().out


@pytest.mark.parametrize("hits, words", [(np.ones((9, 4)), "9 persons are too few"), (np.ones((20, 4)), "are right"),
                                         (np.zeros((20, 4)), "are wrong"), (np.full((20, 4), NAN), "0 persons")])
def test_too_little_to_fit_is_said(hits, words):
    own, lengths, *_ = drawn(len(hits))
    with pytest.raises(ValueError, match=words):
        choose(own, lengths, hits)


def test_a_checkpoints_calibration_is_read_as_it_was_written_and_a_broken_one_refused():
    calibration = fit(*drawn(50)[:3], fingerprint="abc", flip_test=True, sources=("lsp",))
    plain = json.loads(json.dumps(calibration.plain()))
    assert calibrations_of([plain], 4) == [calibration] and calibrations_of([], 4) == []
    for broken in (plain | {"intercepts": [0.0] * 3}, plain | {"bend": NAN}, plain | {"slopes": {"own": -1.0}},
                   plain | {"slopes": {"their": 1.0}}, plain | {"flip_test": 1}, {"bend": 1.0}, "calibration"):
        with pytest.raises(ValueError, match="calibration"):
            calibrations_of([broken], 4)


@pytest.fixture(scope="module")
def trained(raw_dir, tmp_path_factory):
    """A folder with prepared figures and two trained stages, not calibrated."""
    folder = tmp_path_factory.mktemp("calibrated")
    step(lsp_data, folder, "--raw-dir", str(raw_dir), "--train-on", "lsp", "--crop-size", "64", "--lsp-train-images",
         "30", "--validation-share", "0.4", "--workers", "1")
    step(train_stage1, folder, "--network", "integral", "--backbone", narrow.NAME, "--weights", "none", "--input-size",
         "32", "--batch-size", "8", "--optimiser", "adam", "--learning-rate", "1e-3", "--epochs", "2")
    step(generate_train_output, folder)
    step(train_stage2, folder, "--crop-size", "67", "--width", "0.02", "--crops-per-image", "1", "--epochs", "1",
         "--shared-network", "--sigma", "1")
    return folder


def step(script, folder, *flags):
    places = [word for name in ("data_dir", "checkpoint_dir", "run_dir") if hasattr(script, name.upper())
              for word in (f"--{name.replace('_', '-')}", str(folder / name.split("_")[0]))]
    script.main([*places, *(["--device", "cpu"] if hasattr(script, "DEVICE") else []), *flags])


def test_the_scripts_tell_scores_before_and_probabilities_after(trained, capsys):
    path, older = trained / "checkpoint/stage1.pt", trained / "run/stage1_reliability.png"
    older.touch()
    step(step3, trained)
    assert not older.exists()
    scores = json.loads((trained / "run/stage1.json").read_text())
    assert "confidence" not in scores and 0 <= scores["score"]["auroc"] <= 1
    assert "a score of no fixed meaning" in capsys.readouterr().out
    before = torch.load(path, weights_only=True)

    step(calibrate, trained)
    after = torch.load(path, weights_only=True)
    assert after.keys() - before.keys() == {"calibration"}
    assert all(torch.equal(value, after["weights"][name]) for name, value in before["weights"].items())
    stages = load_stages(trained / "checkpoint", None, torch.device("cpu"))
    assert [(found.fingerprint, found.flip_test) for found in stages[0].calibrations] == [
        (stages[0].fingerprint, False), (stages[0].fingerprint, True), (stages[1].fingerprint, False)]
    assert stages[0].calibrations[0].persons == 12

    for script, flags, stage in ((step3, ["--flip-test"], 1), (step6, [], 2)):
        step(script, trained, *flags)
        scores = json.loads((trained / f"run/stage{stage}.json").read_text())
        for found in (scores["confidence"], scores.get("stage 1", scores)["confidence"]):
            assert "0.2 torso diameters" in found["means"] and sum(found["reliability"]["all"]["counts"]) == 140
        with Image.open(trained / f"run/stage{stage}_reliability.png") as picture:
            assert min(picture.size) > 400
        assert "calibration error" in capsys.readouterr().out

    for stage in (1, 2):  # which weights were tested
        told = json.loads((trained / f"run/stage{stage}.json").read_text())["fingerprints"]
        assert list(told.values()) == [each.fingerprint for each in stages[:stage]]
    # a stage 1 that is trained on has other weights, which nothing is fitted to
    stages[0].fingerprint = "another"
    assert calibration_of(stages[:1], False) is None
    torch.save(after | {"calibration": [{"bend": 1.0}]}, path)
    with pytest.raises(Failure, match="calibration"):
        load_stages(trained / "checkpoint", None, torch.device("cpu"))


def test_what_can_not_be_calibrated_is_said(trained, tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="not found; run: python train_stage1.py"):
        calibrate.main(["--data-dir", str(trained / "data"), "--checkpoint-dir", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(calibrate, "load_checkpoint", lambda *given: {})
    monkeypatch.setattr(calibrate, "load_stages", lambda *given: [Unsure()])
    calibrate.main(["--data-dir", str(trained / "data"), "--checkpoint-dir", str(tmp_path)])
    assert "no confidence of its own" in capsys.readouterr().out and not list(tmp_path.glob("*.pt"))


def test_it_is_fitted_on_those_held_out_of_the_parts_that_are_tested():
    persons = SimpleNamespace(held_out=np.array([True, True, False, True]), prepare="",
                              sources=np.array(["lsp", "lspet", "lsp", "lsp"]), dataset={"test": {"source": ["lsp"]}})
    alike, sources = calibrate.of_the_test_persons_kind(persons)
    assert alike.tolist() == [True, False, False, True] and sources == ["lsp"]
    persons.dataset["test"]["source"] = ["mpii"]  # of whom nobody is held out
    assert calibrate.of_the_test_persons_kind(persons)[0].tolist() == [True, True, False, True]


def test_too_little_to_fit_leaves_the_score_as_it_is(capsys):
    given = np.full((3, 4), 0.5), np.ones(3), np.ones((3, 4))
    assert calibrate.fitted("stage 1", given, given, np.arange(3), 0) is None
    assert capsys.readouterr().out.startswith("note: stage 1 can't be calibrated on these validation persons (3")


class Unsure:
    other_held_out = False

    def predict_with_confidence(self, persons, rows, flip_test, batch_size):
        return persons.joints_px[rows], None
