"""Batches, schedules, the epoch's loss and what stops it."""
import copy
import csv
import math
import platform
import subprocess
import sys

import pytest
import torch

from deeppose import devices
from deeppose.checkpoints import changed_settings
from deeppose.course import restore
from deeppose.devices import Cores, choose_device, looking_threads, memory_format, peak_memory, threads_for
from deeppose.errors import Failure, UserError
from deeppose.reports import PROJECT
from deeppose.training import (
    epoch_generators,
    index_batches,
    learning_rate_at,
    make_optimiser,
    moving_average,
    parameter_groups,
    train_one_epoch,
    write_rows,
)


def test_batches_cover_every_row_once_in_nearly_equal_sizes():
    batches = index_batches(torch.arange(100, 203), 25, torch.Generator().manual_seed(0))
    assert [len(b) for b in batches] == [21, 21, 21, 20, 20]
    joined = torch.cat(list(batches))
    assert joined.sort().values.tolist() == list(range(100, 203)) and joined.tolist() != list(range(100, 203))


def test_epochs_differ_in_order_and_in_what_is_drawn():
    def drawn(epoch, seed=3, rank=0):
        generators = epoch_generators(torch.device("cpu"), epoch, seed, rank=rank)
        return [*(torch.rand(4, generator=generator) for generator in generators), torch.rand(4)]

    assert all(map(torch.equal, drawn(2), drawn(2)))
    for other in (drawn(3), drawn(2, seed=4)):
        assert not any(map(torch.equal, drawn(2), other))
    # processes take shares of one order, and draw for themselves
    assert [torch.equal(*pair) for pair in zip(drawn(2), drawn(2, rank=1))] == [True, False, False]


def test_schedules_by_hand():
    def rate(epoch, **knobs):
        return learning_rate_at(epoch, 10, 1.0, **knobs)

    assert rate(7.3) == 1.0
    assert rate(1, warmup_epochs=2.0) == 0.5
    assert rate(6, schedule="cosine", warmup_epochs=2.0) == pytest.approx(0.5)
    assert rate(10, schedule="cosine") == pytest.approx(0)
    assert [rate(e, schedule="step", milestones=(3, 6), factor=0.1) for e in (2.9, 3, 7)] == \
        pytest.approx([1, 0.1, 0.01])


