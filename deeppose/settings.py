"""A script's UPPER_CASE constants, offered as command-line flags.

Each constant stands on a line of its own with a trailing comment, which is the flag's help:

    EPOCHS = 100                     # 1 ... 100000: passes over the training set
    LOSS = "mse"                     # mse | smooth_l1: what training minimises
    SCALE = (0.8, 1.25)              # 0.1 ... 10, rising: least and largest window side, in boxes
    CLIP: float | None = None        # 1e-9 ... 1e9: largest gradient norm; none = unlimited
    JOINTS: tuple[str, ...] = ()     # joints to train; all if empty

A comment that begins with `a | b` limits the setting to those choices, one that begins with `low ... high` to that
range, both ends included; of a tuple, each of its numbers. Every number has a range, and whatever breaks it, in the
file or in a flag, ends the process before any work. A tuple keeps its length unless it is annotated `tuple[T, ...]`;
a default of None needs an annotation `T | None`.
"""
import argparse
import difflib
import math
import re
import shlex
import subprocess
import sys
import tokenize
import types
import typing


def parse_settings(script, argv=None):
    """Read a script's settings: its constants, each overridden by the flag of the same name.

    script  the script's globals()
    argv    list of strings; None = sys.argv[1:]
    Returns argparse.Namespace with the constants' names in lower case. A bad flag ends the process with status 2.
    """
    parser = _Parser(prog=script["__file__"].replace("\\", "/").rsplit("/", 1)[-1],
                     description=script["__doc__"].strip().split("\n\n")[0],
                     allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    annotations = sys.modules[script["__name__"]].__annotations__
    constants = _constants(script["__file__"])
    for name, (_, note) in constants.items():
        default = script[name]
        shown = " ".join(map(str, default)) or "empty" if isinstance(default, tuple) else default
        shown = "none" if default is None else shown
        parser.add_argument("--" + name.lower().replace("_", "-"), default=default,
                            help=f"{note} (default: {shown})".replace("%", "%%"),
                            **_kind(default, annotations.get(name), note))
    settings = parser.parse_args(argv)
    for name, (line, note) in constants.items():
        if fault := _fault(getattr(settings, name.lower()), script[name], note):
            given = "--" + name.lower().replace("_", "-")
            parser.error(f"{given} {fault} ({parser.prog}, line {line}: {note})")
    return settings


def next_command(script, settings, command, folders=("data_dir", "checkpoint_dir", "run_dir"), title="next"):
    """The line that names the next step, with this one's folders where they are not the usual ones.

    script    the script's globals()
    settings  Namespace of `parse_settings`
    folders   those that the next step has
    title     what the line begins with
    """
    flags = [f" --{name.replace('_', '-')} {quoted(value)}" for name, value in vars(settings).items()
             if name in folders and value != script[name.upper()]]
    return f"{title}: python {command}{''.join(flags)}"


def quoted(text):
    """As the system's own shell reads it as one word."""
    return subprocess.list2cmdline([text]) if sys.platform == "win32" else shlex.quote(text)


def _constants(path):
    """The top-level UPPER_CASE names assigned in a file, in order, each with its line's number and comment."""
    with tokenize.open(path) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    names = {t.start[0]: t.string for t, after in zip(tokens, tokens[1:])
             if t.type == tokenize.NAME and t.start[1] == 0 and t.string.isupper() and after.string in ("=", ":")}
    notes = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return {name: (line, notes[line]) for line, name in names.items() if line in notes}


RANGE = re.compile(r"(?P<low>[-+.\de]+) \.\.\. (?P<high>[-+.\de]+)(?P<rising>, rising)?:")


def _fault(value, default, note):
    """Why a setting's value makes no sense, in words; None where it does."""
    if isinstance(value, str):
        choices = _choices(note)
        if choices and value not in choices:  # set in the file; argparse looks at flags
            return f"is {value!r}, expected {' | '.join(choices)}"
        return "is empty" if default and not value.strip() else None
    values = value if isinstance(value, tuple) else (value,)
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    shown = " ".join(map(str, values))
    if not all(map(math.isfinite, numbers)):
        return f"is {shown}, expected finite numbers"
    if limits := RANGE.match(note):
        low, high = float(limits["low"]), float(limits["high"])
        if not all(low <= number <= high for number in numbers):
            return f"is {shown}, expected {limits['low']} ... {limits['high']}"
        if limits["rising"] and list(numbers) != sorted(numbers):
            return f"is {shown}, expected the smaller number first"
    return None


def _choices(note):
    found = re.match(r"[\w.-]+( \| [\w.-]+)+", note)
    return found[0].split(" | ") if found else []


def _kind(default, annotation, note):
    """The keywords of add_argument that read values like `default`."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction}
    choices = _choices(note)
    keywords = {"choices": choices} if choices else {}
    if isinstance(default, tuple):
        element, *rest = typing.get_args(annotation) or (type(default[0]),)
        return keywords | {"type": element, "nargs": "*" if rest == [...] else len(default),
                           "metavar": element.__name__.upper(), "action": _StoreTuple}
    if default is None:
        kind, = (t for t in typing.get_args(annotation) if t is not types.NoneType)
        return keywords | {"type": _optional(kind), "metavar": kind.__name__.upper()}
    return keywords | {"type": type(default)} | ({} if choices else {"metavar": type(default).__name__.upper()})


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in a line instead of listing every flag."""

    def error(self, message):
        wrong = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        known = [flag for action in self._actions for flag in action.option_strings]
        near = [match for word in wrong for match in difflib.get_close_matches(word.split("=")[0], known, 1)]
        hint = f"; did you mean {' '.join(near)}?" if near else ""
        self.exit(2, f"error: {message}{hint}; {self.prog} --help lists the settings\n")


class _StoreTuple(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def _optional(kind):
    def read(text):
        return None if text.lower() == "none" else kind(text)
    read.__name__ = kind.__name__  # argparse names it in "invalid float value"
    return read
