"""Pickles of plain values and byte arrays, read by an interpreter that can't call anything.

A pickle is a program. Python's own interpreter calls whatever the program names; even restricted to
numpy's classes it builds arrays over addresses that the file chooses, and allocates memory for memo
indices that the file makes up. This one knows the 40 instructions that dicts, lists, texts, numbers
and numpy's uint8 arrays are written with (protocols 0 to 4), and builds the arrays itself.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ARRAYS = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_EMPTY = {"__builtin__.bytes", "builtins.bytes"}
_KNOWN = _ARRAYS | _EMPTY | {"numpy.ndarray", "numpy.dtype", "_codecs.encode"}


class ForeignPickleError(ValueError):
    """The pickle names something that is not a plain value or array."""


@dataclass
class Bytes:
    """An array of bytes that the pickle is about to describe."""

    array: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class _Global:
    name: str


class _Dtype(str):
    """The name of a dtype."""


_MARK = object()


def loads(content: bytes) -> Any:
    """The value of the pickle `content`: strings of Python 2 are bytes, arrays `Bytes`.

    Raises:
        ForeignPickleError: it names anything else.
        ValueError, IndexError, KeyError, TypeError, struct.error: it is damaged.
    """
    return _Machine(content).run()


class _Machine:
    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        content, instructions = self.content, _INSTRUCTIONS
        while True:
            code = content[self.position]
            self.position += 1
            if code == 0x2E:  # STOP
                return self.stack.pop()
            if code not in instructions:
                raise ForeignPickleError(f"the instruction {code:#x}")
            instructions[code](self)

    # What instructions are made of.

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.content):
            raise ValueError("cut short")
        found = self.content[self.position : end]
        self.position = end
        return found

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.content, self.position)
        self.position += struct.calcsize(form)
        return int(value)

    def line(self) -> bytes:
        end = self.content.index(b"\n", self.position)
        found = self.content[self.position : end]
        self.position = end + 1
        return found

    def marked(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("no mark")
        found = self.stack[start + 1 :]
        del self.stack[start:]
        return found

    def name(self, module: Any, name: Any) -> None:
        full = f"{_text(module)}.{_text(name)}"
        if full not in _KNOWN:
            raise ForeignPickleError(full)
        self.stack.append(_Global(full))

    def call(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        name = called.name if isinstance(called, _Global) else ""
        if name in _ARRAYS and arguments[0] == _Global("numpy.ndarray"):
            self.stack.append(Bytes())
        elif name == "numpy.dtype":
            self.stack.append(_Dtype(_text(arguments[0])))
        elif name in _EMPTY and arguments == ():
            self.stack.append(b"")
        elif name == "_codecs.encode" and arguments[1] == "latin1":
            self.stack.append(arguments[0].encode("latin1"))
        else:
            raise ForeignPickleError(name or "an object")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Dtype):
            return  # byte order and size: of bytes, there is one of each
        if not isinstance(target, Bytes):
            raise ForeignPickleError("an object")
        _version, shape, dtype, by_columns, content = state
        if not isinstance(dtype, _Dtype) or dtype not in ("u1", "uint8", "|u1"):
            raise ForeignPickleError(f"an array of {dtype!s:.20}")
        flat = np.frombuffer(content, np.uint8)
        target.array = flat.reshape(shape, order="F" if by_columns else "C")

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ForeignPickleError("an object")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[key] = value

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ForeignPickleError("an object")
        target.extend(values)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise ForeignPickleError("a name that is not text")
    return value


def _quoted(line: bytes) -> bytes:
    """A text of protocol 0, as Python 2 writes it in code."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a text without quotes")
    return codecs.escape_decode(line[1:-1])[0]


def _int(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.rstrip(b"L")[:25])


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(value(m))


def _put(number: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda m: m.memo.__setitem__(number(m), m.stack[-1])


def _get(number: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(m.memo[number(m)])


def _two(m: _Machine) -> list[Any]:
    pair = m.stack[-2:]
    del m.stack[-2:]
    return pair


def _tuple_of(count: int) -> Callable[[_Machine], tuple[Any, ...]]:
    return lambda m: tuple([m.stack.pop() for _ in range(count)][::-1])


def _dict_of(m: _Machine) -> None:
    pairs = m.marked()
    m.stack.append({})
    m.set_items(pairs)


def _protocol(m: _Machine) -> None:
    if m.number("<B") > 4:
        raise ForeignPickleError("a newer protocol")


def _frame(m: _Machine) -> None:
    m.take(8)  # its length, for readers of streams


def _stack_global(m: _Machine) -> None:
    m.name(*_two(m))


_INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    ord("("): _push(lambda _: _MARK),
    ord("}"): _push(lambda _: {}),
    ord("]"): _push(lambda _: []),
    ord(")"): _push(lambda _: ()),
    ord("d"): _dict_of,
    ord("l"): _push(lambda m: m.marked()),
    ord("t"): _push(lambda m: tuple(m.marked())),
    0x85: _push(_tuple_of(1)),
    0x86: _push(_tuple_of(2)),
    0x87: _push(_tuple_of(3)),
    ord("s"): lambda m: m.set_items(_two(m)),
    ord("u"): lambda m: m.set_items(m.marked()),
    ord("a"): lambda m: m.append([m.stack.pop()]),
    ord("e"): lambda m: m.append(m.marked()),
    ord("N"): _push(lambda _: None),
    0x88: _push(lambda _: True),
    0x89: _push(lambda _: False),
    ord("K"): _push(lambda m: m.number("<B")),
    ord("M"): _push(lambda m: m.number("<H")),
    ord("J"): _push(lambda m: m.number("<i")),
    ord("I"): _push(lambda m: _int(m.line())),
    ord("L"): _push(lambda m: _int(m.line())),
    0x8A: _push(lambda m: int.from_bytes(m.take(m.number("<B")), "little", signed=True)),  # LONG1
    ord("U"): _push(lambda m: m.take(m.number("<B"))),
    ord("T"): _push(lambda m: m.take(m.number("<i"))),
    ord("C"): _push(lambda m: m.take(m.number("<B"))),
    ord("B"): _push(lambda m: m.take(m.number("<I"))),
    0x8E: _push(lambda m: m.take(m.number("<Q"))),  # BINBYTES8
    0x8C: _push(lambda m: m.take(m.number("<B")).decode("utf-8")),  # SHORT_BINUNICODE
    ord("X"): _push(lambda m: m.take(m.number("<I")).decode("utf-8")),
    ord("V"): _push(lambda m: m.line().decode("raw-unicode-escape")),
    ord("S"): _push(lambda m: _quoted(m.line())),
    ord("p"): _put(lambda m: int(m.line()[:20])),
    ord("q"): _put(lambda m: m.number("<B")),
    ord("r"): _put(lambda m: m.number("<I")),
    0x94: _put(lambda m: len(m.memo)),  # MEMOIZE
    ord("g"): _get(lambda m: int(m.line()[:20])),
    ord("h"): _get(lambda m: m.number("<B")),
    ord("j"): _get(lambda m: m.number("<I")),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _stack_global,
    ord("R"): lambda m: m.call(),
    ord("b"): lambda m: m.build(),
}
