"""Where a script computes: its device, its share of the processor's cores, and what it used of them."""
import ctypes
import math
import os
import re
import sys
import time

import torch

from .errors import UserError
from .parallel import usable_cores

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's mallopt
LOOK_SECONDS = 5.0  # between two looks at what other programs leave free
OWN_SHARE = 0.9     # of the time asked for, from which on other programs are not in the way


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
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device {name!r} can't be used; there are cpu, cuda, mps and auto, which takes what is there")
    if device.type == "cpu":
        keep_freed_memory()
    return device


def memory_format(device, channels_last=True):
    """The layout of a network's weights and images: channels last where that is asked for, and on CUDA always; on
    Apple's GPUs never, since torch's batch normalisation goes wrong there in that layout.

    On a CPU, networks that only look have half the speed without it.
    """
    kind = torch.device(device).type
    return torch.channels_last if kind == "cuda" or channels_last and kind != "mps" else torch.contiguous_format


def looking_threads(threads, device):
    """How many threads may look at once; threads: as asked for, 0 = one for each core. Apple's GPUs take one alone."""
    return 1 if device.type == "mps" else threads or usable_cores()


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
        libc.mallopt(M_ARENA_MAX, 1)  # of those that threads would have of their own, empty parts go back all the same


class Cores:
    """torch's threads: a fixed number, or one for each core that other programs leave free.

    OpenMP's threads wait for each other after every operation. Where one of them has no core of its own the others
    spin, and two threads get through less than one.

    threads  0 = as many as there are free cores, looked at every few seconds (on Linux; elsewhere all)
    """

    def __init__(self, threads=0):
        self.most = min(torch.get_num_threads(), usable_cores())
        self.fixed = threads > 0
        torch.set_num_threads(threads or self.most)
        self.since, self.spent = time.perf_counter(), _spent()

    def look(self, least_seconds=LOOK_SECONDS):
        """Choose anew, if the last look is so long ago. Cheap; called once a batch."""
        seconds = time.perf_counter() - self.since
        if self.fixed or self.most == 1 or seconds < least_seconds or self.spent is None:
            return
        before, self.spent = self.spent, _spent()
        self.since += seconds
        own, all_programs = ((now - then) / seconds for now, then in zip(self.spent, before))
        torch.set_num_threads(threads_for(torch.get_num_threads(), self.most, len(_cores()), own, all_programs - own))


def threads_for(threads, most, cores, own, others):
    """How many threads to compute with.

    threads      now
    most         at most
    cores        that this process may run on
    own, others  cores' worth of time that this process and all others spent of late
    """
    if threads == most and own >= OWN_SHARE * threads:
        return threads  # whoever else runs gives way
    return max(1, min(most, round(cores - max(others, 0.0))))


def _cores():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _spent():
    """Seconds of processor time so far: this process's, and that of all programs on its cores; None where the system
    does not say."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            lines = re.findall(r"^cpu(\d+) (.*)", file.read(), re.MULTILINE)
    except OSError:
        return None
    mine, total = _cores(), 0
    for number, times in lines:
        if int(number) in mine:
            user, nice, system, _, _, irq, softirq, steal = map(int, times.split()[:8])
            total += user + nice + system + irq + softirq + steal
    return time.process_time(), total / os.sysconf("SC_CLK_TCK")


def mixed_precision(wanted, device):
    """Whether to compute in bfloat16: where the device does it by itself."""
    if wanted and device.type == "cuda" and not has_bfloat16(device):
        print(f"note: {torch.cuda.get_device_name(device)} has no bfloat16: computing in float32")
    return wanted and has_bfloat16(device)


def has_bfloat16(device):
    """Whether a device computes in bfloat16 by itself; others do it more slowly than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def peak_memory(device):
    """Peak memory of this process so far in whole MiB, the GPU's on CUDA, else the host's; NaN where nobody can say."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    try:
        import resource  # not on Windows
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    @property
    def seconds(self):
        return time.perf_counter() - self.start
