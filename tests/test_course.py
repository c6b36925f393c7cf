"""A training's course on disk: begun, gone on with, ended, and what stays of others."""
import copy
import math
import os

import pytest
import torch

from deeppose.checkpoints import load_checkpoint, save_checkpoint
from deeppose.course import Course, restore
from deeppose.errors import Failure, UserError
from deeppose.training import make_optimiser, moving_average


def course(folder, settings=None, ties="a", best_by="pdj", **more):
    return Course(folder / "stage1.pt", settings or {"epochs": 3, "rate": 1.0, "device": "cpu"}, ("device",),
                  {"data": ties}, "python train.py --restart", lambda row: row[best_by],
                  lambda weights, it: {"weights": weights, "best_epoch": it.best_epoch}, fixed=("rate",), **more)


def network(value=0.0):
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, value)
    return model


def begin(it, state=None, value=0.0):
    model = network(value)
    it.begin(model, make_optimiser("sgd", model.parameters(), 1.0), None, state)
    return model


def go(it, scores, model=None):
    """One epoch a score; the weight is the epoch's number."""
    model = model or begin(it)
    for score in scores:
        number = len(it.history) + 1
        torch.nn.init.constant_(model.weight, number)
        it.record({"epoch": number, "pdj": score, "loss_score": -score, "seconds": 1.0}, model)


def weight(path):
    return torch.load(path, weights_only=True)["weights"]["weight"].item()


def test_the_best_epochs_weights_are_kept_and_can_be_tried_early(tmp_path):
    it = course(tmp_path, early=True)
    go(it, [10.0, 30.0])
    assert weight(tmp_path / "stage1.pt") == 2
    go(it, [20.0], it.network)
    it.finish()
    assert weight(tmp_path / "stage1.pt") == 2 and it.best_epoch == 2 and it.best == 30
    assert load_checkpoint(tmp_path / "stage1_last.pt", "")["finished"]


