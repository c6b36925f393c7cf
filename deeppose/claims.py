"""One run at a time writes a thing in a folder; and what dead runs left there is removed.

A claim is a lock that the operating system frees when its process ends, however that happens.
"""
import contextlib
import os
import re
import socket
import sys
from pathlib import Path

from .errors import Failure, UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PART = re.compile(r"(?P<host>[^.]*)-(?P<process>\d+)\.part")  # the end of a temporary name


@contextlib.contextmanager
def claimed(folder, name, below=False):
    """Hold the right to write `name` in a folder, which is made if need be; and is gone afterwards if it was made in
    vain.

    folder  also tried for writing, so that a run which could not save learns it before it has worked
    name    what is written there, e.g. "stage 1"
    below   whether dead runs left things in folders below it, too
    Raises  UserError where another run holds it, or the folder can't be made or written
    """
    folder = Path(folder)
    path = folder / f".{name.replace(' ', '')}.lock"
    with contextlib.ExitStack() as stack:
        try:
            new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if new:
                stack.callback(_remove_empty, folder)
            file = _locked(path, name)
            stack.callback(_release, file, path)
            remove_dead_parts(folder, below)
            file.truncate(0)
            file.write(f"{Path(sys.argv[0]).name}, process {os.getpid()} on {_host()}")
            file.flush()
        except OSError as error:
            mistake = isinstance(error, (FileExistsError, NotADirectoryError))  # a file is where the folder should be
            raise (UserError if mistake else Failure)(
                f"{os.path.abspath(folder)} can't be written to ({error.strerror}); name another folder, or make room "
                "for it") from None
        yield


def temporary_path(path, process=None):
    """Where a file is written until it is whole: a name that tells which process, by its number or None = this one, of
    which machine is at it."""
    return path.with_name(f"{path.name}.{_host()}-{process or os.getpid()}.part")


def remove_dead_parts(folder, below=False):
    """Remove the temporary files of processes of this machine that are no more, in a folder or in all below it, too."""
    for path in Path(folder).glob("**/*.part" if below else "*.part"):
        end = PART.fullmatch(".".join(path.name.split(".")[-2:]))
        if end and end["host"] == _host() and not _lives(int(end["process"])):
            path.unlink(missing_ok=True)


def _locked(path, name):
    """The opened and locked file."""
    while True:
        try:
            file = open(path, "a+", encoding="utf-8")
        except FileNotFoundError:  # whoever made the folder has left it, and taken it away as it was empty
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf-8")
        try:
            _lock(file)
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise UserError(f"{os.path.abspath(path.parent)}: another run{holder} is writing {name} there; wait for "
                            "it, or give this one another folder") from None
        except OSError as error:  # a network's disk without locks
            print(f"note: {path.parent} can't be locked ({error.strerror}): see that no other run writes there")
        # whoever held it may have removed the file between our opening and our locking it
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()


def _release(file, path):
    if sys.platform != "win32":  # which does not remove what is open
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # of what a full disk did not take
        file.close()
    if sys.platform == "win32":
        path.unlink(missing_ok=True)


def _remove_empty(folder):
    with contextlib.suppress(OSError):  # it holds what was written
        folder.rmdir()


def _lock(file):
    """Raises BlockingIOError where another process (or another claim of this one) has it."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    file.seek(1 << 20)  # locked bytes can't be read by others, and the first tell who holds it
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        raise BlockingIOError from None


def _holder(file):
    file.seek(0)
    text = file.read(200)
    return f" ({text})" if text else ""


def _host():
    return re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())[:40]


def _lives(process):
    if process == os.getpid():
        return False  # this one writes nothing before it has its claim: a namesake of before
    if sys.platform == "win32":  # where os.kill would end it
        import ctypes
        handle = ctypes.windll.kernel32.OpenProcess(0x100000, False, process)  # SYNCHRONIZE
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
