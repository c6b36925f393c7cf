"""Steps ended from outside, at random moments and in the midst of writing, and the same commands again."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import faults_folders as folders
import faults_trial as trial
from faults_starts import FIGURES, write_initial_weights
from faults_trial import Case

from figures.lsp import write as write_figures

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SHELL = {signal.SIGTERM: 143, signal.SIGINT: 130}  # as a shell counts them
TRIES = 10  # to meet a step before its end
EARLIEST = 0.3  # seconds: before, the interpreter itself is not yet up
KILLED = {"lsp_data": ["--workers", "2"], "train_stage1": ["--epochs", "4"], "train_stage2": ["--epochs", "2"]}


def kill_trials(work, seed, kills, whole=True):
    """End steps `kills` times, each in a copy of the folder as the step before left it, and run the command again.

    whole  False: step 1 alone, on few figures

    Every second one is ended at once when it begins to write a file, the others at a random moment of their run.

    Yields  (Case, complaints, Answer)
    """
    chance = random.Random(seed)
    if not kills:
        return
    # where more is written, more often; above 400 images step 1 decodes in processes of its own
    steps = [*trial.STEPS, "lsp_data", "train_stage1", "train_stage2"] if whole else ["lsp_data"]
    before, after, seconds = reference(work, seed, dict.fromkeys(steps), 410 if whole else FIGURES)
    for number in range(kills):
        step = steps[number % len(steps)]
        turn = number // len(steps)
        how, writing = SIGNALS[(number + turn) % 3], turn % 2 == 0
        place = work / "killed"
        for _ in range(TRIES):
            moment = None if writing else chance.uniform(EARLIEST, seconds[step])
            case = killed_case(step, f"{how.name} {'in a write' if writing else f'after {moment:.2f} s'}")
            folders.remove(place)
            folders.copy_of(before[step], place)
            answer = end(case, place, how, moment)
            if not had_ended(answer, how, place, after[step]):
                break
        complaints = verdict(answer, how) + whole_files(place)
        case.what += "; half a file left" if any(map(is_half, folders.contents(place))) else ""
        again = trial.run_command(step, case.argv, place, limit=120)
        if again.status:
            complaints.append(f"the same command again: status {again.status}: {again.err.strip()[-300:]}")
        complaints += differences(folders.results(after[step]), folders.results(place))
        complaints += [f"left {name}" for name in folders.contents(place) if folders.is_temporary(name)]
        yield case, complaints, answer
    folders.remove(work / "killed")


def killed_case(step, what):
    return Case("kills", what, step, KILLED.get(step, []))


def reference(work, seed, steps, figures):
    """The steps uninterrupted, each in a process of its own.

    Returns  step -> folder before it, step -> folder after it, step -> its seconds
    """
    place = work / "uninterrupted"
    write_figures(place / "raw/lsp_dataset", figures, seed, workers=1)
    write_initial_weights(place / "initial.pth", seed)
    for folder in ("data", "checkpoints", "runs"):
        (place / folder).mkdir()
    before, after, seconds = {}, {}, {}
    for step in steps:
        before[step] = folders.copy_of(place, work / f"before_{step}")
        answer = trial.run_command(step, killed_case(step, "").argv, place, limit=300)
        if answer.status:
            raise RuntimeError(f"{step} on good input: status {answer.status}: {answer.err[-2000:]}")
        seconds[step] = answer.seconds
        after[step] = folders.copy_of(place, work / f"after_{step}")
    return before, after, seconds


def end(case, place, how, moment):
    """Run a step as a user does and end it: after `moment` seconds, or, where that is None, as soon as a temporary file
    lies in one of its folders. Ctrl-C goes to all its processes, as a terminal sends it. Returns Answer."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, str(trial.ROOT / f"{case.step}.py"), *case.argv], cwd=place,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                               env=trial.environment())
    while process.poll() is None:
        if moment is None and is_writing(place) or moment is not None and time.monotonic() - start >= moment:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, how) if how == signal.SIGINT else os.kill(process.pid, how)
            break
        time.sleep(0 if moment is None else 0.002)
    try:
        out, err = process.communicate(timeout=30)
        status = process.returncode
    except subprocess.TimeoutExpired:
        status, out, err = None, b"", b""
    answer = trial.Answer(status, out.decode(errors="replace"), err.decode(errors="replace"), time.monotonic() - start)
    answer.orphans = orphans(process.pid)
    return answer


def is_half(name):
    return name.endswith(".part")


def is_writing(place):
    return any(is_half(name) for folder in ("data", "checkpoints", "runs")
               for name in os.listdir(place / folder))


def orphans(group):
    """Whether processes of a group live on a few seconds after its first; they are ended then."""
    for _ in range(60):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return True


def had_ended(answer, how, place, after):
    """Whether a step was done before the signal came; Python itself, on its way out, no longer answers one."""
    return answer.status == 0 or answer.status == -how != -signal.SIGKILL and not differences(
        folders.results(after), folders.results(place))


def verdict(answer, how):
    """What is wrong with how a step ended."""
    complaints = ["processes of it live on"] if answer.orphans else []
    if answer.status is None:
        return [*complaints, "did not end within 30 s"]
    if answer.status == 0:
        return [*complaints, f"ended by itself, {TRIES} times over"]
    if how == signal.SIGKILL:
        return complaints
    # while modules are imported Python passes the signal on to itself, which a shell counts alike
    if answer.status not in (SHELL[how], -how):
        complaints.append(f"status {answer.status}, expected {SHELL[how]}")
    lines = answer.err.strip().splitlines()
    if "Traceback" in answer.err:
        complaints.append(f"traceback: {lines[-1][:200]}")
    elif len(lines) != 1:
        complaints.append(f"{len(lines)} lines on stderr")
    return complaints


def whole_files(place):
    return [f"half of {name}" for name, content in folders.contents(place).items()
            if not content.startswith(("link", "kind")) and not folders.is_temporary(name)
            and not folders.is_whole(place / name)]


def differences(expected, found):
    return [f"{name} differs from an uninterrupted run's" for name in sorted(expected.keys() | found.keys())
            if expected.get(name) != found.get(name)]
