"""Worker processes: how many, what they give, and what becomes of them when one or their parent dies."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deeppose import parallel
from deeppose.errors import Failure

ROOT = Path(__file__).resolve().parents[1]


def doubled(number):
    return 2 * number


def ended(number):
    if number == 3:
        os._exit(7)
    return number


def out_of_memory(number):
    raise MemoryError


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """groups(membership, files) -> usable_cores of a process with 8 cores in these control groups."""
    def cores(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return parallel.usable_cores(tmp_path / "membership", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    return cores


@pytest.mark.parametrize("membership, files, cores", [
    ("0::/\n", {}, 8),
    ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
    ("0::/\n", {"cpu.max": "350000 100000\n"}, 3),
    ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
    ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
    ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n", "cpu.max": "400000 100000\n"}, 2),
    ("0::/not/seen/from/inside\n", {"cpu.max": "200000 100000\n"}, 2),
    ("3:cpu,cpuacct:/x\n1:name=systemd:/\n",
     {"cpu/x/cpu.cfs_quota_us": "250000\n", "cpu/x/cpu.cfs_period_us": "50000\n"}, 5),
    ("3:cpu:/x\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ("3:cpuset:/x\n", {"cpu/x/cpu.cfs_quota_us": "100000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 8),
    ("0::/\n", {"cpu.max": "nonsense\n"}, 8),
])
def test_cores_are_counted_as_far_as_they_may_be_used(groups, membership, files, cores):
    assert groups(membership, files) == cores


def test_without_control_groups_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {4, 6}, raising=False)
    assert parallel.usable_cores(tmp_path / "none") == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert parallel.usable_cores(tmp_path / "none") == 1


def test_results_come_in_order_and_a_dead_worker_is_a_failure():
    with parallel.worker_map(2) as mapped:
        assert list(mapped(doubled, range(20))) == [2 * number for number in range(20)]
    with pytest.raises(Failure, match="a worker process died, .* run again with fewer --workers"):
        with parallel.worker_map(2) as mapped:
            list(mapped(ended, range(9)))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_end_of_memory_is_a_failure(workers):
    with pytest.raises(Failure, match="out of memory; run again with fewer --workers"):
        with parallel.worker_map(workers) as mapped:
            list(mapped(out_of_memory, range(2)))


PARENT = """
import sys, time
from deeppose.parallel import worker_map

if __name__ == "__mp_main__":
    time.sleep(0.3)  # as a worker's slow imports

def wait(task):
    print("started", flush=True)
    time.sleep(float(task))

def main():
    with worker_map(2) as mapped:
        list(mapped(wait, sys.argv[1:]))

if __name__ == "__main__":
    from deeppose.errors import run
    run(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals and sessions of POSIX")
@pytest.mark.parametrize("number, whole_group, tasks", [
    (signal.SIGKILL, False, ["60", "60"]), (signal.SIGINT, True, ["0.5"] * 90), (signal.SIGTERM, False, ["0.5"] * 90),
])
@pytest.mark.parametrize("when", ["while they start", "while they work"])
def test_no_worker_outlives_its_parent_or_prints_a_traceback(tmp_path, number, whole_group, tasks, when):
    (tmp_path / "parent.py").write_text(PARENT)
    with (open(tmp_path / "output", "w+") as output, open(tmp_path / "errors", "w+") as errors):
        parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", *tasks], stdout=output, stderr=errors,
                                  env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
        try:
            while (workers_of(parent.pid) < 2 if when == "while they start"
                   else (tmp_path / "output").read_text().count("started") < 2):
                assert parent.poll() is None
                time.sleep(0.01)
            (os.killpg if whole_group else os.kill)(parent.pid, number)
            assert parent.wait(timeout=30) == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[number]
            for _ in range(500):
                if not alive(parent.pid):
                    break
                time.sleep(0.01)
            assert not alive(parent.pid)
        finally:
            if alive(parent.pid):
                os.killpg(parent.pid, signal.SIGKILL)
    # a worker whose parent is killed while it hands over the work is left with half a message, and Python says so
    if number != signal.SIGKILL or when != "while they start":
        assert "Traceback" not in (tmp_path / "errors").read_text()
    if number != signal.SIGKILL:
        assert (tmp_path / "errors").read_text() == {2: "interrupted\n", 15: "terminated\n"}[number]


def table(*columns):
    done = subprocess.run(["ps", "-Aww", *(f"-o{column}=" for column in columns)], capture_output=True, text=True)
    return [line.split(None, len(columns) - 1) for line in done.stdout.splitlines()]


def alive(session):
    """Processes of a session, but for those that have ended and that nobody has asked for."""
    return [row for row in table("sess", "stat", "pid") if row[0] == str(session) and not row[1].startswith("Z")]


def workers_of(parent):
    return sum(row[0] == str(parent) and "spawn_main" in row[1] for row in table("ppid", "args"))


def ends_at_once(_):
    import deeppose.errors  # noqa: F401  as every script does
    return signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_worker_that_is_to_end_is_not_kept_by_what_a_script_says_of_it():
    with parallel.worker_map(2) as pool_map:
        assert list(pool_map(ends_at_once, range(2))) == [True, True]


def slowly(number):
    time.sleep(0.02)
    return os.getpid()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_an_interruption_while_the_workers_die_ends():
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), parallel.worker_map(2) as pool_map:
            for process in pool_map(slowly, range(300)):
                os.kill(process, signal.SIGTERM)  # as SIGTERM to the whole group does
                raise KeyboardInterrupt
