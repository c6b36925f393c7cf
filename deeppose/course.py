"""The course of one training on disk: its epochs, the best one's weights, going on after an interruption, its log."""
import contextlib
import math
import secrets
from pathlib import Path

import torch

from .checkpoints import changed_settings, load_checkpoint, save_checkpoint
from .drawing import training_curves
from .errors import Failure, UserError
from .restoring import misfit
from .training import log_rows, print_row

STATE = {"begun": str, "replaces": str, "history": list, "best_epoch": int, "weights": dict, "model": dict,
         "optimiser": dict, "ties": dict, "settings": dict, "finished": bool}  # what there must be to go on


class Course:
    """One network's training, epoch by epoch.

    Two files: `final`, the network that later steps use, and beside it `..._last.pt`, what going on needs. A network
    that another training left under `final` stays there until this one has finished.

    final     path
    settings  of this run, plain (`plain_settings`)
    places    names of settings that say where and how to run, not what is learnt: they may differ on going on
    fixed     names of settings that can't be changed by --resume; None = all that are not places
    ties      name -> text: what the training belongs to (data, the stage before); going on with other ones is refused
    again     the command that trains anew, for messages
    score     function: row of the log -> float, the greater the better
    baseline  the score to beat; without a better epoch the network is left as it was before the first
    content   function: (weights, course) -> what `final` holds
    early     write `final` after each better epoch already, so that it can be tried, where no other would be lost
    added     names of what others add to `final`, which stays there as long as the weights are the same
    """

    def __init__(self, final, settings, places, ties, again, score, content, fixed=None, baseline=-math.inf,
                 early=False, added=()):
        self.final, self.last = Path(final), Path(final).with_name(f"{Path(final).stem}_last.pt")
        self.settings, self.places, self.fixed, self.ties = settings, places, fixed, ties
        self.again, self.score, self.content, self.baseline, self.added = again, score, content, baseline, added
        self.begun, self.history, self.best_epoch, self.weights = secrets.token_hex(8), [], 0, None
        self.restarted, self.replaces, self.finished, self.early = False, "", False, early
        self.log = None  # path of the CSV of all rows
        self.kept = {}  # what others have added, and of which epoch's weights
        self.since = 0   # the epoch from which on patience counts
        self.seen = []   # [split, test set] of each training that the initial weights came from
        self.steps = []  # rows of a finer log, which stand with their epochs: an epoch that is done anew adds its again

    @property
    def best(self):
        """The score of the best epoch so far, by this run's measure."""
        return self.score(self.history[self.best_epoch - 1]) if self.best_epoch else self.baseline

    def finished_before(self, kinds=None):
        """The checkpoint of a training that ended; None where there is none, or another one has begun to replace it.

        kinds  what it must hold, see `load_checkpoint`
        """
        if not self.final.exists():
            return None
        checkpoint = load_checkpoint(self.final, self.again, kinds)
        if self.last.exists():
            state = load_checkpoint(self.last, self.again, STATE)
            self._check(state)
            if state["begun"] != checkpoint.get("begun"):
                return None
            self.last.unlink()  # ended between the two
        return checkpoint

    def left(self, resume=False, restart=False):
        """What an earlier run left of this training: the state to go on from; None = begin.

        resume  go on under changed settings as well
        restart  begin in any case
        Raises  UserError where something else is there that would be lost, or nothing where something is asked for
        """
        if restart:
            self.restarted, self.replaces = True, self._owner() or ""
            return None
        if not self.last.exists():
            if resume:
                raise UserError(f"{self.last.resolve()} not found: there is nothing to resume; train without --resume")
            return None
        state = load_checkpoint(self.last, self.again, STATE)
        for name, text in self.ties.items():
            if state["ties"].get(name, text) != text:  # which older ones may lack
                raise UserError(f"{self.last} was begun on other {name}; name another --checkpoint-dir, or run: "
                                f"{self.again}")
        self._check(state)
        fixed = changed_settings(state["settings"], {name: self.settings[name] for name in self.fixed or ()})
        if resume and fixed:
            raise UserError(f"{self.last} was begun with other settings ({fixed}), which can't be changed on the way; "
                            f"use the same, or run: {self.again}")
        if changed := changed_settings(state["settings"], self.settings, self.places):
            if not resume:
                more = "name another --checkpoint-dir, " if fixed or self.fixed is None else \
                    "go on under these with --resume, or "
                raise UserError(f"{self.last} was begun with other settings ({changed}); {more}use the same, or run: "
                                f"{self.again}")
            print(f"note: settings changed on resuming: {changed}")
            self.since = len(state["history"])
        if self._owner() not in (None, state["begun"], state["replaces"]):
            raise UserError(f"{self.final} is not what {self.last} belongs to; move one of them away, or run: "
                            f"{self.again}")
        return state

    def begin(self, network, optimiser, average, state=None, writes=True):
        """Take the network to where `state` left it, or to before the first epoch; from here on it is on disk.

        writes  False in the processes whose files another one writes
        """
        self.network, self.optimiser, self.average, self.writes = network, optimiser, average, writes
        if state:
            try:
                restore(state, network, optimiser, average)
            except ValueError as error:
                raise Failure(f"{self.last.resolve()} is broken: {error}; run: {self.again}") from None
            self.begun, self.history, self.finished = state["begun"], state["history"], state["finished"]
            self.best_epoch, self.weights, self.replaces = state["best_epoch"], state["weights"], state["replaces"]
            self.steps, self.seen = state.get("steps", []), state.get("seen", [])  # which older ones lack
            self.since = self.since or state.get("since", 0)
        else:
            self.weights = clones(network)
        final = self._final()
        ours = final is not None and final.get("begun") == self.begun
        self.early = self.early and (final is None or ours)
        self.kept = {name: (final.get("best_epoch"), final[name]) for name in self.added if ours and name in final}
        if not state:
            self._save()  # a full disk shows itself before the first epoch

    def epochs(self, count, patience=0):
        """The numbers of the epochs to go, from 0; fewer where `patience` epochs have brought nothing better."""
        for epoch in range(len(self.history), count):
            if patience and epoch - max(self.best_epoch, self.since) >= patience:
                print(f"no better epoch for {patience} epochs: stopped")
                return
            yield epoch

    def record(self, row, kept, rows=None):
        """Print and keep one epoch.

        row   its row of the log
        kept  the network whose weights count: the trained one or its average
        rows  path of the CSV of all rows, or None
        """
        self.history.append(row)
        self.finished = False
        print_row(row)
        score = self.score(row)
        if math.isnan(score):
            raise Failure(f"epoch {row['epoch']} has no score on the validation persons; prepare other ones, or choose "
                          "another --best-by")
        if better := score > self.best:
            self.best_epoch, self.weights = len(self.history), clones(kept)
        if self.writes:
            self._save()
            if better and self.early:
                self._save_final()
            if rows:
                self.log = rows
                log_rows(rows, self.history)

    def finish(self, keep=True):
        """Write the finished network; keep: also what going on with more epochs needs."""
        self.finished = True
        if self.writes:
            self._save_final()
            self._save() if keep else self.last.unlink()
            if self.log:  # which may have been held open before
                log_rows(self.log, self.history)

    @contextlib.contextmanager
    def told(self, name, curves=None, rest=()):
        """Say on an interruption how to go on, and draw what there is.

        name    what is trained
        curves  picture to draw of the log, at the end as well, or None
        rest    names of what the same command would have trained after it
        """
        try:
            yield
        except KeyboardInterrupt:
            count = len(self.history)
            how = "the same command goes on" + ", without --restart" * self.restarted
            if self.restarted and rest:
                how = (f"the same command goes on with --joints {name} in place of --restart; and then, with --restart "
                       f"--joints {' '.join(rest)}, trains what it has not come to")
            print(f"\n{name}: {count} epoch{'s' * (count != 1)} stand{'s' * (count == 1)}; {how}")
            with contextlib.suppress(Failure):
                self._draw(curves)
            raise
        self._draw(curves)

    def _draw(self, curves):
        if curves and self.history:
            training_curves(curves, self.history)

    def _check(self, state):
        """Raise Failure where what `last` holds is no training."""
        try:
            whole = all(isinstance(row, dict) and row["seconds"] >= 0 and row["epoch"] == number
                        and not math.isnan(self.score(row)) for number, row in enumerate(state["history"], 1)) \
                and all(0 < row["epoch"] <= len(state["history"]) for row in state.get("steps", []))
        except (KeyError, TypeError):
            whole = False
        if not whole or not 0 <= state["best_epoch"] <= len(state["history"]):
            raise Failure(f"{self.last.resolve()} is broken: its history is none of epochs; run: {self.again}")

    def _owner(self):
        """Which training `final` is of; "" = not told, None = there is none."""
        final = self._final()
        return None if final is None else final.get("begun", "")

    def _final(self):
        """What is under `final`: {} = broken, None = nothing."""
        try:
            return load_checkpoint(self.final, self.again) if self.final.exists() else None
        except Failure:
            return {}

    def _save_final(self):
        kept = {name: value for name, (epoch, value) in self.kept.items() if epoch == self.best_epoch}
        for name in self.kept.keys() - kept:
            print(f"note: the {name} that {self.final} held was of the weights before")
            del self.kept[name]
        save_checkpoint(self.final, {**self.content(self.weights, self), **kept, "begun": self.begun})

    def _save(self):
        if self.writes:
            save_checkpoint(self.last, {
                "model": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
                "average": self.average.state_dict() if self.average else None, "weights": self.weights,
                "global_contrast": getattr(self.network, "global_contrast", False),
                **{name: getattr(self, name) for name in ("begun", "replaces", "history", "steps", "since", "seen",
                                                          "best_epoch", "ties", "settings", "finished")}})