class Line(torch.nn.Module):
    """A network of one weight, with the three methods that stage 1 has."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, images):
        return images * self.weight

    def loss(self, output, target):
        return (output - target).abs().mean()


def epoch(model, batches, rate=0.0):
    optimiser = make_optimiser("sgd", model.parameters(), 1.0)
    return train_one_epoch(model, model, batches, len(batches), optimiser, lambda _: rate, 3)


def test_the_epochs_loss_weighs_persons_not_batches():
    batches = [(torch.zeros(4), torch.full((4,), 1.0)), (torch.zeros(1), torch.full((1,), 6.0))]
    assert epoch(Line(), batches) == (2.0, 5)


def test_a_loss_that_is_not_finite_stops_with_epoch_batch_and_rate():
    good, bad = (torch.zeros(2), torch.zeros(2)), (torch.zeros(2), torch.full((2,), torch.inf))
    with pytest.raises(Failure, match=r"loss is inf in epoch 4, batch 3, at learning rate 0.5"):
        epoch(Line(), [good, good, bad, good], rate=0.5)


def test_clipping_and_averaging_can_be_seen():
    batch = [(torch.full((1,), 100.0), torch.zeros(1))]
    free, clipped = Line(), Line()
    for model, clip in ((free, None), (clipped, 0.5)):
        optimiser = make_optimiser("sgd", model.parameters(), 1.0, momentum=0.0)
        train_one_epoch(model, model, batch, 1, optimiser, lambda e: 0.1, 0, clip=clip)
    assert free.weight.item() == pytest.approx(1 - 10) and clipped.weight.item() == pytest.approx(1 - 0.05)
    model = Line()
    average = moving_average(model, 0.9)
    optimiser = make_optimiser("sgd", model.parameters(), 1.0, momentum=0.0)
    expected = None
    for step in range(120):  # the first update copies
        train_one_epoch(model, model, batch, 1, optimiser, lambda e: 0.001, 0, average=average)
        decay = min(0.9, (step + 1) / (step + 10)) if step else 0
        expected = decay * (expected or 0) + (1 - decay) * model.weight.item()
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01 > abs(model.weight.item())  # the average lags behind
    assert moving_average(model, 0.0) is None


def test_the_average_follows_weights_and_buffers_with_a_plain_count_and_no_loop_over_tensors(monkeypatch):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    average = moving_average(model, 0.5)
    calls = []
    real = torch._foreach_lerp_
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda *given: calls.append(given) or real(*given))
    for step in range(3):
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.fill_(step)
        average.update()
    assert len(calls) == 3 and all(isinstance(weight, float) for *_, weight in calls)  # a tensor would be waited for
    # a copy of 0; then 2 / 11 of it and 9 / 11 of 1; then 3 / 12 of that and 9 / 12 of 2
    expected = 3 / 12 * (9 / 11) + 9 / 12 * 2
    state = average.state_dict()
    assert state["steps"] == 3
    assert state["module"]["0.weight"].flatten().tolist() == pytest.approx([expected] * 2)
    assert state["module"]["1.running_mean"].tolist() == pytest.approx([expected] * 2)
    assert state["module"]["1.num_batches_tracked"].item() == 2  # whole numbers are not averaged
    again = moving_average(model, 0.5)
    again.load_state_dict(state)
    with torch.no_grad():
        model[0].weight.fill_(7)
    average.update()
    again.update()
    assert torch.equal(average.module[0].weight, again.module[0].weight)


class Tail(torch.nn.Module):
    """A convolution with its normalisation, and the rest, as stage 1's networks tell them apart."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
        self.head = torch.nn.Linear(2, 1)

    def convolutions(self):
        return list(self.backbone.parameters())

    def forward(self, images):
        return self.head(self.backbone(images).mean((2, 3)))

    def loss(self, output, target):
        return (output - target).square().mean()


def batches_of(epoch):
    generator = torch.Generator().manual_seed(epoch)
    return [(torch.randn(4, 1, 3, 3, generator=generator), torch.randn(4, 1, generator=generator)) for _ in range(2)]


def made(name, factor=1.0, frozen_steps=0, groups=True):
    network = Tail()
    parameters = parameter_groups(network, factor, frozen_steps) if groups else network.parameters()
    return network, make_optimiser(name, parameters, 0.1, weight_decay=0.01, momentum=0.9)


def trained(network, optimiser, epochs, **more):
    for epoch in epochs:
        train_one_epoch(network, network, batches_of(epoch), 2, optimiser, lambda _: 0.1, epoch, **more)
    return copy.deepcopy(network.state_dict())


def moved(before, after):
    return {name for name in before if "running" not in name and not torch.equal(before[name], after[name])} \
        - {"backbone.1.num_batches_tracked"}


def test_the_convolutions_rate_is_a_factor_of_the_rest():
    start = Tail().state_dict()
    slow, plain = (trained(*made("sgd", factor), [0], clip=1e-3) for factor in (0.0, 1.0))
    assert moved(start, slow) == {"head.weight", "head.bias"}
    assert len(moved(start, plain)) == 6
    network, optimiser = made("adagrad", 0.25)
    trained(network, optimiser, [0])
    assert [group["lr"] for group in optimiser.param_groups] == [0.025, 0.1]


