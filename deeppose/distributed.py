"""Several processes started by torchrun, one for each GPU (or share of a CPU); without torchrun, one process alone.

    torchrun --nproc-per-node 4 train_stage1.py
"""
import contextlib
import gc
import math
import os
import sys
import time
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .errors import UserError

PATIENCE = timedelta(days=365)  # longer than any training
_batches_are_shared = True  # whether the processes of the group that stands work on the same batches


@dataclass(frozen=True)
class Group:
    """The processes that work together: this one's rank, how many there are, and this one's device."""
    rank: int
    size: int
    device: torch.device

    @property
    def first(self):
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def own(self, sequence):
        """This process's part of a sequence: every size-th item."""
        return sequence[self.rank::self.size]

    def share(self, rows):
        """This process's part of a batch: rows (B, ...) cut into nearly equal pieces, in order.

        Raises UserError where there are too few rows for every process to have one (see `smallest_share`).
        """
        if 1 < self.size > len(rows):
            raise UserError(f"{len(rows)} persons can't be shared by {self.size} processes; start fewer: torchrun "
                            "--nproc-per-node, or use a larger --batch-size")
        return rows.tensor_split(self.size)[self.rank]

    def gathered(self, part):
        """The whole, on every process, from the parts that `share` gave. part (B_r, ...) -> (B, ...)."""
        if self.size == 1:
            return part
        parts = [None] * self.size
        dist.all_gather_object(parts, part.cpu())
        return torch.cat(parts).to(part.device)

    def same_buffers(self, network):
        """Give every process the first one's buffers: BatchNorm's statistics, say, where each took its own batches'."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def wait(self):
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def process_group(device, patient=False):
    """Join the processes that torchrun started; processes other than the first print nothing to stdout, and what ends
    them all is told by one of them.

    device   torch.device that the settings chose; on CUDA each process takes the GPU of its local rank
    patient  the processes share no batches, and wait for each other as long as it takes
    Yields   Group
    Raises   UserError where there are more processes than GPUs, or where Apple's GPU would have to share batches
    """
    global _batches_are_shared
    if "RANK" not in os.environ:
        yield Group(0, 1, device)
        return
    if device.type == "mps" and not patient:
        raise UserError("several processes share no batch on mps; give them --device cpu, or run one without torchrun")
    store, rank, size = next(dist.rendezvous("env://"))
    try:
        if device.type == "cuda":
            device = _own_gpu()
        # NCCL's watchdog ends processes that wait for long; gloo waits as long as it is told
        backend = "nccl" if device.type == "cuda" and not patient else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE if patient else None)
        _batches_are_shared = not patient
        with contextlib.ExitStack() as stack:
            if rank > 0:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            yield Group(rank, size, device)
    except BaseException:
        if not _first_to_tell(store):
            sys.stderr = open(os.devnull, "w")  # this process ends without a word, its status says why
            time.sleep(1)  # torchrun ends all when one has ended: first let the other speak
        raise
    finally:
        _batches_are_shared = True
        if dist.is_initialized():
            gc.collect()  # reducers that only circles of references keep: one that outlives the group may abort
            dist.destroy_process_group()


def _own_gpu():
    local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= gpus:
        raise UserError(f"process {local} finds {gpus} GPUs here; use a smaller torchrun --nproc-per-node")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _first_to_tell(store):
    """Whether this process is the first that something ended: the others end for the same reason, or for want of it."""
    try:
        return store.add("told", 1) == 1
    except RuntimeError:  # nobody is left to ask
        return True


def smallest_share(rows, batch_size, size):
    """Persons in the smallest part that `size` processes get of any batch of `training.index_batches`.

    rows  how many there are in all
    """
    batches = math.ceil(rows / batch_size)
    return rows // max(batches, 1) // size


def distributed(network, group, sync_batchnorm=True):
    """The network as it is trained: itself in one process, else averaging gradients over all of them.

    sync_batchnorm  on GPUs BatchNorm's statistics are those of the whole batch
    """
    if group.size == 1:
        return network
    if group.device.type != "cuda":
        return DistributedDataParallel(network)
    if sync_batchnorm:
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[group.device.index])


def process_count():
    """How many processes share each batch."""
    shared = dist.is_available() and dist.is_initialized() and _batches_are_shared
    return dist.get_world_size() if shared else 1


def mean_over_processes(tensor):
    """The mean of a tensor over the processes that share a batch, on each of them; the tensor itself in one process."""
    if process_count() == 1:
        return tensor
    mean = tensor.detach().float().clone()
    dist.all_reduce(mean)
    return mean / process_count()
