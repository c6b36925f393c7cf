"""What the two training scripts share: batches, one epoch, optimisers, schedules, checkpoints, resume, the log."""
import csv
import ctypes
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from .arrays import whole
from .distributed import mean_over_processes, process_count
from .errors import UserError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


def choose_device(name):
    """"auto" takes CUDA, else Apple's GPU, else the CPU; else torch's own names (cuda:1, cpu). For a CPU, freed memory
    is kept from now on. Raises UserError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} can't be used ({str(error).splitlines()[0]}); "
                        "--device auto takes what is there") from None
    if device.type == "cpu":
        keep_freed_memory()
    return device


def keep_freed_memory():
    """Have glibc keep freed memory for what comes next, in place of giving it back to the kernel.

    A step's tensors are as large as the last step's, and to fetch them anew, page by page, can take as long as to
    compute them. Does nothing without glibc (macOS, Windows, musl), nor for tensors where torch has its own allocator
    (Linux on ARM).
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)  # no mapping of its own for a large block
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never


def epoch_generators(device, epoch, *seeds, rank=0):
    """The randomness of one epoch: a function of seeds, epoch and rank alone, so that a resumed run goes on as an
    uninterrupted one does with no generator saved.

    Returns  two torch.Generators on the device: for the order of the rows, the same on every process, and for
             whatever differs from process to process. torch's own generator, dropout's, is seeded as well.
    """
    def seed(*more):
        key = [value % 2 ** 63 for value in (*seeds, epoch, *more)]
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    torch.manual_seed(seed(1, rank))
    return torch.Generator(device).manual_seed(seed(0)), torch.Generator(device).manual_seed(seed(2, rank))


def index_batches(rows, batch_size, generator):
    """Shuffle rows (first dimension) into batches of nearly equal size, none above batch_size: none weighs more."""
    order = rows[torch.randperm(len(rows), generator=generator, device=generator.device)]
    return order.tensor_split(math.ceil(len(rows) / batch_size))


def make_optimiser(name, parameters, learning_rate, weight_decay=0.0, momentum=0.9, initial_accumulator=0.1):
    """adagrad | adam | adamw | sgd from torch.optim; momentum is SGD's, initial_accumulator Adagrad's."""
    parameters = list(parameters)
    device = parameters[0].device.type
    # one kernel for a whole step, where torch has it: Adam's takes a tenth of the time on a CPU
    fused = device == "cpu" or device == "cuda" and name != "adagrad"
    shared = {"lr": learning_rate, "weight_decay": weight_decay, "fused": fused}
    if name == "adagrad":
        return torch.optim.Adagrad(parameters, initial_accumulator_value=initial_accumulator, **shared)
    if name == "sgd":
        return torch.optim.SGD(parameters, momentum=momentum, **shared)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](parameters, **shared)


def learning_rate_at(epoch, epochs, base, schedule="constant", warmup_epochs=0.0, milestones=(), factor=0.1):
    """The step size at a fractional epoch, a function of nothing else, so that resuming needs no schedule state.

    Linear from 0 over warmup_epochs; then constant; or half a cosine to 0 at `epochs`; or times `factor` after each
    of `milestones` (in epochs).
    """
    rate = base * min(1.0, epoch / warmup_epochs) if warmup_epochs else base
    if schedule == "cosine":
        progress = max(0.0, epoch - warmup_epochs) / max(epochs - warmup_epochs, 1e-9)
        return rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    if schedule == "step":
        return rate * factor ** sum(epoch >= m for m in milestones)
    return rate


def moving_average(model, decay):
    """An exponential moving average of the model's weights and buffers; None where decay is 0.

    After n steps the decay is at most (n + 1) / (n + 10), lest a short training's average remember its beginning.
    """
    @torch.no_grad()
    def update(averages, values, steps):  # steps is a tensor, which is not waited for
        weight = 1 - ((steps + 1) / (steps + 10)).clamp(max=decay)
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value, weight) if average.is_floating_point() else average.copy_(value)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True) if decay else None


