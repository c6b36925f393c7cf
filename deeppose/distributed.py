"""Several processes started by torchrun, one for each GPU (or share of a CPU); without torchrun, one process alone.

    torchrun --nproc-per-node 4 train_stage1.py
"""
import contextlib
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .errors import UserError


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
        """This process's part of a batch: rows (B, ...) cut into nearly equal pieces, in order."""
        return rows.tensor_split(self.size)[self.rank]

    def gathered(self, part):
        """The whole, on every process, from the parts that `share` gave. part (B_r, ...) -> (B, ...)."""
        if self.size == 1:
            return part
        parts = [None] * self.size
        dist.all_gather_object(parts, part.cpu())
        return torch.cat(parts).to(part.device)

    def wait(self):
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def process_group(device):
    """Join the processes that torchrun started; processes other than the first print nothing to stdout.

    device  torch.device that the settings chose; on CUDA each process takes the GPU of its local rank
    Yields  Group
    Raises  UserError where there are more processes than GPUs
    """
    if "RANK" not in os.environ:
        yield Group(0, 1, device)
        return
    if device.type == "cuda":
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise UserError(f"process {local} finds {gpus} GPUs here; use a smaller torchrun --nproc-per-node")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        with contextlib.ExitStack() as stack:
            if dist.get_rank() > 0:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            yield Group(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


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
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_over_processes(tensor):
    """The mean of a tensor over all processes, on each of them; the tensor itself where there is one process."""
    if process_count() == 1:
        return tensor
    mean = tensor.detach().float().clone()
    dist.all_reduce(mean)
    return mean / process_count()
