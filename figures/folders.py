"""Folders of figures: drawn by several processes, and put in place when they are whole."""
import contextlib
import functools
import os
import shutil
from pathlib import Path

from tqdm import tqdm

from deeppose.errors import UserError
from deeppose.parallel import worker_map

FIGURES_PER_TASK = 25
MARK = ("drawn.txt", b"figures drawn by demo_data.py")


@contextlib.contextmanager
def replaced(folder, mark=MARK):
    """Give a new folder to draw into. It takes its place when the block ends; until then older figures stay.

    mark    a file, and what it begins with, that tell a folder of figures; written where the block does not
    Raises  UserError where the folder holds anything but figures drawn before
    """
    folder = Path(folder)
    if folder.exists() and not _drawn_here(folder, *mark):
        raise UserError(f"{os.path.realpath(folder)} holds files that demo_data.py did not draw; "
                        f"name another folder with --raw-dir")
    part, older = folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".older.part")
    for left in (part, older):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    if not (part / mark[0]).exists():
        (part / mark[0]).write_bytes(mark[1] + b"\n")
    if folder.exists():
        folder.rename(older)
    part.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def _drawn_here(folder, name, start):
    if (folder / name).is_file():  # opening a FIFO would wait for ever
        with open(folder / name, "rb") as file:
            return file.read(len(start)) == start
    return folder.is_dir() and not any(folder.iterdir())


def drawn(draw, count, workers, first=1, each=FIGURES_PER_TASK):
    """What draw(number) returns for the numbers first ... first + count - 1, a list in their order.

    draw     a module's function or a partial of one, for worker processes to call
    workers  processes; 0 = one for each core
    each     numbers that one task draws
    """
    starts = range(first, first + count, each)
    tasks = [range(start, min(start + each, first + count)) for start in starts]
    results = []
    with worker_map(workers) as parallel, tqdm(total=count, desc="figures", leave=False, disable=None) as bar:
        for some in parallel(functools.partial(_some, draw), tasks):
            results += some
            bar.update(len(some))
    return results


def _some(draw, numbers):
    return [draw(number) for number in numbers]
