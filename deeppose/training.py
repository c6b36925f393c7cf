"""What the two training scripts share: batches, optimisers, schedules, the weights' average, one epoch, its row."""
import copy
import csv
import math

import numpy as np
import torch
from tqdm import tqdm

from .arrays import whole
from .distributed import mean_over_processes, process_count
from .errors import Failure, UserError


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


def times_of(sources, oversample):
    """How often each person comes a pass, (N,) int. Raises UserError where `oversample` is no list of NAME=TIMES."""
    times = np.ones(len(sources), int)
    for text in oversample:
        name, _, number = text.partition("=")
        if name not in sources or not number.isdecimal() or not 1 <= int(number) <= 1000:
            raise UserError(f"--oversample {text}: expected one of {', '.join(sorted(set(sources)))} and how often, "
                            f"e.g. {sources[0]}=4")
        times[sources == name] = int(number)
    return times


def part_of(text):
    """--without as numbers: which part of the training persons, of how many. Raises UserError."""
    part, _, count = text.partition("/")
    if not (part.isdecimal() and count.isdecimal() and 1 <= int(part) <= int(count) <= 100 and int(count) > 1):
        raise UserError(f"--without {text}: expected which of how many parts, e.g. 1/2")
    return int(part), int(count)


def parameter_groups(network, factor=1.0, frozen_steps=0):
    """A stage-1 network's parameters for `make_optimiser`: its backbone's convolutions, and the rest.

    factor        of the convolutions' step size
    frozen_steps  for how many of the first steps the convolutions stay as they are. Their BatchNorm's statistics follow
                  the batches all the same, lest what the rest has learnt on jump when they begin
    """
    convolutions = network.convolutions()
    known = set(map(id, convolutions))
    return [{"params": convolutions, "factor": factor, "frozen_steps": frozen_steps},
            {"params": [parameter for parameter in network.parameters() if id(parameter) not in known]}]


def make_optimiser(name, parameters, learning_rate, weight_decay=0.0, momentum=0.9, initial_accumulator=0.1):
    """adagrad | adam | adamw | sgd from torch.optim; momentum is SGD's, initial_accumulator Adagrad's.

    parameters  of a network, or their groups, which may have what `parameter_groups` gives them
    """
    parameters = list(parameters)
    first = parameters[0]
    device = (first["params"][0] if isinstance(first, dict) else first).device.type
    # one kernel for a whole step, where torch has it: Adam's takes a tenth of the time on a CPU. None, not False, where
    # it has none: False would forbid the next best, one kernel for all tensors, too
    fused = True if device == "cpu" or device == "cuda" and name != "adagrad" else None
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


class MovingAverage:
    """An exponential moving average of a network's weights and buffers.

    After n steps the decay is at most (n + 1) / (n + 10), lest a short training's average remember its beginning; the
    first step copies. Nothing here waits for a GPU.

    module  the averaged network
    """

    def __init__(self, network, decay):
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.decay, self.steps = decay, 0
        pairs = list(zip(_tensors(self.module), _tensors(network), strict=True))
        self.floating, self.whole = ([pair for pair in pairs if pair[0].is_floating_point() == it]
                                     for it in (True, False))

    @torch.no_grad()
    def update(self):
        decay = min(self.decay, (self.steps + 1) / (self.steps + 10)) if self.steps else 0.0
        torch._foreach_lerp_(*map(list, zip(*self.floating)), 1 - decay)
        if self.whole:
            torch._foreach_copy_(*map(list, zip(*self.whole)))
        self.steps += 1

    def state_dict(self):
        return {"module": self.module.state_dict(), "steps": self.steps}

    def load_state_dict(self, state):
        self.module.load_state_dict(state["module"])
        self.steps = state["steps"]


def _tensors(network):
    return [*network.parameters(), *network.buffers()]


def moving_average(network, decay):
    """A MovingAverage of the network, made when it lies on its device; None where decay is 0."""
    return MovingAverage(network, decay) if decay else None


def train_one_epoch(model, network, batches, count, optimiser, learning_rate, epoch, average=None, clip=None,
                    mixed=False, cores=None, every=0, look=None):
    """One pass over `batches`, during which nothing is read from a GPU.

    model          the network as it is trained: itself, or compiled or distributed
    network        the network itself, with a `loss`
    batches        iterable of (images, target) on the model's device, or of (images, what else the model is told,
                   target)
    count          number of batches
    learning_rate  function: fractional epoch -> step size, times each group's factor
    average        MovingAverage of the network or None
    clip           largest gradient norm or None
    mixed          bfloat16 autocast (see devices.mixed_precision)
    cores          devices.Cores, which chooses the number of threads as it goes, or None
    every, look    after every so many steps of the training, but the epoch's last, look(steps so far) is called, and
                   may leave the network in evaluation mode; 0 = never
    Returns        mean loss over persons, persons seen; of all processes
    Raises         Failure on a non-finite loss, naming epoch, batch and learning rate: on a CPU at once, on a GPU at
                   the epoch's end
    """
    model.train()
    device = next(model.parameters()).device
    losses, sizes = [], []

    def stop_unless_finite():
        values = torch.stack(losses).cpu()
        if not values.isfinite().all():
            batch = int((~values.isfinite()).nonzero()[0])
            raise Failure(f"the loss is {values[batch].item()} in epoch {epoch + 1}, batch {batch + 1}, at learning "
                            f"rate {learning_rate(epoch + batch / count):.3g}; try a smaller --learning-rate or "
                            "--clip 1")

    for batch, (*seen, target) in enumerate(tqdm(batches, total=count, desc=f"epoch {epoch + 1}", leave=False,
                                                  disable=None, unit="batch")):
        if cores:
            cores.look()
        step = epoch * count + batch
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch + batch / count) * group.get("factor", 1.0)
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            output = model(*seen)
        loss = network.loss(output, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimiser.param_groups:
            if step < group.get("frozen_steps", 0):
                # without a gradient an optimiser passes a parameter by: no decay, no momentum, nothing gathered.
                # (Without requires_grad a compiled network would be compiled again, a distributed one wait for them)
                for parameter in group["params"]:
                    parameter.grad = None
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        if average:
            average.update()
        losses.append(loss.detach())
        sizes.append(len(target))
        if device.type == "cpu" and not losses[-1].isfinite():
            stop_unless_finite()
        if every and (step + 1) % every == 0 and batch + 1 < count:
            look(step + 1)
            model.train()
    stop_unless_finite()
    losses, sizes = torch.stack(losses), torch.tensor(sizes, dtype=torch.float32, device=device)
    losses, sizes = mean_over_processes(losses), mean_over_processes(sizes)
    return ((losses * sizes).sum() / sizes.sum()).item(), round(sizes.sum().item() * process_count())


def write_rows(path, rows, columns=()):
    """Write a list of dictionaries as CSV, with the columns named and one for each further key that one of them has."""
    with whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys([*columns, *(key for row in rows for key in row)]))
        writer.writeheader()
        writer.writerows(rows)


def log_rows(path, rows):
    """Write a log anew, as after every epoch; where it can't be, say so: no training is lost for that."""
    try:
        write_rows(path, rows)
    except Failure as error:
        with tqdm.external_write_mode():
            print(f"note: {error}; what it would tell is kept with the training, which goes on", flush=True)


def print_row(row):
    """One greppable line: key value key value ...; above a bar, if there is one."""
    with tqdm.external_write_mode():
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in row.items()), flush=True)