@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw", "sgd"])
def test_frozen_convolutions_stay_for_so_many_steps_and_then_learn_also_when_resumed(name):
    start = Tail().state_dict()
    whole = made(name, frozen_steps=3)
    first = trained(*whole, [0], clip=1.0)  # two steps
    assert moved(start, first) == {"head.weight", "head.bias"}
    assert not torch.equal(start["backbone.1.running_mean"], first["backbone.1.running_mean"])  # batches are followed
    gathered = [whole[1].state.get(parameter, {}) for parameter in whole[0].convolutions()]
    assert all((it["sum"] == 0.1).all() if name == "adagrad" else not it for it in gathered)
    state = copy.deepcopy({"model": whole[0].state_dict(), "optimiser": whole[1].state_dict(), "average": None})
    second = trained(*whole, [1], clip=1.0)  # the third step, and one in which all learn
    assert len(moved(first, second)) == 6
    resumed = made(name, frozen_steps=3)
    restore(state, *resumed, None)
    assert all(map(torch.equal, trained(*resumed, [1], clip=1.0).values(), second.values()))


def test_what_was_gathered_before_convolutions_had_a_group_is_gone_on_with():
    network, optimiser = made("adam", groups=False)
    trained(network, optimiser, [0])
    state = copy.deepcopy({"model": network.state_dict(), "optimiser": optimiser.state_dict(), "average": None})
    assert len(state["optimiser"]["param_groups"]) == 1
    again = made("adam")
    restore(state, *again, None)
    assert all(map(torch.equal, trained(*again, [1]).values(), trained(network, optimiser, [1]).values()))
    state["optimiser"]["param_groups"][0]["params"].pop()
    with pytest.raises(ValueError, match="can't be gone on with .*it is of 5 parameters, not 6"):
        restore(state, *made("adam"), None)


def test_between_steps_there_is_a_look_that_changes_nothing():
    looks = []

    def look(step):
        looks.append((step, network.training))
        network.eval()

    network, optimiser = made("adam")
    looked = trained(network, optimiser, [0, 1, 2], every=1, look=look)
    assert looks == [(1, True), (3, True), (5, True)]  # an epoch's last step is looked at by its caller
    assert all(map(torch.equal, looked.values(), trained(*made("adam"), [0, 1, 2]).values()))
    looks.clear()
    trained(*made("adam"), [0, 1, 2], every=3, look=look)
    assert [step for step, _ in looks] == [3]


def test_a_log_has_a_column_for_whatever_a_row_has(tmp_path):
    write_rows(tmp_path / "log.csv", [{"epoch": 1, "pdj": 2.0}, {"epoch": 2, "training_pdj": 3.0, "pdj": 4.0}])
    with open(tmp_path / "log.csv", newline="") as file:
        assert list(csv.reader(file)) == [["epoch", "pdj", "training_pdj"], ["1", "2.0", ""], ["2", "4.0", "3.0"]]


class OnDevice:
    """What make_optimiser looks at of a parameter."""

    def __init__(self, kind):
        self.device = torch.device(kind)


@pytest.mark.parametrize("name, device, fused", [("adagrad", "cuda", None), ("adam", "cuda", True),
                                                 ("sgd", "mps", None), ("adagrad", "cpu", True)])
def test_without_a_fused_step_torch_still_chooses_one_kernel_for_all_tensors(monkeypatch, name, device, fused):
    kind, given = {"adagrad": "Adagrad", "adam": "Adam", "sgd": "SGD"}[name], {}
    monkeypatch.setattr(torch.optim, kind, lambda parameters, **keywords: given.update(keywords))
    make_optimiser(name, [OnDevice(device)], 0.1)
    assert given["fused"] is fused  # False would forbid foreach as well


def test_adagrads_first_step_follows_its_initial_accumulator():
    for start, step in ((0.0, 0.1), (0.1, 0.1 * 0.5 / math.sqrt(0.1 + 0.25))):
        weight = torch.nn.Parameter(torch.zeros(1))
        optimiser = make_optimiser("adagrad", [weight], 0.1, initial_accumulator=start)
        weight.grad = torch.full((1,), 0.5)
        optimiser.step()
        assert -weight.item() == pytest.approx(step, rel=1e-4)
    decayed = torch.nn.Parameter(torch.ones(1))
    optimiser = make_optimiser("adamw", [decayed], 0.1, weight_decay=0.5)
    decayed.grad = torch.zeros(1)
    optimiser.step()
    assert decayed.item() == pytest.approx(0.95)