def test_an_epoch_is_not_lost_where_its_log_can_not_be_written(tmp_path, capsys):
    (tmp_path / "log.csv").mkdir()  # as a table that another program holds open
    it = course(tmp_path)
    it.record({"epoch": 1, "pdj": 10.0, "seconds": 1.0}, begin(it), tmp_path / "log.csv")
    assert "note: " in (text := capsys.readouterr().out) and "kept with the training, which goes on" in text
    assert len(load_checkpoint(tmp_path / "stage1_last.pt", "")["history"]) == 1
    (tmp_path / "log.csv").rmdir()
    it.record({"epoch": 2, "pdj": 20.0, "seconds": 1.0}, it.network, tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text().splitlines() == ["epoch,pdj,seconds", "1,10.0,1.0", "2,20.0,1.0"]
    (tmp_path / "log.csv").unlink()  # as if that had been open after the last epoch alone
    it.finish()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_without_early_nothing_has_the_final_name_before_the_end(tmp_path):
    it = course(tmp_path, baseline=50.0)
    go(it, [10.0, 20.0])
    assert not it.final.exists()
    it.finish(keep=False)
    assert weight(it.final) == 0  # no epoch was better than what was there before
    assert not it.last.exists()


def test_an_earlier_network_stays_until_its_successor_is_finished(tmp_path):
    first = course(tmp_path, early=True)
    go(first, [10.0])
    first.finish()
    old = (tmp_path / "stage1.pt").read_bytes()
    second = course(tmp_path, early=True)
    assert second.left(restart=True) is None
    go(second, [90.0, 95.0])
    assert (tmp_path / "stage1.pt").read_bytes() == old
    third = course(tmp_path, early=True)  # the second was killed; the same command without --restart goes on with it
    state = third.left()
    assert len(state["history"]) == 2
    begin(third, state)
    assert (tmp_path / "stage1.pt").read_bytes() == old
    third.finish()
    assert weight(tmp_path / "stage1.pt") == 2


def test_begun_anew_where_nothing_was_it_can_be_gone_on_with(tmp_path, capsys):
    it = course(tmp_path)
    assert it.left(restart=True) is None
    with pytest.raises(KeyboardInterrupt), it.told("stage 1"):
        go(it, [1.0])
        raise KeyboardInterrupt
    assert "the same command goes on, without --restart" in capsys.readouterr().out
    again = course(tmp_path)
    begin(again, again.left())
    assert len(again.history) == 1
    with pytest.raises(KeyboardInterrupt), again.told("stage 1"):
        raise KeyboardInterrupt
    assert "the same command goes on\n" in capsys.readouterr().out


def test_what_others_added_stays_as_long_as_the_weights_do(tmp_path, capsys):
    for scores, kept in ([5.0], True), ([90.0], False):  # a worse epoch, a better one
        folder = tmp_path / str(kept)
        it = course(folder, added=("calibration",))
        go(it, [10.0])
        it.finish()
        save_checkpoint(it.final, load_checkpoint(it.final, "") | {"calibration": [1, 2]})
        again = course(folder, {"epochs": 9, "rate": 1.0, "device": "cpu"}, added=("calibration",))
        go(again, scores, begin(again, again.left(resume=True)))
        again.finish()
        assert load_checkpoint(it.final, "").get("calibration") == ([1, 2] if kept else None)
        assert ("the calibration that" in capsys.readouterr().out) != kept


def test_what_was_begun_otherwise_is_refused_and_named(tmp_path):
    go(course(tmp_path), [1.0])
    with pytest.raises(UserError, match="begun on other data; name another --checkpoint-dir, or run: python train.py "
                                        "--restart"):
        course(tmp_path, ties="b").left()
    with pytest.raises(UserError, match=r"other settings \(epochs 3 -> 9\); go on under these with --resume"):
        course(tmp_path, {"epochs": 9, "rate": 1.0, "device": "cuda"}).left()
    with pytest.raises(UserError, match=r"\(rate 1.0 -> 2.0\); name another --checkpoint-dir, use the same, or run: "):
        course(tmp_path, {"epochs": 3, "rate": 2.0, "device": "cpu"}).left()  # nor would --resume take it
    with pytest.raises(UserError, match=r"\(rate 1.0 -> 2.0\), which can't be changed"):
        course(tmp_path, {"epochs": 3, "rate": 2.0, "device": "cuda"}).left(resume=True)
    assert len(course(tmp_path, {"epochs": 9, "rate": 1.0, "device": "cuda"}).left(resume=True)["history"]) == 1
    assert len(course(tmp_path, {"epochs": 3, "rate": 1.0, "device": "cuda"}).left()["history"]) == 1  # only elsewhere
    with pytest.raises(UserError, match="nothing to resume"):
        course(tmp_path / "empty").left(resume=True)


def test_a_network_that_came_from_elsewhere_is_not_replaced(tmp_path):
    it = course(tmp_path, early=True)
    go(it, [1.0])
    it.finish()
    save_checkpoint(tmp_path / "stage1.pt", {"weights": {}, "begun": "another"})
    with pytest.raises(UserError, match="is not what .* belongs to; move one of them away"):
        course(tmp_path).left(resume=True)


def test_patience_begins_again_where_settings_changed(tmp_path):
    it = course(tmp_path)
    go(it, [5.0, 4.0, 3.0])
    it.finish()
    changed = {"epochs": 9, "rate": 1.0, "device": "cpu"}
    again = course(tmp_path, changed)
    begin(again, again.left(resume=True))
    assert list(again.epochs(9, patience=2)) == [3, 4]
    go(again, [2.0])
    third = course(tmp_path, changed)  # after an interruption
    begin(third, third.left())
    assert list(third.epochs(9, patience=2)) == [4]


def test_a_restart_of_several_that_is_interrupted_says_how_the_rest_comes_to_it(tmp_path, capsys):
    it = course(tmp_path)
    it.left(restart=True)
    with pytest.raises(KeyboardInterrupt), it.told("neck", rest=["head_top", "r_knee"]):
        go(it, [1.0])
        raise KeyboardInterrupt
    told = capsys.readouterr().out
    assert "with --joints neck in place of --restart; and then, with --restart --joints head_top r_knee, trains" in told


def test_patience_counts_over_interruptions_and_not_one_epoch_more(tmp_path):
    it = course(tmp_path)
    go(it, [5.0, 4.0, 3.0])
    assert list(it.epochs(10, patience=2)) == []
    again = course(tmp_path)
    state = again.left()
    model = begin(again, state)
    assert list(again.epochs(10, patience=2)) == [] and next(again.epochs(10, patience=3)) == 3
    assert model.weight.item() == 3


def test_the_best_so_far_is_measured_by_what_counts_now(tmp_path):
    it = course(tmp_path)
    go(it, [5.0, 8.0])
    again = course(tmp_path, best_by="loss_score")
    model = begin(again, again.left())
    assert again.best == -8.0  # of the epoch that is kept, not the other kind's 8
    go(again, [7.0], model)  # a loss of 7 is better than one of 8
    assert again.best_epoch == 3


def test_an_epoch_without_a_score_stops_the_run(tmp_path):
    it = course(tmp_path)
    go(it, [1.0])
    with pytest.raises(Failure, match="epoch 2 has no score on the validation persons"):
        go(it, [math.nan], it.network)
    assert len(course(tmp_path).left()["history"]) == 1


def test_a_full_disk_shows_itself_before_the_first_epoch(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    it = course(tmp_path)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Failure, match=r"stage1_last.pt can't be written \(No space left on device\); make room there"):
        begin(it)
    assert not list(tmp_path.iterdir())


def test_an_interruption_says_how_to_go_on(tmp_path, capsys):
    it = course(tmp_path)
    go(it, [1.0])
    with pytest.raises(KeyboardInterrupt), it.told("neck"):
        raise KeyboardInterrupt
    assert "\nneck: 1 epoch stands; the same command goes on\n" in capsys.readouterr().out


@pytest.mark.parametrize("optimiser", ["adam", "adagrad", "sgd"])
@pytest.mark.parametrize("before, after", [(torch.channels_last, torch.contiguous_format),
                                           (torch.contiguous_format, torch.channels_last)])
def test_resuming_in_another_memory_layout_steps_as_before(optimiser, before, after):
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def made(layout):
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 5, 3).to(memory_format=layout)
        return model, make_optimiser(optimiser, model.parameters(), 0.01), moving_average(model, 0.5)

    def step(model, optimiser, average):
        optimiser.zero_grad()
        model(images).square().sum().backward()
        optimiser.step()
        average.update()
        return model.weight.detach().contiguous()

    first = made(before)
    for _ in range(3):
        step(*first)
    state = copy.deepcopy({name: it.state_dict() for name, it in zip(("model", "optimiser", "average"), first)})
    second = made(after)
    restore(state, *second)
    gathered = second[1].state[second[0].weight]
    assert all(value.stride() == second[0].weight.stride() for value in gathered.values()
               if torch.is_tensor(value) and value.shape == second[0].weight.shape)
    assert torch.allclose(step(*second), step(*first), atol=1e-6)
    assert torch.allclose(second[2].module.weight, first[2].module.weight, atol=1e-6)


