"""Kills, bad files, bad flags, full disks, wrong orders: does the pipeline lose anything, or say nothing?

Runs the six steps on small drawn figures, ends them at random moments, gives every reader bad inputs and mixes folders;
step 1 of every data set is given bad annotations in each of their forms, and bad images.
Writes  results/faults.json  tried, survived, and what did not, by kind, with each failing case's command and answer
Needs Linux or macOS.
"""
import itertools
import math
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deeppose.errors import UserError, run  # noqa: E402  first, so that Ctrl-C while the others load is told in a line

import faults_datasets  # noqa: E402
import faults_foreign  # noqa: E402
import faults_kills  # noqa: E402
import faults_machine  # noqa: E402
import faults_networks  # noqa: E402
import faults_orders  # noqa: E402
import faults_prepared  # noqa: E402
import faults_raw  # noqa: E402
import faults_starts  # noqa: E402
import faults_trial as trial  # noqa: E402
import faults_user  # noqa: E402

from deeppose import arrays  # noqa: E402
from deeppose.reports import COMMIT, provenance  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402

WORK_DIR = ""            # folder for figures, copies and what a case leaves; empty = a temporary one, removed after it
RESULT_DIR = "results"   # where faults.json goes
SEED = 0                 # 0 ... 1000000: of figures, moments of kills and samples
KILLS = 40               # 0 ... 10000: runs that are ended
SHARE = 1.0              # 0.001 ... 1: of bad inputs, of mixed folders and of steps to be ended, a random choice
LEAST = 60               # 0 ... 100000: bad inputs that each reader has, or it is told
IN_PROCESSES = 4         # 0 ... 1000: of each reader's, tried once more in an interpreter of their own, as a user does
ONLY: tuple[str, ...] = ()  # readers to try, by the name in the table; all if empty
SECONDS = 60             # 1 ... 3600: after which a step on forty figures counts as hung

# characters of an answer that are kept
SHOWN = 300


def main(argv=None):
    settings = parse_settings(globals(), argv)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs in the background ignore it
    start, path = time.monotonic(), Path(settings.result_dir, "faults.json")

    def publish(kind, row):
        kinds = arrays.load_json(path, "python benchmarks/faults.py")["kinds"] if path.exists() else {}
        kinds[kind] = row | {"commit": COMMIT}
        arrays.save_json(path, {
            "what": "six steps on drawn figures: ended from outside, given bad inputs, run in wrong orders",
            "tried": sum(row["tried"] for row in kinds.values()),
            "survived": sum(row["survived"] for row in kinds.values()), "kinds": kinds,
            **provenance(settings, time.monotonic() - start)})

    with tempfile.TemporaryDirectory(prefix="faults_") as temporary:
        tally = measure(settings, Path(settings.work_dir or temporary).resolve(), publish)
    print(table(tally))
    print(f"written: {path}")
    return tally


def measure(settings, work, publish):
    """Try what the settings ask for; publish(kind, row) is called when a kind is done.

    Returns  kind of fault -> {"tried", "survived", "seconds", "failed": list of failing cases}
    """
    tally = defaultdict(lambda: {"tried": 0, "survived": 0, "seconds": 0.0, "failed": []})
    scratch, chance = work / "scratch", random.Random(settings.seed)
    scratch.mkdir(parents=True, exist_ok=True)

    def some(things):
        things = list(things)
        return things if settings.share == 1 else chance.sample(things, math.ceil(settings.share * len(things)))

    layouts = [start for start in faults_datasets.LAYOUTS if not settings.only or start in settings.only]
    starts = faults_starts.prepare(work, settings.seed) | faults_datasets.prepare(work, settings.seed, layouts)
    rest = {"two runs": lambda: faults_machine.two_run_trials(starts, scratch, some(trial.STEPS)),
            "full disks": lambda: faults_machine.full_disk_trials(starts, scratch, some(trial.STEPS)),
            "orders": lambda: faults_orders.order_trials(starts, scratch, some),
            "kills": lambda: faults_kills.kill_trials(work, settings.seed, settings.kills, settings.share == 1)}
    cases = readers(starts, scratch)
    if unknown := set(settings.only) - {*cases, *rest}:
        raise UserError(f"--only {' '.join(unknown)}: there are: {', '.join((*cases, *rest))}")
    for reader, own in cases.items():
        if settings.only and reader not in settings.only:
            continue
        if len(own) < settings.least:
            print(f"note: {reader} has {len(own)} cases, fewer than --least {settings.least}")
        plain = [case for case in own if case.inside is None]  # through an exec root can't be held to permissions
        again = chance.sample(plain, min(settings.in_processes, len(plain)))
        for case, run_as in [*((case, trial.run_step) for case in some(own)),
                             *((case, trial.run_command) for case in again)]:
            complaints, answer = trial.attempt(case, starts, scratch, run_as, settings.seconds)
            count(tally[reader], case, complaints, answer)
        publish(reader, tally[reader])
        print(f"{reader}: {tally[reader]['survived']:,} of {tally[reader]['tried']:,} survived", flush=True)
    for kind, trials in rest.items():
        if not settings.only or kind in settings.only:
            for case, complaints, answer in trials():
                count(tally[kind], case, complaints, answer)
            publish(kind, tally[kind])
    return dict(tally)


def readers(starts, scratch):
    """Reader -> its cases, those of a network or array for all scripts that read it."""
    done = starts["done"]
    cases = itertools.chain(
        faults_user.flag_cases(), faults_user.folder_cases(), faults_machine.disk_cases(starts),
        faults_raw.archive_cases(done), faults_raw.table_cases(done), faults_raw.image_cases(done),
        faults_datasets.dataset_cases(starts, done),
        faults_prepared.array_cases(done), faults_prepared.error_model_cases(done), faults_prepared.dataset_cases(done),
        faults_networks.network_cases(starts), faults_networks.weights_cases(starts),
        faults_foreign.pickle_cases(scratch, done))
    found = defaultdict(list)
    for case in cases:
        found[case.reader].append(case)
    return found


def count(kind, case, complaints, answer):
    kind["tried"] += 1
    kind["survived"] += not complaints
    kind["seconds"] = round(kind["seconds"] + answer.seconds, 2)
    if complaints:
        said = (answer.err.strip() or answer.out.strip())
        kind["failed"].append({"case": f"{case.step}: {case.what}", "command": case.command, "complaints": complaints,
                               "status": answer.status, "answer": said[-SHOWN:] if "Traceback" in said
                               else said[:SHOWN]})
        print(f"{case.reader}: {case.step}: {case.what}: {'; '.join(complaints)[:SHOWN]}", flush=True)


def table(tally):
    """Tried and survived, by kind, as text."""
    columns = ("tried", "survived", "seconds")
    together = {column: sum(row[column] for row in tally.values()) for column in columns}
    lines = [f"{'kind':22}{''.join(f'{column:>10}' for column in columns)}"]
    for kind, row in {**tally, "together": together}.items():
        lines.append(f"{kind:22}{row['tried']:>10,}{row['survived']:>10,}{row['seconds']:>10.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
