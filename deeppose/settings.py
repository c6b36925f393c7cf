"""A script's UPPER_CASE constants, offered as command-line flags.

Each constant stands on a line of its own with a trailing comment, which is the flag's help:

    EPOCHS = 100                     # 1 ... 100000: passes over the training set
    LOSS = "mse"                     # mse | smooth_l1: what training minimises
    COLOUR = 0.2                     # 0.0 ... 1: strength of random brightness
    SCALE = (0.8, 1.25)              # 0.1 ... 10, rising: least and largest window side, in boxes
    CLIP: float | None = None        # 1e-9 ... 1e9: largest gradient norm; none = unlimited
    JOINTS: tuple[str, ...] = ()     # joints to train; all if empty

A comment that begins with `a | b` limits the setting to those choices, one that begins with `low ... high` to that
range, both ends included; of a tuple, each of its numbers. Every number has a range, and whatever breaks it, in the
file or in a flag, ends the process before any work; between whole ends, `1 ... 100`, it is a whole number, and any if
an end has a point or an exponent, `0.0 ... 100`, however the constant is written. A tuple keeps its length unless it is
annotated `tuple[T, ...]`; what may be none is annotated `T | None`.

A preset sets several at once, for all six steps of one line of systems: presets/NAME.toml, or any file, holds a section
for each script, and in it settings by their names in lower case. Flags go before it, and it goes before the constants.

    [train_stage1]
    backbone = "resnet18"
    scale = [0.8, 1.25]
"""
import argparse
import difflib
import math
import os
import re
import shlex
import subprocess
import sys
import tokenize
import tomllib
import types
import typing
from pathlib import Path

PRESETS = Path(__file__).resolve().parents[1] / "presets"


