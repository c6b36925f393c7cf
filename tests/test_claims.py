"""One run at a time, and nothing left of dead ones."""
import os
import socket
import subprocess
import sys

import pytest

from deeppose import claims
from deeppose.claims import claimed, remove_dead_parts, temporary_path
from deeppose.errors import Failure, UserError
from deeppose.reports import PROJECT

HOLDER = """
import sys, time
from deeppose.claims import claimed
with claimed(sys.argv[1], "stage 1"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_claim_keeps_others_out_until_its_process_ends_however_it_does(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE,
                          text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"another run .*process {other.pid} on .*is writing stage 1 there; wait"):
            with claimed(tmp_path, "stage 1"):
                pass
        with claimed(tmp_path, "scores"):
            pass  # something else in the same folder
        other.kill()
    with claimed(tmp_path, "stage 1"):
        assert [path.name for path in tmp_path.iterdir()] == [".stage1.lock"]
    assert not list(tmp_path.iterdir())


def test_a_claim_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "new", "x"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()  # made in vain
    with claimed(tmp_path / "new", "x"):
        pass


def test_temporary_files_of_dead_processes_go_and_others_stay(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = temporary_path(tmp_path / "a.npy").name
    dead = own.replace(f"-{os.getpid()}.part", f"-{ended.pid}.part")
    alive = own.replace(f"-{os.getpid()}.part", f"-{os.getppid()}.part")
    elsewhere = f"a.npy.another_machine-{ended.pid}.part"
    assert socket.gethostname().split(".")[0][:5].replace("-", "_") in own
    others = f"holiday.mkv.{ended.pid}.part"  # no file of this project
    for name in (dead, alive, elsewhere, others, "lsp_dataset.zip.part", "a.npy"):
        (tmp_path / name).touch()
    remove_dead_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {alive, elsewhere, others, "lsp_dataset.zip.part", "a.npy"}
    deep = tmp_path / "one" / "two"
    deep.mkdir(parents=True)
    for name in (dead, others):
        (deep / name).touch()
    with claimed(tmp_path, "weights"):
        assert (deep / dead).exists()  # as of another stage, whose folder stands in this one
    with claimed(tmp_path, "pictures", below=True):
        assert [path.name for path in deep.iterdir()] == [others]


def test_a_folder_that_can_not_be_one_is_the_users_mistake_and_a_refusal_the_machines(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file can't be written to \(File exists\); name another folder") as told:
        with claimed(tmp_path / "file", "x"):
            pass
    assert not isinstance(told.value, Failure)
    if os.path.isdir("/proc/self"):
        with pytest.raises(Failure, match="can't be written to"), claimed("/proc/self/none", "x"):
            pass


def test_a_folder_that_its_maker_takes_away_is_made_again(tmp_path):
    file = claims._locked(tmp_path / "gone" / ".stage1.lock", "stage 1")  # between making it and opening
    claims._release(file, tmp_path / "gone" / ".stage1.lock")
    assert (tmp_path / "gone").is_dir() and not list((tmp_path / "gone").iterdir())


def test_a_claim_that_can_not_be_written_leaves_nothing(tmp_path):
    program = ("import resource, sys\nfrom deeppose.claims import claimed\n"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
               "from deeppose.errors import run\n"
               "run(lambda: claimed(sys.argv[1], 'x').__enter__())")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True)
    if "No module named 'resource'" in done.stderr:
        pytest.skip("no such limits here")
    assert done.returncode == 1 and "can't be written to (File too large)" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
