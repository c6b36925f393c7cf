"""Peak memory of a process and its children while a block runs, as the system counts it (Linux only)."""
import math
import os
import threading
from pathlib import Path

import torch


class PeakMemory:
    """Peaks in MB; NaN = unknown.

    host_mb    proportional set size, summed over the process tree
    own_mb     the same without pages mapped from files, which the system takes back when it needs them
    device_mb  CUDA's own
    process  root of the tree; None = this one
    """

    def __init__(self, process=None):
        self.process = process or os.getpid()

    def __enter__(self):
        self.host_mb, self.own_mb, self.device_mb = math.nan, math.nan, math.nan
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()
        if torch.cuda.is_available():
            self.device_mb = torch.cuda.max_memory_allocated() / 1e6

    def _watch(self):
        if not Path("/proc/self/smaps_rollup").exists():
            return
        self.host_mb = self.own_mb = 0.0
        while True:
            whole, mapped = (sum(sizes) * 1.024e-3 for sizes in zip(*map(_proportional_kb, _tree(self.process))))
            self.host_mb, self.own_mb = max(self.host_mb, whole), max(self.own_mb, whole - mapped)
            if self.over.wait(0.2):
                return


def _tree(root):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue  # it ended meanwhile
            children.setdefault(parent, []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _proportional_kb(process):
    """All of a process's memory, and what of it is mapped from files."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return sizes.get("Pss:", 0), sizes.get("Pss_File:", 0)
