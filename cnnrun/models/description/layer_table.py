"""The output of `cnnrun describe`: a row per layer, totals, and both as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 100
"""Columns of a terminal that the table should fit."""

KIND_WIDTH = 16
NUMBERS_FROM = 5
"""The column from which on all are numbers: to the right."""

LEFT_OUT_FIRST = (3, 8, 2)
"""Columns that a narrow terminal has no room for: how a size follows, memory, the window."""

_SHORTEST_NAME = 8

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """A module around a layer that is more than a sequence, e.g. a residual block."""

    name: str
    kind: str
    output_shape: Shape


@dataclass(frozen=True)
class Layer:
    """One use of one layer. Shapes are without the batch: (C, H, W), or (features,)."""

    name: str
    kind: str
    # Of a convolution or a pool, each as (height, width); `groups` of a convolution.
    kernel: Shape | None
    stride: Shape | None
    padding: Shape | None
    dilation: Shape | None
    groups: int | None
    input_shape: Shape
    output_shape: Shape
    # How the output's size follows from the input's, e.g. (28 + 2*1 - 3)/1 + 1 = 28
    arithmetic: str
    # Pixels (height, width) of the image that a unit sees, including padding; the jump to its
    # neighbour's; and where the first unit's start; None if unknown. If all units see the same, the
    # jump is None.
    receptive_field: tuple[int, int] | None
    jump: tuple[int, int] | None
    field_start: tuple[int, int] | None
    # 0 for a layer that is used again.
    parameters: int
    # For one image; a bias doesn't count.
    multiply_adds: int
    # Bytes of the output for one image in float32.
    memory: int
    # The outermost first; the network itself is left out.
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Description:
    """A network, layer by layer in the order of computation, for images of `input_shape`."""

    model: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    parameters: int
    trainable_parameters: int

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def memory(self) -> int:
        """Bytes of all layers' outputs for one image in float32, which training must keep."""
        return sum(layer.memory for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Numbers, texts, lists and None only, ready for JSON."""
        totals = {
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "multiply_adds": self.multiply_adds,
            "memory": self.memory,
        }
        return {
            "model": self.model,
            "input_shape": list(self.input_shape),
            "layers": [_plain(dataclasses.asdict(layer)) for layer in self.layers],
            "totals": totals,
        }

    def to_text(self, width: int = WIDTH) -> str:
        """A table of at most `width` columns, with shortened names and fewer columns if need be.

        Names of layers are listed below their block's.
        """
        header = ["layer", "kind", "window", "size", "output", "field", "params", "MACs", "memory"]
        rows = [header]
        block = ""
        for layer in self.layers:
            inside, _, name = layer.name.rpartition(".")
            if inside != block:
                block = inside
                rows.append([inside])
            rows.append([f"  {name}" if inside else name, *_cells(layer)])
        lines = _aligned(rows, width)
        rule = "-" * max(map(len, lines))
        return "\n".join([self._heading(), "", lines[0], rule, *lines[1:], rule, *self._totals()])

    def _heading(self) -> str:
        return f"{self.model} for images of {shape_text(self.input_shape)}"

    def _totals(self) -> list[str]:
        frozen = self.parameters - self.trainable_parameters
        trains = f" ({frozen:,} of them frozen)" if frozen else ""
        return [
            f"parameters  {self.parameters:,}{trains}, {bytes_text(4 * self.parameters)}",
            f"MACs        {self.multiply_adds:,} multiply-accumulates per image",
            f"memory      {bytes_text(self.memory)} of outputs per image, in float32",
            "field       pixels that a unit sees / pixels from one unit to the next; - is unknown",
        ]


def _plain(value: Any) -> Any:
    """`value` with lists instead of tuples."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _cells(layer: Layer) -> list[str]:
    """All columns after the name's."""
    kind = kind_text(layer)
    return [
        kind if len(kind) <= KIND_WIDTH else kind[: KIND_WIDTH - 1] + "…",
        window_text(layer),
        _arithmetic_text(layer.arithmetic),
        shape_text(layer.output_shape),
        field_text(layer),
        count_text(layer.parameters) if layer.parameters else "",
        count_text(layer.multiply_adds) if layer.multiply_adds else "",
        bytes_text(layer.memory),
    ]


def _arithmetic_text(arithmetic: str) -> str:
    """In few letters, and without the result: it stands in the next column."""
    texts = []
    for text in arithmetic.replace(" ", "").split(","):
        text = text.partition("=")[0]
        for word, brackets in (("floor(", "⌊⌋"), ("ceil(", "⌈⌉")):
            if text.startswith(word):
                inside, _, rest = text.removeprefix(word).rpartition(")")
                text = f"{brackets[0]}{inside}{brackets[1]}{rest}"
        texts.append(text)
    return " ".join(texts)


def _aligned(rows: list[list[str]], width: int) -> list[str]:
    """Lines of columns; a row of one cell is a heading of any length."""
    table = [row for row in rows if len(row) > 1]
    used = [i for i in range(len(table[0])) if any(row[i] for row in table[1:])]
    widths = {i: max(len(row[i]) for row in table) for i in used}

    def too_wide() -> int:
        return sum(widths.values()) + 2 * (len(widths) - 1) - width

    for column in LEFT_OUT_FIRST:
        if too_wide() > max(0, widths[0] - _SHORTEST_NAME):
            widths.pop(column, None)
    widths[0] = max(widths[0] - max(too_wide(), 0), min(widths[0], _SHORTEST_NAME))
    lines = []
    for row in rows:
        cells = row
        if len(row) > 1:
            cells = [_cell(row[i], width, i >= NUMBERS_FROM) for i, width in widths.items()]
        lines.append("  ".join(cells).rstrip())
    return lines


def _cell(text: str, width: int, number: bool) -> str:
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text.rjust(width) if number else text.ljust(width)


def field_text(layer: Layer) -> str:
    """The receptive field, and after a stroke its jump: `435/32`."""
    if layer.receptive_field is None:
        return "-"
    size = pair_text(layer.receptive_field)
    return f"{size}/{pair_text(layer.jump)}" if layer.jump else size


def kind_text(layer: Layer) -> str:
    return layer.kind.removesuffix("2d")


def window_text(layer: Layer) -> str:
    """A kernel in few letters: `3x3 s2 p1`, with dilation and groups where they are not 1."""
    if layer.kernel is None:
        return ""
    parts = [pair_text(layer.kernel, square=True)]
    for letter, value, plain in (
        ("s", layer.stride, 1),
        ("p", layer.padding, 0),
        ("d", layer.dilation, 1),
    ):
        if value and set(value) != {plain}:
            parts.append(letter + pair_text(value))
    if layer.groups and layer.groups > 1:
        parts.append(f"g{layer.groups}")
    return " ".join(parts)


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def pair_text(pair: Sequence[int], square: bool = False) -> str:
    """`3x5`; `3` for equal ones, or with `square` `3x3`."""
    return str(pair[0]) if len(set(pair)) == 1 and not square else shape_text(pair)


def count_text(number: float) -> str:
    """Three digits and a letter: 950, 1.23K, 45.6M."""
    return _short(number, 1000, ("", "K", "M", "G", "T"))


def bytes_text(number: float) -> str:
    """Three digits and a unit: 512 B, 98.0 KiB."""
    return _short(number, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _short(number: float, base: int, units: Sequence[str]) -> str:
    place = 0
    while place < len(units) - 1 and round(number) >= base:
        number, place = number / base, place + 1
    digits = ".0f" if place == 0 or number >= 100 else ".3g"
    return f"{number:{digits}}{units[place]}"