def train_one_epoch(model, network, batches, count, optimiser, learning_rate, epoch, average=None, clip=None,
                    mixed=False):
    """One pass over `batches`, during which nothing is read from a GPU.

    model          the network as it is trained: itself, or compiled or distributed
    network        the network itself, with a `loss`
    batches        iterable of (images, target) on the model's device
    count          number of batches
    learning_rate  function: fractional epoch -> step size
    average        AveragedModel of the network or None
    clip           largest gradient norm or None
    mixed          bfloat16 autocast, on CUDA only
    Returns        mean loss over persons, persons seen; of all processes
    Raises         UserError on a non-finite loss, naming epoch, batch and learning rate: on a CPU at once, on a GPU at
                   the epoch's end
    """
    model.train()
    device = next(model.parameters()).device
    mixed = mixed and device.type == "cuda"
    losses, sizes = [], []

    def stop_unless_finite():
        values = torch.stack(losses).cpu()
        if not values.isfinite().all():
            batch = int((~values.isfinite()).nonzero()[0])
            raise UserError(f"the loss is {values[batch].item()} in epoch {epoch + 1}, batch {batch + 1}, at learning "
                            f"rate {learning_rate(epoch + batch / count):.3g}; try a smaller --learning-rate or "
                            "--clip 1")

    for batch, (images, target) in enumerate(tqdm(batches, total=count, desc=f"epoch {epoch + 1}", leave=False,
                                                  disable=None, unit="batch")):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch + batch / count)
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            output = model(images)
        loss = network.loss(output, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        if average:
            average.update_parameters(network)
        losses.append(loss.detach())
        sizes.append(len(images))
        if device.type == "cpu" and not losses[-1].isfinite():
            stop_unless_finite()
    stop_unless_finite()
    losses, sizes = torch.stack(losses), torch.tensor(sizes, dtype=torch.float32, device=device)
    losses, sizes = mean_over_processes(losses), mean_over_processes(sizes)
    return ((losses * sizes).sum() / sizes.sum()).item(), round(sizes.sum().item() * process_count())


def save_checkpoint(path, content):
    """Write a dictionary of tensors, numbers and strings, whole or not at all."""
    with whole(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path, made_by, device="cpu"):
    """Read a checkpoint; raises UserError where it is missing or broken, naming the command that makes it."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{Path(path).resolve()} not found; run: {made_by}") from None
    except Exception as error:  # torch raises many kinds for a broken file
        raise UserError(f"{Path(path).resolve()} can't be read ({str(error).splitlines()[0]}); "
                        f"run again: {made_by}") from None


def plain_settings(settings):
    """A Namespace as a dictionary that a checkpoint may hold."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(settings).items()}


def resume_state(model, optimiser, average, **more):
    """What decides how training goes on, beside seed and epoch, from which every generator follows."""
    return {"model": model.state_dict(), "optimiser": optimiser.state_dict(),
            "average": average.state_dict() if average else None, **more}


def restore(state, model, optimiser, average):
    """Put a `resume_state` back."""
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    if average:
        average.load_state_dict(state["average"])


OLDER = {"frozen_stages": 0, "missed": True}  # what older checkpoints do not say of themselves


def changed_settings(old, new, ignore=()):
    """Text of the settings that differ between a checkpoint's and now, e.g. "epochs 5 -> 10"; empty if none does."""
    old = OLDER | old
    return ", ".join(f"{name} {old.get(name)} -> {value}" for name, value in new.items()
                     if name not in ignore and old.get(name) != value)


def write_rows(path, rows):
    """Write a list of dictionaries with the same keys as CSV."""
    with whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def print_row(row):
    """One greppable line: key value key value ..."""
    print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in row.items()), flush=True)


def peak_memory(device):
    """Peak memory of this process so far, MiB: the GPU's on CUDA, else the host's; NaN where the system can't say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource  # not on Windows
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    @property
    def seconds(self):
        return time.perf_counter() - self.start
