"""Crops of one batch after another: indexed where they lie, or brought to a GPU ahead of the step that needs them."""
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch

AHEAD = 4            # batches gathered before they are needed
THREADS = 2          # that gather them
LARGEST_SHARE = 0.6  # of a GPU's free memory that crops may take; the rest is the network's


def crops_fit(crops, device):
    """Whether crops (N, S, S, C) may lie on the device whole; always on one that shares the host's memory."""
    return device.type != "cuda" or crops.nbytes <= LARGEST_SHARE * torch.cuda.mem_get_info(device)[0]


def stream(crops, batches, device):
    """Gather batches of crops in background threads, and copy them to a GPU beside its work.

    crops    (N, S, S, C) as `Crops` has them, in the host's memory, or mapped from a file
    batches  sequence of row indices (B,) int64 on any device
    Yields   crops[rows] (B, S, S, C) on `device`, in order; a batch is valid until the next one is asked for
    """
    batches = list(batches)
    order = torch.cat(batches).cpu().split([len(rows) for rows in batches])  # one wait for the GPU, not one a batch
    cuda = device.type == "cuda"
    with torch.inference_mode(False):  # the threads, which write into them, are in no such mode
        buffers = [torch.empty((max(map(len, order)), *crops.shape[1:]), dtype=crops.dtype, pin_memory=cuda)
                   for _ in range(AHEAD)]
    copies = torch.cuda.Stream(device) if cuda else None
    copied = [None] * AHEAD  # what must have happened before a buffer is written again

    def gather(number):
        slot, rows = number % AHEAD, order[number]
        if copied[slot]:
            copied[slot].synchronize()
        buffer = torch.index_select(crops, 0, rows, out=buffers[slot][:len(rows)])
        with torch.cuda.stream(copies) if cuda else nullcontext():
            # without waiting only where the buffer is pinned and an event tells when it may be written again
            batch = buffer.to(device, non_blocking=True) if cuda else buffer  # others take no copies from threads
            copied[slot] = copies.record_event() if cuda else None
        return batch, copied[slot]

    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque(pool.submit(gather, number) for number in range(min(AHEAD - 1, len(order))))
        try:
            for number in range(len(order)):
                batch, event = waiting.popleft().result()
                if event:
                    torch.cuda.current_stream(device).wait_event(event)
                    batch.record_stream(torch.cuda.current_stream(device))
                if number + AHEAD - 1 < len(order):  # into the buffer of the batch before this one
                    waiting.append(pool.submit(gather, number + AHEAD - 1))
                yield batch.to(device)
        finally:
            pool.shutdown(cancel_futures=True)
