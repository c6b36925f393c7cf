"""One function over many tasks, on several processor cores."""
import contextlib
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from .errors import UserError


@contextlib.contextmanager
def worker_map(workers):
    """Gives map(function, tasks), which yields the results in the tasks' order.

    workers  processes, at most 61; 1 = work in this one; 0 = one for each core, up to 32
    Raises   UserError where a process dies, e.g. because memory or disk are full
    """
    workers = workers or min(os.cpu_count(), 32)
    if workers == 1:
        yield map
        return
    # spawned, as on every platform: a forked child would share the parent's threads' locks.
    # Ctrl-C reaches children too; the parent alone answers it.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), signal.signal,
                             (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            yield pool.map
        except BrokenProcessPool:
            raise UserError("a worker process died, perhaps for want of memory or disk space; "
                            "run again with fewer --workers") from None
        finally:
            pool.shutdown(cancel_futures=True)
