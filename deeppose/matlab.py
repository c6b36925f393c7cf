"""MATLAB 5 files of nested structs as plain values, unpacked as they are read: SciPy would need GBs of memory.

A value is a list of numbers (column by column), a text, a list of dictionaries (a struct array), a list of values (a
cell array), or None (anything else). What is empty is an empty list, of whatever kind.
"""
import math
import os
import struct
import zlib

from .archives import Unreadable, in_words

LARGEST_VALUE = 1 << 24  # bytes unpacked, of one struct's field
DEEPEST = 20             # structs and cells within each other
# kind of data -> struct's letter
_NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_WIDTHS = {letter: struct.calcsize("<" + letter) for letter in _NUMBERS.values()}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15              # kinds of elements
_CELL, _STRUCT, _CHAR, _DOUBLE, _UINT64 = 1, 2, 4, 6, 15  # classes of matrices; the numeric ones stand side by side


def walk(path, variable, wanted):
    """Read the fields of a struct, a struct array among them a struct at a time.

    path      of the file
    variable  name of the struct, 1 x 1, with at least one of the wanted fields
    wanted    the fields to read: name -> None, or the fields to read of a struct array's structs
    Yields    (field, index, value): of a struct array each struct as a dictionary, else the whole value with index None
    Raises    Unreadable, in words, where the file is none, broken, or lacks the variable
    """
    try:
        with open(path, "rb") as file:
            yield from _walk(file, variable, wanted)
    except (struct.error, zlib.error, UnicodeDecodeError, OSError, OverflowError) as error:
        raise Unreadable(f"it is broken: {in_words(error)}") from None


def _walk(file, variable, wanted):
    head = file.read(128)
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    if head.startswith(b"MATLAB 7.3"):
        raise Unreadable("a MATLAB 7.3 file; save it from MATLAB with save(..., '-v7')")
    if order is None:
        raise Unreadable("no MATLAB 5 file")
    size = os.fstat(file.fileno()).st_size
    while file.tell() + 8 <= size:
        kind, length = struct.unpack(order + "2I", file.read(8))
        following = file.tell() + length
        if following > size:
            raise Unreadable("it ends early")
        source = _Source(file, length, kind == _COMPRESSED, order)
        if kind == _COMPRESSED:
            kind, length = source.tag()
        if kind == _MATRIX:
            sort, dimensions, name = source.head()
            if name == variable:
                if sort != _STRUCT or math.prod(dimensions) != 1:
                    raise Unreadable(f"{variable} is no single struct")
                yield from _fields(source, wanted)
                return
        file.seek(following)
    raise Unreadable(f"it holds no {variable}")


def _fields(source, wanted):
    names = source.names()
    if not set(names) & set(wanted):
        raise Unreadable(f"it lacks {', '.join(wanted)}")
    for name in names:
        kind, length = source.tag()
        end = source.position + length
        if name in wanted and length:
            sort, dimensions, _ = source.head()
            if sort != _STRUCT:
                yield name, None, source.value(sort, dimensions, end)
            else:
                inner = source.names()
                for index in range(math.prod(dimensions) if inner else 0):
                    yield name, index, {field: source.matrix(wanted[name] is None or field in wanted[name])
                                        for field in inner}
        source.skip(end - source.position)