@pytest.mark.parametrize("key, name, value, message", [
    ("model", "weight", None, "of its model, its weights are of another network"),
    ("model", "weight", torch.zeros(2, 2), "of its model, its weights are of another network"),
    ("model", "weight", torch.full((1, 1), torch.nan), "of its model, it holds weights that are not finite"),
    ("model", "weight", "text", "of its model, it is broken: its weights' 'weight' is a str"),
    ("optimiser", "state", 3, "its optimiser can't be gone on with"),
    ("optimiser", "param_groups", [], "its optimiser can't be gone on with"),
])
def test_a_broken_state_is_told_with_its_file(tmp_path, key, name, value, message):
    go(course(tmp_path), [1.0])
    state = load_checkpoint(tmp_path / "stage1_last.pt", "")
    if value is None:
        del state[key][name]
    else:
        state[key][name] = value
    save_checkpoint(tmp_path / "stage1_last.pt", state)
    again = course(tmp_path)
    with pytest.raises(Failure, match=f"stage1_last.pt is broken: .*({message})"):
        begin(again, again.left())


@pytest.mark.parametrize("key, value", [
    ("steps", [{"epoch": 2, "step": 5}]), ("steps", [{"step": 5}]), ("steps", 3),
    ("history", [1, "a"]), ("history", [{"epoch": 1}]), ("history", [{"epoch": 2, "pdj": 1.0, "seconds": 1.0}]),
    ("history", [{"epoch": 1, "pdj": None, "seconds": 1.0}]), ("best_epoch", -1), ("best_epoch", 2)])
def test_a_history_that_is_none_of_epochs_is_told(tmp_path, key, value):
    go(course(tmp_path), [1.0])
    state = load_checkpoint(tmp_path / "stage1_last.pt", "")
    save_checkpoint(tmp_path / "stage1_last.pt", state | {key: value})
    with pytest.raises(Failure, match="stage1_last.pt is broken: its history is none of epochs; run: python train.py"):
        course(tmp_path).left()


def test_options_of_the_optimiser_are_those_of_this_run():
    model = network(1.0)
    old = make_optimiser("sgd", model.parameters(), 0.1, weight_decay=0.0, momentum=0.9)
    state = {"model": model.state_dict(), "optimiser": old.state_dict(), "average": None}
    new = make_optimiser("sgd", model.parameters(), 0.1, weight_decay=0.5, momentum=0.1)
    restore(state, model, new, None)
    assert (new.param_groups[0]["weight_decay"], new.param_groups[0]["momentum"]) == (0.5, 0.1)
    model.weight.grad = torch.zeros(1, 1)
    new.step()
    assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5)