def test_a_device_that_is_not_there_is_said():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="device 'cuda:77' can't be used"):
        choose_device("cuda:77")
    with pytest.raises(UserError, match="device 'gpu' can't be used"):
        choose_device("gpu")


def test_apples_gpus_take_neither_channels_last_nor_several_threads():
    layouts = {(kind, asked): memory_format(torch.device(kind), asked) for kind in ("cpu", "cuda", "mps")
               for asked in (False, True)}
    last = torch.channels_last
    assert {which for which, layout in layouts.items() if layout == last} == {("cpu", True), ("cuda", False),
                                                                             ("cuda", True)}
    assert looking_threads(3, torch.device("mps")) == 1 and looking_threads(3, torch.device("cpu")) == 3
    assert looking_threads(0, torch.device("cpu")) >= 1


def test_threads_follow_the_cores_that_are_free():
    assert threads_for(2, 2, 2, own=1.95, others=0.9) == 2  # it has what it asks for: the others give way
    assert threads_for(2, 2, 2, own=1.0, others=1.0) == 1   # each of two threads shares its core
    assert threads_for(1, 2, 2, own=1.0, others=1.0) == 1
    assert threads_for(1, 2, 2, own=1.0, others=0.1) == 2   # the neighbour has gone
    assert threads_for(2, 2, 2, own=0.7, others=0.05) == 2  # it waited for something else
    assert threads_for(8, 8, 8, own=4.0, others=3.4) == 5
    assert threads_for(2, 2, 2, own=0.1, others=9.0) == 1   # never none
    assert threads_for(4, 4, 64, own=2.0, others=10.0) == 4  # OMP_NUM_THREADS or a quota is the most


def test_cores_are_looked_at_now_and_then_and_a_number_given_stays(monkeypatch):
    spent = iter([(0.0, 0.0), (10.0, 20.0), (20.0, 30.0), (0.0, 0.0)])  # own, all: a neighbour for ten seconds
    clock = iter([0.0, 1.0, 10.0, 20.0, 0.0, 99.0])
    chosen = [2]
    monkeypatch.setattr(devices, "_spent", lambda: next(spent))
    monkeypatch.setattr(devices.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(devices, "_cores", lambda: range(2))
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: chosen[-1])
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    cores = Cores()
    cores.look()  # too early
    assert chosen == [2, 2]
    cores.look()
    assert chosen == [2, 2, 1]
    cores.look()
    assert chosen == [2, 2, 1, 2 - 1 + 1]
    fixed = Cores(3)
    fixed.look()
    assert chosen[-1] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what other programs use")
def test_the_system_tells_what_this_process_and_all_others_spend():
    before = devices._spent()
    total = sum(number * number for number in range(3_000_000))
    after = devices._spent()
    own, everybody = (b - a for a, b in zip(before, after))
    assert total and own > 0.05 and everybody >= own - 0.05  # the kernel counts in hundredths


def test_where_the_system_can_not_say_how_much_memory_was_used_it_is_nan(monkeypatch):
    assert peak_memory(torch.device("cpu")) > 10
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert math.isnan(peak_memory(torch.device("cpu")))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept by glibc's own means")
def test_on_a_cpu_freed_memory_is_kept():
    program = """
import resource
import numpy as np
from deeppose.devices import choose_device
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(2 ** 24, np.float32)  # 64 MiB; on ARM torch's own tensors come from another allocator
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = pages()
choose_device("cpu")
pages()
print(given_back, pages())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    given_back, kept = map(int, done.stdout.split())
    if not given_back:
        pytest.skip("this kernel does not count pages")
    assert kept < given_back / 4


def test_changed_settings_are_named():
    assert changed_settings({"epochs": 5, "seed": 0}, {"epochs": 10, "seed": 0}) == "epochs 5 -> 10"
    assert changed_settings({"epochs": 5}, {"epochs": 10}, ignore=("epochs",)) == ""
