"""Batches, schedules, the epoch's loss and what stops it."""
import math
import platform
import subprocess
import sys

import pytest
import torch

from deeppose.errors import UserError
from deeppose.reports import PROJECT
from deeppose.training import (
    changed_settings,
    choose_device,
    index_batches,
    learning_rate_at,
    make_optimiser,
    moving_average,
    train_one_epoch,
)


def test_batches_cover_every_row_once_in_nearly_equal_sizes():
    batches = index_batches(torch.arange(100, 203), 25, torch.Generator().manual_seed(0))
    assert [len(b) for b in batches] == [21, 21, 21, 20, 20]
    joined = torch.cat(list(batches))
    assert joined.sort().values.tolist() == list(range(100, 203)) and joined.tolist() != list(range(100, 203))


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
    with pytest.raises(UserError, match=r"loss is inf in epoch 4, batch 3, at learning rate 0.5"):
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept by glibc's own means")
def test_on_a_cpu_freed_memory_is_kept():
    program = """
import resource
import numpy as np
from deeppose.training import choose_device
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
