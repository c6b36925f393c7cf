"""One function over many tasks, on several processor cores."""
import contextlib
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from .errors import Failure


def usable_cores(memberships="/proc/self/cgroup", groups="/sys/fs/cgroup"):
    """Processor cores that this process may use, at least 1: of its affinity, and of its control groups' quotas.

    memberships, groups  where Linux tells a process's control groups, and where it keeps them
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        lines = Path(memberships).read_text().splitlines()
    except OSError:  # not Linux
        return cores
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = Path(groups, "cpu" if controllers else "")  # version 1 has a tree for each controller
        inner = top / path.lstrip("/")  # of a container's path only the top may be there
        cores = min([cores, *(_quota(group) for group in (inner, *inner.parents) if group.is_relative_to(top))])
    return max(1, int(cores))


def _quota(group):
    """Cores that one control group allows, by version 2's file or version 1's two; infinite without a quota."""
    files = [group / "cpu.max"] if (group / "cpu.max").exists() else [group / "cpu.cfs_quota_us",
                                                                      group / "cpu.cfs_period_us"]
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # not there, or "max"
        quota, period = map(int, " ".join(file.read_text() for file in files).split())
        if quota > 0:
            return quota / period
    return math.inf


@contextlib.contextmanager
def worker_map(workers):
    """Gives map(function, tasks), which yields the results in the tasks' order.

    workers  processes, at most 61; 1 = work in this one; 0 = one for each core that may be used, up to 32
    Raises   Failure where a process dies, e.g. because memory is full, or where memory ends
    """
    workers = workers or min(usable_cores(), 32)
    try:
        if workers == 1:
            yield map
            return
        # spawned, as on every platform: a forked child would share the parent's threads' locks
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker) as pool:
            try:
                yield lambda function, tasks: _map(pool, function, tasks)
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool:
        raise Failure("a worker process died, perhaps for want of memory; run again with fewer --workers") from None
    except MemoryError:
        raise Failure("out of memory; run again with fewer --workers, or end other programs") from None


def _map(pool, function, tasks):
    """The results in the tasks' order. However it ends, none of its tasks runs on."""
    with _interrupts_held():  # which the processes that start now inherit: Ctrl-C reaches them too, the parent answers
        futures = [pool.submit(function, task) for task in tasks]
    futures.reverse()
    try:
        while futures:
            yield futures.pop().result()  # and nothing keeps it
    except BaseException:
        # not by future.cancel(): a pool that breaks at the same moment, its workers ended too, would wait for ever
        pool.shutdown(cancel_futures=True)
        raise


@contextlib.contextmanager
def _interrupts_held():
    """Let Ctrl-C and SIGTERM wait for the end of the block: a process that starts waits for what it is to do."""
    if threading.current_thread() is not threading.main_thread():  # which alone answers signals
        yield
        return
    came = []
    answer = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGTERM, answer)
        if came:
            signal.raise_signal(signal.SIGTERM)


def _begin_worker():
    """Leave Ctrl-C to the parent, and end with it: a worker whose parent was killed would wait for tasks for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def _end_with(sentinel):
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
