"""Disks that are full, and folders in which another run is at work."""
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import faults_folders as folders
import faults_trial as trial
import numpy as np
from faults_trial import Case
from faults_user import ANEW, OUTPUTS

from deeppose.claims import temporary_path

DISK = 192 << 20  # bytes of a disk that is filled up
PAGE = 4096


def disk_cases(starts, sizes=14):
    """Steps that may write no file larger than some size: below the largest that each has to write."""
    for step in trial.STEPS:
        largest = max(path.stat().st_size for path in written_by(step, starts["done"]))
        for limit in sorted({0, 1, 10, 100, *np.geomspace(300, largest - 1, sizes - 4).astype(int).tolist()}):
            yield Case("disks", f"no file may be larger than {limit:,} bytes", step, ANEW.get(step, []),
                       inside=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
                       rewrites=True)


def written_by(step, done):
    names = {"lsp_data": "data/t*_images.npy", "train_stage1": "checkpoints/stage1_last.pt",
             "test_stage1": "runs/stage1.png", "generate_train_output": "data/train_output.npy",
             "train_stage2": "checkpoints/stage2_neck.pt", "test_stage2": "runs/stage2.png"}
    return list(done.glob(names[step]))


def full_disk_trials(starts, scratch, steps):
    """Steps on a small disk of its own with hardly a byte left.

    Yields  (Case, complaints, Answer); nothing where the system lets nobody mount one
    """
    disk = Path(scratch, "disk")
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", disk], capture_output=True)
    if mounted.returncode:
        return
    try:
        for step in steps:
            largest = max(path.stat().st_size for path in written_by(step, starts["done"]))
            for free in sorted({0, *(int(largest * share) // PAGE * PAGE for share in (0.1, 0.5, 0.999))}):
                case = Case("full disks", f"{free >> 10} KiB are left on the disk", step, ANEW.get(step, []),
                            rewrites=True)
                place = disk / "case"
                folders.remove(place)
                with contextlib.suppress(FileNotFoundError):
                    (disk / "filler").unlink()
                shutil.copytree(starts["done"], place, symlinks=True)
                if step == "lsp_data":  # arrays of before would leave their room
                    for path in (place / "data").iterdir():
                        path.unlink()
                fill(disk, free)
                before = folders.contents(place)
                answer = trial.run_step(step, case.argv, place)
                after = folders.contents(place)
                yield case, trial.verdict(case, answer, before, after) + broken(place, before, after), answer
    finally:
        subprocess.run(["umount", disk], capture_output=True)


def fill(disk, free):
    space = os.statvfs(disk)
    with open(disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(space.f_bavail * space.f_frsize - free, 1))


def broken(place, before, after):
    """Files under their final names that are new or changed, and not whole."""
    return [f"half of {name}" for name, content in after.items()
            if before.get(name) != content and not folders.is_temporary(name) and not folders.is_whole(place / name)]


OTHER_WAYS = ("the same command", "another seed", "a path from the root", "a link to the folder", "a slash at the end",
              "a way round", "a second time", "from another folder")


def two_run_trials(starts, scratch, steps):
    """A step is stopped in the midst of its work, and others begin in the same folder.

    Yields  (Case, complaints, Answer)
    """
    for step in steps:
        place = Path(scratch, "case")
        folders.remove(place)
        folders.copy_of(starts["done"], place)
        folders.put_link(place)(Path(scratch, "link"))
        first = Case("two runs", "", step, ANEW.get(step, []))
        process, output, error = trial.fork(step, first.argv, place)
        held = wait_for_claim(process, place / trial.FOLDERS[OUTPUTS[step][0].upper()])
        try:
            for way in OTHER_WAYS:
                case = Case("two runs", f"another run is at work there: {way}", step, [
                    *ANEW.get(step, []), *(["--seed", "77"] if way == "another seed" else [])],
                    mention=("another run",), statuses=(2,), folders=other_way(way, step, place, scratch))
                if not held:
                    yield case, ["takes no claim: nothing keeps two runs apart"], trial.Answer(0, "", "", 0)
                    continue
                before = folders.contents(place)
                answer = trial.run_step(step, case.argv, scratch if way == "from another folder" else place)
                yield case, trial.verdict(case, answer, before, folders.contents(place)), answer
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            trial.finish(process, output, error, 10)
        yield from after_a_dead_run(step, first, place)


def after_a_dead_run(step, first, place):
    """The run that held the folder was killed: the same command goes well, and leaves nothing of it."""
    for name in ("data", "checkpoints", "runs"):  # a name as a process leaves it that is no more
        temporary_path(place / name / "something.npy", dead_process()).write_bytes(b"half")
    case = Case("two runs", "the run that was at work there was killed", step, first.flags, statuses=(0,),
                rewrites=True)
    answer = trial.run_step(step, case.argv, place)
    own = {trial.FOLDERS[kind.upper()] for kind in OUTPUTS[step]}
    left = [name for name in folders.contents(place) if folders.is_temporary(name) and name.split("/")[0] in own]
    complaints = [f"left {name}" for name in left]
    yield case, complaints + ([f"status {answer.status}, expected 0"] if answer.status else []), answer


def dead_process():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def wait_for_claim(process, folder):
    """Stop a process as soon as it holds a claim on a folder. Returns whether it came to hold one."""
    while True:
        # whoever has the lock writes its name into it: an empty one is not locked yet
        if any(lock.stat().st_size for lock in folder.glob(".*.lock")):
            os.killpg(process, signal.SIGSTOP)
            return True
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.0005)


def other_way(way, step, place, scratch):
    """The step's folders named in another way."""
    roots = {"a path from the root": str(place), "a link to the folder": str(Path(scratch, "link")),
             "a way round": str(place / "runs/.."), "from another folder": "case"}
    names = {name: folder for name, folder in trial.FOLDERS.items() if hasattr(trial.script(step), name)}
    if way == "a slash at the end":
        return {name.lower(): f"{folder}/" for name, folder in names.items()}
    root = roots.get(way)
    return {name.lower(): f"{root}/{folder}" for name, folder in names.items()} if root else {}