def restore(state, network, optimiser, average):
    """Put a state back: weights, what the optimiser has gathered, and the average.

    The optimiser keeps the groups and options that it was made with, whatever groups the same parameters were in
    before, and its tensors take the weights' memory layout: fused steps walk through memory, where another layout would
    mean other weights.

    Raises ValueError, in words, where the state is not one of these
    """
    for of, weights in (("model", state["model"]), ("average", average and state["average"]["module"])):
        if weights is not None and (fault := misfit(network, weights)):
            raise ValueError(f"of its {of}, {fault}")
    network.load_state_dict(state["model"])
    own = optimiser.state_dict()["param_groups"]
    try:
        # a state tells its parameters by their place among those of all groups
        before, now = (sum(len(group["params"]) for group in groups)
                       for groups in (state["optimiser"]["param_groups"], own))
        if before != now:
            raise ValueError(f"it is of {before} parameters, not {now}")
        optimiser.load_state_dict({"state": state["optimiser"]["state"], "param_groups": own})
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:  # whatever torch meets first
        raise ValueError(f"its optimiser can't be gone on with ({type(error).__name__}: {error})") from None
    for parameter, gathered in optimiser.state.items():
        for name, value in gathered.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                gathered[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    if average:
        average.load_state_dict(state["average"])


def clones(network):
    return {name: value.clone() for name, value in network.state_dict().items()}
