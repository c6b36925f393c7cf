"""The lists of a large JSON file, read an entry at a time: its text is never in memory whole, nor what is dropped."""
import json
import os
import re

from .errors import Failure

CHUNK = 1 << 20    # characters read at once
LONGEST = 1 << 26  # characters of one entry
SPACE = re.compile(r"[ \t\n\r]*")
UNFINISHED = re.compile(r"\.?([eE][-+]?)?")  # what may stand behind a whole number at the end of what was read


def entries(path, wanted, expected):
    """Read a JSON file that holds an object, for the entries of some of its lists.

    wanted    names of lists
    expected  what the file should be, for the errors
    Yields    (name of the list, number from 0, entry), in the file's order
    Raises    Failure where it is no whole JSON object, or lacks a list
    """
    lacking = set(wanted)
    text = _Text(path)
    try:
        with open(path, encoding="utf-8-sig") as text.file:
            text.take("{", "its beginning")
            comma = text.peek() != "}" or text.take("}", "its beginning") == ","
            while comma:
                if not isinstance(key := text.value("a name"), str):
                    raise ValueError(f"{key!r} in place of a name")
                text.take(":", f"{key!r}")
                if text.peek() == "[":
                    for number, entry in enumerate(_list(text, key)):
                        if key in wanted:
                            yield key, number, entry
                    lacking.discard(key)
                else:
                    text.value(f"{key!r}")
                comma = text.take(",}", f"{key!r}") == ","
            if text.peek():
                raise ValueError(f"{text.peek()!r} after its end")
    except UnicodeDecodeError:
        raise Failure(f"{os.path.realpath(path)} is not in UTF-8, expected {expected}") from None
    except (ValueError, RecursionError) as error:
        told = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Failure(f"{os.path.realpath(path)} is no whole JSON: {told}; expected {expected}, get the file anew") \
            from None
    if lacking:
        raise Failure(f"{os.path.realpath(path)} holds no list {min(lacking)!r}; expected {expected}")


def _list(text, key):
    text.take("[", key)
    if text.peek() == "]":
        text.take("]", key)
        return
    number = 0
    while True:
        yield text.value(f"{key}[{number}]")
        if text.take(",]", f"{key}[{number}]") == "]":
            return
        number += 1


class _Text:
    """The part of a file's text that is being read, from `place` on."""

    def __init__(self, path):
        self.file, self.text, self.place, self.ended = None, "", 0, False
        self.decode = json.JSONDecoder().raw_decode

    def more(self):
        self.text = self.text[self.place:]
        self.place = 0
        read = self.file.read(max(CHUNK, len(self.text)))
        self.text += read
        self.ended = not read

    def peek(self):
        """The next character that is no space; "" at the end."""
        while True:
            self.place = SPACE.match(self.text, self.place).end()
            if self.place < len(self.text) or self.ended:
                return self.text[self.place:self.place + 1]
            self.more()

    def take(self, allowed, where):
        found = self.peek()
        if not found:
            raise ValueError(f"it ends after {where}")
        if found not in allowed:
            raise ValueError(f"{found!r} after {where} in place of {' or '.join(map(repr, allowed))}")
        self.place += 1
        return found

    def value(self, where):
        self.peek()
        while True:
            try:
                value, end = self.decode(self.text, self.place)
                if self.ended or not UNFINISHED.fullmatch(self.text, end):  # else a number might go on
                    self.place = end
                    return value
            except json.JSONDecodeError as error:
                cut_off = error.pos > len(self.text) - 16 or error.msg.startswith("Unterminated")
                if self.ended or not cut_off:
                    raise ValueError(f"it ends within {where}" if cut_off else f"{where}: {error.msg}") from None
            if len(self.text) - self.place > LONGEST:
                raise ValueError(f"{where} is longer than {LONGEST:,} characters")
            self.more()
