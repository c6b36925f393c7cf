"""Scores while a training goes on, where they can be followed: a CSV, and TensorBoard's scalars."""
import math

from .errors import UserError
from .training import log_rows, write_rows

TAGS = {"training_": "training/", "validation_": "validation/"}  # TensorBoard draws what is before a slash together


class StepLog:
    """Rows of scores, each after so many steps; a context, which closes TensorBoard's file.

    rows       list of dictionaries with "epoch" and "step", and numbers: what there is already, to which `add` adds.
               Both places are written anew from it, so that what an interrupted epoch had added is gone
    path       of the CSV, or None
    scalars    folder of TensorBoard's scalars, or None; its earlier event files are replaced
    """

    def __init__(self, rows, path=None, scalars=None):
        self.rows, self.path, self.writer = rows, path, None
        if path and rows:
            write_rows(path, rows)
        if scalars:
            scalars.mkdir(parents=True, exist_ok=True)
            for events in scalars.glob("events.out.tfevents.*"):
                events.unlink()
            self.writer = summary_writer()(scalars, purge_step=0)  # a TensorBoard that runs drops what it has read, too
            for row in rows:
                self._draw(row)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.writer:
            self.writer.close()

    def add(self, row):
        self.rows.append(row)
        if self.path:
            log_rows(self.path, self.rows)
        if self.writer:
            self._draw(row)

    def _draw(self, row):
        for name, value in row.items():
            if name not in ("epoch", "step") and not math.isnan(value):
                self.writer.add_scalar(tag_of(name), value, row["step"])
        self.writer.flush()


def tag_of(name):
    """TensorBoard's name of a column."""
    for beginning, folder in TAGS.items():
        if name.startswith(beginning):
            return folder + name.removeprefix(beginning)
    return name if name in ("loss", "learning_rate") else f"validation/{name}"


def summary_writer():
    """torch's writer of TensorBoard's files. Raises UserError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs TensorBoard, which is not installed; run: pip install tensorboard, or "
                        "leave it out") from None
    return SummaryWriter
