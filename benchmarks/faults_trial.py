"""One bad input tried on one step: the folder that it finds, the child process that runs it, and the verdict.

A case is tried on a copy of a prepared folder, by hard links: steps replace files and never write into them. The step
runs in a forked child, which has everything imported, so that thousands of cases take minutes and whatever happens
there (a hang, a kill, code that a file smuggled in) stays there. Needs fork: Linux or macOS.
"""
import contextlib
import ctypes
import importlib
import os
import re
import select
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import faults_folders as folders
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deeppose import errors  # noqa: E402
from deeppose.reports import command_line  # noqa: E402

STEPS = ("lsp_data", "train_stage1", "test_stage1", "generate_train_output", "train_stage2", "test_stage2")
FOLDERS = {"RAW_DIR": "raw", "DATA_DIR": "data", "CHECKPOINT_DIR": "checkpoints", "RUN_DIR": "runs"}
NOWHERE = "http://127.0.0.1:9"  # refuses at once: nothing is downloaded
FLAGS = {
    "lsp_data": ["--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30", "--validation-share", "0.2",
                 "--workers", "1", "--download-from", NOWHERE],
    "train_stage1": ["--backbone", "efficientnet_lite0", "--weights", "initial.pth", "--input-size", "32",
                     "--batch-size", "8", "--optimiser", "adam", "--learning-rate", "1e-3", "--epochs", "2"],
    "train_stage2": ["--crop-size", "67", "--width", "0.05", "--crops-per-image", "1", "--batch-size", "16",
                     "--optimiser", "adam", "--learning-rate", "1e-3", "--epochs", "1"],
}
LONGEST_LINE = 2000  # characters of an error that is still one line to a reader
ADVICE = re.compile(r"run: |run again|expected|there are: |lists the settings|;|make room|choose|\btry\b|\buse\b|leave "
                    r"out|prepare|raise|train |generate |fetch|put |needs a |is for ")
MARK = "code_was_run"


@dataclass
class Case:
    """what      the bad input in words
    step      script without .py
    flags     of the script, beside its folders'
    spoil     function of the folder that makes the bad input there, None = nothing but the flags is bad
    mention   any one of these must stand in the line: a file, or a flag
    statuses  exit statuses that are right: 2 = the user's mistake, 1 = the machine's or the data's; 0 where an input
              is odd and need not be refused
    start     name of the prepared folder that the case begins with
    inside    function called in the child before the step, e.g. to limit what it may write
    rewrites  whether outputs may have been replaced by whole ones before the failure
    folders   flags of folders, where they are not the usual ones
    """
    reader: str
    what: str
    step: str
    flags: list = field(default_factory=list)
    spoil: callable = None
    mention: tuple = ()
    statuses: tuple = (1,)
    start: str = "done"
    inside: callable = None
    rewrites: bool = False
    folders: dict = field(default_factory=dict)

    @property
    def argv(self):
        return [*folder_flags(self.step, **self.folders), *FLAGS.get(self.step, []), *one_thread(self.step),
                *self.flags]

    @property
    def command(self):
        return command_line([f"{self.step}.py", *map(str, self.argv)])


@dataclass
class Answer:
    status: int  # negative: the signal that ended it; None: it had to be ended
    out: str
    err: str
    seconds: float


def script(step):
    return importlib.import_module(step)


def folder_flags(step, **other):
    """A step's folders, all under the current one; `other` ones replace them."""
    flags = []
    for name, place in FOLDERS.items():
        if hasattr(script(step), name):
            flags += ["--" + name.lower().replace("_", "-"), str(other.get(name.lower(), place))]
    return flags + (["--device", "cpu"] if hasattr(script(step), "DEVICE") else [])


def one_thread(step):
    return ["--threads", "1"] if hasattr(script(step), "THREADS") else []


def fork(step, argv, folder, inside=None):
    """Begin a step in a child of this process, in a folder of its own.

    Returns  process id and the ends of two pipes to read its output and its errors from
    """
    pipes = [os.pipe() for _ in range(2)]
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        for _, write in pipes:
            os.close(write)
        return process, pipes[0][0], pipes[1][0]
    status = 1
    try:
        os.setpgid(0, 0)
        for number, (_, write) in enumerate(pipes, 1):
            os.dup2(write, number)
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        torch.set_num_threads(1)
        sys.argv = [str(ROOT / f"{step}.py"), *argv]
        try:
            if inside:
                inside()
            errors.run(lambda: script(step).main(argv))
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(status)


