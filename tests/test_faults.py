"""The faults program: it notices what it is there for, and a sample of it finds nothing."""
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deeppose.errors import Failure, UserError

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the program forks")


@pytest.fixture
def trial(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("faults_trial")


@pytest.fixture
def complaints(trial, monkeypatch, tmp_path):
    """Function: what the program has to complain of where test_stage1.py's main is replaced by another function."""
    start = tmp_path / "start"
    for name in ("data/test_labels.npy", "runs/stage1.json"):
        (start / name).parent.mkdir(parents=True)
        (start / name).write_text("content")
    (tmp_path / "scratch").mkdir()

    def tried(main, limit=20, **more):
        monkeypatch.setattr(trial.script("test_stage1"), "main", lambda flags: main())
        case = trial.Case("a reader", "a bad file", "test_stage1", mention=("test_labels.npy",), **more)
        found, _ = trial.attempt(case, {"done": start}, tmp_path / "scratch", limit=limit)
        assert (start / "data/test_labels.npy").read_text() == "content"
        return found

    return tried


def say(kind, text):
    def main():
        raise kind(text)
    return main


WELL = "data/test_labels.npy is broken; run again: python lsp_data.py"


@pytest.mark.parametrize("main, expected", [
    (say(Failure, WELL), []),
    (say(UserError, WELL), ["status 2, expected 1"]),
    (say(KeyError, "joints"), ["traceback: KeyError: 'joints'"]),
    (lambda: None, ["status 0, expected 1"]),
    (say(Failure, "data/test_labels.npy is broken"), ["does not say what to do"]),
    (say(Failure, "something is broken; run again: python lsp_data.py"), ["does not name test_labels.npy"]),
    (say(Failure, WELL + "\nand more"), ["2 lines on stderr"]),
    (lambda: os.kill(os.getpid(), 9), ["status -9, expected 1"]),
], ids=["well told", "status", "traceback", "silent", "no advice", "no file", "two lines", "killed"])
def test_an_answer_is_judged(complaints, main, expected):
    assert complaints(main) == expected


@pytest.mark.parametrize("harm, expected", [
    (lambda: Path("data/test_labels.npy").unlink(), "lost data/test_labels.npy"),
    (lambda: os.replace(shutil.copy("data/test_labels.npy", "x"), "runs/stage1.json"), []),  # the same content
    (lambda: Path("runs/new.json").write_text("{}"), "added runs/new.json"),
    (lambda: Path("runs/stage1.json.host-1.part").write_text("half"), "left runs/stage1.json.host-1.part"),
    (lambda: Path("../code_was_run").touch(), "executed code from the file"),
], ids=["lost", "same", "added", "temporary", "executed"])
def test_what_a_step_leaves_is_judged(complaints, harm, expected):
    def main():
        harm()
        raise Failure(WELL)
    assert complaints(main) == ([expected] if expected else [])


def test_a_changed_file_is_noticed_unless_outputs_may_be_replaced(complaints):
    def main():
        Path("runs/new").write_text("{}")
        os.replace("runs/new", "runs/stage1.json")
        raise Failure(WELL)
    assert complaints(main) == ["altered runs/stage1.json"] and complaints(main, rewrites=True) == []


def test_a_step_that_hangs_is_ended(complaints):
    start = time.monotonic()
    found = complaints(lambda: time.sleep(60), limit=0.5)
    assert len(found) == 1 and found[0].startswith("hung") and time.monotonic() - start < 20


def test_a_sample_of_all_faults_is_survived(tmp_path):
    kinds = ("flags", "folders", "disks", "archive", "joints.mat", "image", ".npy", ".npz", ".json", "network, stage 1",
             "network, cascade", "going on, stage 1", "going on, cascade", "initial weights", "pickle", "two runs",
             "full disks", "orders", "kills", "lip", "k2hpd")  # and not those whose figures take longer to draw
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/faults.py"), "--share", "0.005", "--kills", "2", "--in-processes", "0",
         "--result-dir", str(tmp_path), "--work-dir", str(tmp_path / "work"), "--only", *kinds],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "faults.json").read_text())
    failed = [failed for kind in report["kinds"].values() for failed in kind["failed"]]
    assert not failed, json.dumps(failed, indent=1)
    assert set(kinds) == report["kinds"].keys() and report["kinds"]["kills"]["tried"] == 2
    assert report["tried"] == report["survived"] > 40
    assert "fewer than --least" not in done.stdout  # each reader has its sixty