class _Source:
    """The bytes of one variable, unpacked as they are asked for."""

    def __init__(self, file, length, packed, order):
        self.file, self.left, self.order = file, length, order
        self.unpack = zlib.decompressobj().decompress if packed else bytes
        self.ready, self.position = bytearray(), 0

    def read(self, count):
        if count > LARGEST_VALUE:
            raise Unreadable(f"a value of {count:,} bytes, expected at most {LARGEST_VALUE:,}")
        while len(self.ready) < count:
            chunk = self.file.read(min(self.left, 1 << 16))
            if not chunk:
                raise Unreadable("it ends early")
            self.left -= len(chunk)
            self.ready += self.unpack(chunk)
        content = bytes(self.ready[:count])
        del self.ready[:count]
        self.position += count
        return content

    def skip(self, count):
        if count < 0:
            raise Unreadable("it is broken: a value is longer than what holds it")
        while count:
            count -= len(self.read(min(count, 1 << 16)))

    def tag(self):
        """Kind and length of a matrix."""
        kind, length = struct.unpack(self.order + "2I", self.read(8))
        if kind != _MATRIX:
            raise Unreadable(f"it is broken: an element of kind {kind} where a matrix should be")
        return kind, length

    def small(self):
        """The data of an element that is no matrix."""
        first = self.read(8)
        kind, length = struct.unpack(self.order + "2I", first)
        if kind >> 16:  # up to four bytes stand in the tag itself
            return kind & 0xFFFF, first[4:4 + (kind >> 16)]
        return kind, self.read(length + -length % 8)[:length]

    def head(self):
        """Class, dimensions and name of a matrix."""
        flags, dimensions, name = (self.small()[1] for _ in range(3))
        return (struct.unpack(self.order + "2I", flags)[0] & 0xFF,
                struct.unpack(f"{self.order}{len(dimensions) // 4}i", dimensions), name.decode("latin-1"))

    def names(self):
        return _names(self.small()[1], self.small()[1], self.order)

    def matrix(self, wanted):
        kind, length = self.tag()
        if not wanted:
            return self.skip(length)
        return _value(self.read(length), 0, length, self.order, 0)

    def value(self, sort, dimensions, end):
        content = self.read(end - self.position)
        return _content(content, 0, len(content), self.order, sort, dimensions, 0)


def _names(width, names, order):
    width, = struct.unpack(order + "i", width)
    if width < 1 and names:
        raise Unreadable("it is broken: names of no length")
    return [names[at:at + width].split(b"\0")[0].decode("latin-1") for at in range(0, len(names), width or 1)]


def _element(content, at, end, order):
    """Kind, start, end of an element's data, and where the next begins."""
    kind, length = struct.unpack_from(order + "2I", content, at)
    if kind >> 16:
        return kind & 0xFFFF, at + 4, at + 4 + (kind >> 16), at + 8
    stop = at + 8 + length
    if stop > end:
        raise Unreadable("it is broken: a value is longer than what holds it")
    return kind, at + 8, stop, stop if kind == _MATRIX else stop + -length % 8


def _value(content, at, end, order, depth):
    """The value of the matrix that content[at:end] holds."""
    if at == end:
        return []
    if end - at >= 40:  # two dimensions and no name, as nearly all: a third of the time
        six, _, flags, _, five, length, rows, columns, _, name = struct.unpack_from(order + "10I", content, at)
        if (six, five, length, name) == (6, 5, 8, 0):
            return _content(content, at + 40, end, order, flags & 0xFF, (rows, columns), depth)
    _, start, _, at = _element(content, at, end, order)
    sort = struct.unpack_from(order + "I", content, start)[0] & 0xFF
    _, start, stop, at = _element(content, at, end, order)
    dimensions = struct.unpack_from(f"{order}{(stop - start) // 4}i", content, start)
    _, _, _, at = _element(content, at, end, order)  # its name
    return _content(content, at, end, order, sort, dimensions, depth)


def _content(content, at, end, order, sort, dimensions, depth):
    """The value whose class and dimensions are known; what else belongs to it begins at `at`."""
    if _DOUBLE <= sort <= _UINT64 or sort == _CHAR:
        kind, start, stop, _ = _element(content, at, end, order)
        if stop == start:
            return []
        if sort == _CHAR:
            return content[start:stop].decode(_TEXTS.get(kind, "utf-8") + {"<": "-le", ">": "-be"}[order]
                                              * (kind in (4, 17, 18)))
        letter = _NUMBERS.get(kind)
        if letter is None:
            raise Unreadable(f"it is broken: numbers of kind {kind}")
        return list(struct.unpack_from(f"{order}{(stop - start) // _WIDTHS[letter]}{letter}", content, start))
    if sort not in (_CELL, _STRUCT):
        return None
    if depth == DEEPEST:
        raise Unreadable(f"structs within each other, more than {DEEPEST} deep")
    count, names = math.prod(dimensions), [None]
    if sort == _STRUCT:
        _, start, stop, at = _element(content, at, end, order)
        _, first, last, at = _element(content, at, end, order)
        names = _names(content[start:stop], content[first:last], order)
    values = []
    for _ in range(count if names else 0):
        row = {}
        for name in names:
            kind, start, stop, at = _element(content, at, end, order)
            if kind != _MATRIX:
                raise Unreadable(f"it is broken: an element of kind {kind} where a matrix should be")
            row[name] = _value(content, start, stop, order, depth + 1)
        values.append(row if sort == _STRUCT else row[None])
    return values
