"""A script's UPPER_CASE constants, offered as command-line flags.

Each constant stands on a line of its own with a trailing comment, which is the flag's help:

    EPOCHS = 100                     # passes over the training set
    LOSS = "mse"                     # mse | smooth_l1: what training minimises
    CLIP: float | None = None        # largest gradient norm; none = unlimited
    JOINTS: tuple[str, ...] = ()     # joints to train; all if empty

A comment that begins with `a | b` limits the flag to those choices. A tuple keeps its length unless it is
annotated `tuple[T, ...]`; a default of None needs an annotation `T | None`.
"""
import argparse
import difflib
import re
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
    for name, note in _constants(script["__file__"]).items():
        default = script[name]
        shown = " ".join(map(str, default)) or "empty" if isinstance(default, tuple) else default
        shown = "none" if default is None else shown
        parser.add_argument("--" + name.lower().replace("_", "-"), default=default,
                            help=f"{note} (default: {shown})".replace("%", "%%"),
                            **_kind(default, annotations.get(name), note))
    return parser.parse_args(argv)


def next_command(script, settings, command, folders=("data_dir", "checkpoint_dir", "run_dir")):
    """The line that names the next step, with this one's folders where they are not the usual ones.

    script    the script's globals()
    settings  Namespace of `parse_settings`
    folders   those that the next step has
    """
    flags = [f" --{name.replace('_', '-')} {value}" for name, value in vars(settings).items()
             if name in folders and value != script[name.upper()]]
    return f"next: python {command}{''.join(flags)}"


def _constants(path):
    """The top-level UPPER_CASE names assigned in a file, in order, each with its line's comment."""
    with tokenize.open(path) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    names = {t.start[0]: t.string for t, after in zip(tokens, tokens[1:])
             if t.type == tokenize.NAME and t.start[1] == 0 and t.string.isupper() and after.string in ("=", ":")}
    notes = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return {name: notes[line] for line, name in names.items() if line in notes}


def _kind(default, annotation, note):
    """The keywords of add_argument that read values like `default`."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction}
    choices = re.match(r"[\w.-]+( \| [\w.-]+)+", note)
    keywords = {"choices": choices[0].split(" | ")} if choices else {}
    if isinstance(default, tuple):
        element, *rest = typing.get_args(annotation) or (type(default[0]),)
        return keywords | {"type": element, "nargs": "*" if rest == [...] else len(default),
                           "metavar": element.__name__.upper(), "action": _StoreTuple}
    if default is None:
        kind, = (t for t in typing.get_args(annotation) if t is not types.NoneType)
        return keywords | {"type": _optional(kind), "metavar": kind.__name__.upper()}
    return keywords | {"type": type(default)} | ({} if choices else {"metavar": type(default).__name__.upper()})


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in a line or two instead of listing every flag."""

    def error(self, message):
        wrong = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        known = [flag for action in self._actions for flag in action.option_strings]
        near = [match for word in wrong for match in difflib.get_close_matches(word.split("=")[0], known, 1)]
        hint = f"; did you mean {' '.join(near)}?" if near else ""
        self.exit(2, f"error: {message}{hint}\n{self.prog} --help lists the settings\n")


class _StoreTuple(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def _optional(kind):
    def read(text):
        return None if text.lower() == "none" else kind(text)
    read.__name__ = kind.__name__  # argparse names it in "invalid float value"
    return read
