"""How a script ends: its status and its one line."""
import os
import signal
import subprocess
import sys
import time

import pytest

from deeppose.errors import Failure, UserError, run
from deeppose.reports import PROJECT


def raising(error):
    def main():
        raise error
    return main


PLACE = "; see that it is there and may be used, or name another place"
OUT_OF_MEMORY = ("error: out of memory; use a smaller --batch-size, --input-size or --threads, of those that --help "
                 "lists, or end other programs")


@pytest.mark.parametrize("error, status, line", [
    (UserError("a is missing; run: b"), 2, "error: a is missing; run: b"),
    (Failure("a is broken"), 1, "error: a is broken"),
    (FileNotFoundError(2, "No such file or directory", "x/y"), 1, "error: No such file or directory: x/y" + PLACE),
    (OSError(28, "No space left on device"), 1, "error: No space left on device" + PLACE),
    (OSError("5 requested and 2 written"), 1, "error: 5 requested and 2 written" + PLACE),
    (OSError(18, "Invalid cross-device link", "a", None, "b"), 1, "error: Invalid cross-device link: a and b" + PLACE),
    (RuntimeError("Symlink loop from 'a'"), 1, "error: Symlink loop from 'a'; remove the link, or name another place"),
    (MemoryError(), 1, OUT_OF_MEMORY), (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you "
                                                     "tried"), 1, OUT_OF_MEMORY),
    (KeyboardInterrupt(), 130, "interrupted"),
])
def test_an_end_has_its_status_and_its_line(capsys, error, status, line):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        run(raising(error))
    signal.signal(signal.SIGTERM, before)
    assert stop.value.code == status and capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shapes do not fit")])
def test_what_nobody_foresaw_keeps_its_traceback(error):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(type(error)):
        run(raising(error))
    signal.signal(signal.SIGTERM, before)


WAITING = "from deeppose.errors import run\nimport time\nprint('here', flush=True)\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("program, number, status, word", [
    (WAITING + "run(lambda: time.sleep(60))", signal.SIGTERM, 143, "terminated\n"),
    (WAITING + "run(lambda: time.sleep(60))", signal.SIGINT, 130, "interrupted\n"),
    (WAITING + "time.sleep(60)", signal.SIGINT, -signal.SIGINT, "interrupted\n"),  # while modules load
    (WAITING + "time.sleep(60)", signal.SIGTERM, -signal.SIGTERM, "terminated\n"),
])
def test_a_signal_is_answered_in_a_word(program, number, status, word):
    process = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert told == word
    assert process.returncode == status  # of a signal, as Python counts it: a shell's 130 and 143


def test_a_name_that_the_terminal_can_not_show_is_told_all_the_same():
    program = ("from deeppose.errors import UserError, run\n"
               "def main():\n    raise UserError('no file \\udce4\\u4e2d')\n"
               "run(main)")
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True,
                          env=os.environ | {"PYTHONIOENCODING": "ascii:strict"})
    assert done.returncode == 2 and done.stderr.strip() == rb"error: no file \udce4\u4e2d"