def finish(process, output, error, limit):
    """Read a child's pipes until it ends; end it after `limit` seconds. Returns Answer."""
    start, texts, ended = time.monotonic(), {output: b"", error: b""}, False
    reading = [output, error]
    while reading:
        left = start + limit - time.monotonic()
        ready, _, _ = select.select(reading, [], [], max(left, 0))
        if not ready:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process, signal.SIGKILL)
            ended = True
            break
        for pipe in ready:
            block = os.read(pipe, 1 << 16)
            texts[pipe] += block
            if not block:
                reading.remove(pipe)
    os.close(output)
    os.close(error)
    _, status = os.waitpid(process, 0)
    out, err = (text.decode(errors="replace") for text in texts.values())
    return Answer(None if ended else os.waitstatus_to_exitcode(status), out, err, time.monotonic() - start)


def run_step(step, argv, folder, inside=None, limit=60):
    """A step in a forked child. Returns Answer."""
    return finish(*fork(step, argv, folder, inside), limit)


def run_command(step, argv, folder, inside=None, limit=60):
    """A step in an interpreter of its own, as a user runs it. Returns Answer."""
    start = time.monotonic()
    try:
        done = subprocess.run([sys.executable, str(ROOT / f"{step}.py"), *argv], cwd=folder, capture_output=True,
                              timeout=limit, preexec_fn=inside, env=environment())
    except subprocess.TimeoutExpired as late:
        return Answer(None, str(late.stdout or ""), str(late.stderr or ""), limit)
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"),
                  time.monotonic() - start)


def environment():
    """One thread, as in the forked children: sums in another order would give other weights."""
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def attempt(case, starts, scratch, run=run_step, limit=60):
    """Try a case. Returns its complaints (strings, none where all is well) and its Answer."""
    place = Path(scratch, "case")
    mark = Path(scratch, MARK)
    folders.remove(place)
    folders.clear(mark)
    folders.copy_of(starts[case.start], place)
    try:
        if case.spoil:
            case.spoil(place)
        before = folders.contents(place)
        answer = run(case.step, case.argv, place, case.inside, limit)
        complaints = verdict(case, answer, before, folders.contents(place))
        if mark.exists():
            complaints.append("executed code from the file")
        return complaints, answer
    finally:
        folders.remove(place)


def verdict(case, answer, before, after):
    """What is wrong with a step's answer to a bad input, and with what it left; [] if nothing.

    before, after  `contents` of the folder
    """
    lines = [line for line in answer.err.strip().splitlines() if not line.startswith(("warning: ", "note: "))]
    complaints = []
    if answer.status is None:
        complaints.append(f"hung: ended after {answer.seconds:.0f} s")
    elif answer.status not in case.statuses:
        expected = " or ".join(map(str, case.statuses))
        complaints.append(f"status {answer.status}, expected {expected}")
    if "Traceback" in answer.err:
        complaints.append(f"traceback: {lines[-1][:200]}")
    elif answer.status and answer.status > 0:
        complaints += faults_of_line(lines, case.mention)
    complaints += losses(before, after, case.rewrites or answer.status == 0)
    return complaints


def faults_of_line(lines, mention):
    if len(lines) != 1:
        return [f"{len(lines)} lines on stderr"]
    line, faults = lines[0], []
    if not line.startswith("error: "):
        faults.append("does not begin with error:")
    if mention and not any(name in line for name in mention):
        faults.append(f"does not name {' or '.join(mention)}")
    if not ADVICE.search(line):
        faults.append("does not say what to do")
    if len(line) > LONGEST_LINE:
        faults.append(f"a line of {len(line)} characters")
    if "weights_only" in line or "Re-running" in line:
        faults.append("passes on torch's advice to load it unsafely")
    return faults


def losses(before, after, rewrites):
    """Files lost, altered or left over between two `contents`."""
    # step 1 takes away an older dataset.json, lest it vouch for the arrays of two runs
    given_up = {"data/dataset.json"} if rewrites else set()
    found = [f"lost {name}" for name in before.keys() - after.keys() - given_up if not folders.is_temporary(name)]
    found += [f"left {name}" for name in after.keys() - before.keys() if folders.is_temporary(name)]
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    added = [name for name in after.keys() - before.keys() if not folders.is_temporary(name)]
    if not rewrites:
        found += [f"altered {name}" for name in changed] + [f"added {name}" for name in added]
    return sorted(found)


def hold_to_permissions():
    """Take from root, in this process, the right to pass by the permissions of files."""
    if os.geteuid() or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of the effective set
    libc.capset(header, sets)
