"""Mistakes and failures told in one line instead of a traceback, and how a script ends.

A script imports `run` before anything slow, so that Ctrl-C and SIGTERM while torch loads end in a line as well.
"""
import multiprocessing
import os
import re
import signal
import sys
import threading

FULL = re.compile("out of memory|can't allocate memory|not enough memory")  # as torch says it of a GPU and of a CPU
INTERRUPTED, TERMINATED = 130, 143  # as a shell counts what a signal ended


class UserError(Exception):
    """A mistake of the user's: the message says what, where, and what to run. Status 2."""
    status = 2


class Failure(UserError):
    """A failure of the machine or of the data, told in the same way: a broken file, a full disk. Status 1."""
    status = 1


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): what Ctrl-C saves is saved as well."""


def run(main):
    """Call a script's main() and end the process.

    Status 2 and one line for a UserError; 1 for a Failure and for what the operating system refuses; 130 after Ctrl-C,
    143 after SIGTERM.
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what a terminal can't show
    try:
        main()
    except UserError as error:
        end(f"error: {error}", error.status)
    except Terminated:
        end("terminated", TERMINATED)
    except KeyboardInterrupt:
        end("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has gone; there is nobody to tell
        sys.stdout = None
        sys.exit(Failure.status)
    except OSError as error:
        end(f"error: {reason(error)}; see that it is there and may be used, or name another place", Failure.status)
    except (MemoryError, RuntimeError) as error:
        if "Symlink loop" in str(error):  # as pathlib says it, on Python before 3.13
            end(f"error: {error}; remove the link, or name another place", Failure.status)
        if not isinstance(error, MemoryError) and not FULL.search(str(error)):
            raise
        end("error: out of memory; use a smaller --batch-size, --input-size or --threads, of those that --help lists, "
            "or end other programs", Failure.status)


def reason(error):
    """An OSError in words: what the system says, and of which file."""
    files = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{error.strerror or error}" + (f": {files}" if files else "")


def end(message, status):
    print(message, file=sys.stderr)
    sys.exit(status)


def _terminate(number, frame):
    raise Terminated


def _told(kind, error, trace):
    if issubclass(kind, Terminated):  # before `run` has begun: while modules are imported
        print("terminated", file=sys.stderr, flush=True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)  # Python would end as by Ctrl-C
    elif issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _told
# not in a worker, which is to end at once; while it still loads, only its name tells that it is one
if multiprocessing.current_process().name == "MainProcess" and threading.current_thread() is threading.main_thread() \
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    signal.signal(signal.SIGTERM, _terminate)