def parse_settings(script, argv=None, positional=None):
    """Read a script's settings: its constants, overridden by a preset's, each overridden by the flag of the same name.

    script      the script's globals()
    argv        list of strings; None = sys.argv[1:]
    positional  of what stands without a flag: its name, how many as argparse has it, e.g. "+", and its help; None =
                nothing does
    Returns     argparse.Namespace with the constants' names in lower case, and "preset", None without one. A bad flag
                or preset ends the process with status 2.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = _Parser(prog=script["__file__"].replace("\\", "/").rsplit("/", 1)[-1],
                     description=script["__doc__"].strip().split("\n\n")[0],
                     allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    preset = _Parser(add_help=False, allow_abbrev=False, prog=parser.prog)
    for each in (preset, parser):
        each.add_argument("--preset", metavar="NAME", help="settings of one line of systems, a .toml file or one of: "
                          + ", ".join(preset_names()))
    if positional:
        name, count, note = positional
        parser.add_argument(name, nargs=count, metavar=name.upper(), help=note.replace("%", "%%"))
    annotations = sys.modules[script["__name__"]].__annotations__
    constants = _constants(script["__file__"])
    own = {name: _typed(script[name], note) for name, (_, note) in constants.items()}
    kinds = {name: _kind(own[name], annotations.get(name), note) for name, (_, note) in constants.items()}
    name = preset.parse_known_args(argv)[0].preset
    try:
        chosen = _chosen(read_preset(name), Path(script["__file__"]).stem, own, kinds) if name else {}
    except ValueError as error:
        parser.error(str(error))
    for name, (_, note) in constants.items():
        default = chosen.get(name, own[name])
        shown = " ".join(map(str, default)) or "empty" if isinstance(default, tuple) else default
        shown = "none" if default is None else shown
        parser.add_argument("--" + name.lower().replace("_", "-"), default=default,
                            help=f"{note} (default: {shown})".replace("%", "%%"), **kinds[name])
    settings = parser.parse_intermixed_args(argv)  # flags may stand between what has none
    for name, (line, note) in constants.items():
        if fault := _fault(getattr(settings, name.lower()), script[name], note):
            given = "--" + name.lower().replace("_", "-")
            parser.error(f"{given} {fault} ({parser.prog}, line {line}: {note})")
    return settings


def preset_names():
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_preset(name, seen=()):
    """A preset's content: section -> its settings, and what stands before the first section.

    name    of a file in presets/, or the path of one; it may say `like = "NAME"` of another, whose settings it then has
            but for its own
    Raises  ValueError, in words, where there is none, or it is not TOML, or names a script that there is not
    """
    path, seen = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml", seen or (name,)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if name.endswith(".toml"):
            raise ValueError(f"preset {path.resolve()} not found") from None
        near = _nearest(name, preset_names())
        raise ValueError(f"there is no preset {name!r}{near}{' There' if near else '; there'} are: "
                         f"{', '.join(preset_names())}, or a .toml file of yours") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"preset {path} can't be read ({error})") from None
    scripts = {script.stem for script in PRESETS.parent.glob("*.py")}
    if (data := str(content.get("data", "lsp_data"))) not in scripts:
        raise ValueError(f"preset {path} has data = {data!r}, expected the script that prepares them"
                         + _nearest(data, scripts))
    for section, settings in content.items():
        if isinstance(settings, dict) != (section in scripts):
            if section in scripts:
                raise ValueError(f"preset {path} has {section} = {settings!r}, expected a section [{section}]")
            raise ValueError(f"preset {path} has a section [{section}]{_nearest(section, scripts)}")
        if not isinstance(settings, dict) and section not in ("data", "stages", "like"):
            raise ValueError(f"preset {path} has {section} = {settings!r} outside of any section")
    if type(stages := content.get("stages", 1)) is not int or not 1 <= stages <= 99:
        raise ValueError(f"preset {path} has stages = {stages!r}, expected 1 ... 99")
    if "like" not in content:
        return content
    like = str(content.pop("like"))
    if like.endswith(".toml"):
        like = str(path.parent / like)
    if like in seen:
        raise ValueError(f"presets are like each other in a circle: {', '.join((*seen, like))}")
    other = read_preset(like, (*seen, like))
    sections = {section: other[section] | content.get(section, {}) for section in other if section in scripts}
    return other | content | sections


def leaves_open(name, section, key):
    """Whether a preset, if there is one, says nothing of a setting."""
    return not name or key not in read_preset(name).get(section, {})


def _chosen(preset, section, own, kinds):
    """The values of a preset's section for a script whose own are `own`, by the constants' names. Raises ValueError, in
    words."""
    values = {}
    for key, value in preset.get(section, {}).items():
        name = key.upper()
        where = f"preset's [{section}] {key}"
        if name not in kinds or key != key.lower():
            raise ValueError(f"{where}: no such setting{_nearest(name, kinds).lower()}")
        default, read = own[name], kinds[name].get("type", bool)
        given = value if isinstance(value, list) else [value]
        wanted = bool if read is bool else getattr(read, "kind", read)
        optional = hasattr(read, "kind")
        fits = [type(each) is wanted or (type(each), wanted) == (int, float) or each == "none" and optional
                for each in given]
        length = kinds[name].get("nargs", 1)
        if not all(fits) or isinstance(value, list) != isinstance(default, tuple) or length not in ("*", len(given)):
            many = {1: "", "*": "a list of "}.get(length, f"a list of {length} ")
            raise ValueError(f"{where} = {value!r}, expected {many}{wanted.__name__}")
        given = [None if optional and each == "none" else wanted(each) for each in given]
        values[name] = tuple(given) if isinstance(default, tuple) else given[0]
    return values


def _nearest(word, known):
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def next_command(script, settings, command, folders=("data_dir", "checkpoint_dir", "run_dir"), title="next"):
    """The line that names the next step, with this one's folders where they are not the usual ones.

    script    the script's globals()
    settings  Namespace of `parse_settings`
    folders   those that the next step has
    title     what the line begins with
    """
    flags = [f" --{name.replace('_', '-')} {quoted(value)}" for name, value in vars(settings).items()
             if name in folders and value != script[name.upper()] or name == "preset" and value]
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


def _is_real(note):
    """Whether the range that a comment begins with is one of any numbers, and not of whole ones."""
    limits = RANGE.match(note)
    return bool(limits) and any(mark in limits["low"] + limits["high"] for mark in ".e")


def _typed(value, note):
    """A constant, or each of a tuple, as a float where its range is one of any numbers: DROPOUT = 0 is 0.0."""
    if isinstance(value, tuple):
        return tuple(_typed(each, note) for each in value)
    return float(value) if type(value) is int and _is_real(note) else value


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
        if not _is_real(note) and any(isinstance(number, float) for number in numbers):
            return f"is {shown}, expected {'whole numbers' if isinstance(value, tuple) else 'a whole number'}"
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
    if default is None or types.NoneType in typing.get_args(annotation):
        kind, = (t for t in typing.get_args(annotation) if t is not types.NoneType)
        return keywords | {"type": _optional(kind), "metavar": kind.__name__.upper()}
    return keywords | {"type": type(default)} | ({} if choices else {"metavar": type(default).__name__.upper()})


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in a line instead of listing every flag."""

    def error(self, message):
        wrong = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        known = [flag for action in self._actions for flag in action.option_strings]
        hint = "".join(_nearest(word.split("=")[0], known) for word in wrong)
        if int(os.environ.get("RANK", 0)) > 0:  # of torchrun's processes the first tells it
            self.exit(2)
        self.exit(2, f"error: {message}{hint}; {self.prog} --help lists the settings\n")


class _StoreTuple(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def _optional(kind):
    def read(text):
        return None if text.lower() == "none" else kind(text)
    read.__name__ = kind.__name__  # argparse names it in "invalid float value"
    read.kind = kind
    return read
