"""The figure of the concepts: an experiment, its run, and what each command does with them.

One drawing in two palettes, as SVG, for light and dark pages.
"""

from __future__ import annotations

from html import escape

_LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2933",
    "faint": "#5b6770",
    "line": "#9aa5ae",
    "box": "#f3f6f8",
    "config": "#0f766e",
    "run": "#9a5b00",
}
_DARK = {
    "paper": "#1e2129",
    "ink": "#e6e9ee",
    "faint": "#a5afba",
    "line": "#697683",
    "box": "#282c36",
    "config": "#4fd1c5",
    "run": "#f0b860",
}
_SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_WIDTH, _HEIGHT = 960, 420

_EXPERIMENT = (
    "dataset: folder",
    "model: torchvision/resnet18",
    "loss: cross_entropy",
    "optimizer: adam",
    "schedule: cosine",
    "training: {epochs: 20}",
    "seed: 0",
)
_RUN = (
    "config.yaml",
    "metrics.jsonl",
    "summary.json",
    "environment.json",
    "checkpoints/best.pt, last.pt",
    "plots/",
)
_BEFORE = (
    ("cnnrun new", "writes a commented file"),
    ("cnnrun check", "validates it, runs one batch"),
    ("cnnrun data", "reports on the images"),
    ("cnnrun lr-find", "suggests a learning rate"),
)
_AFTER = (
    ("cnnrun eval", "scores on a split"),
    ("cnnrun viz", "draws plots"),
    ("cnnrun predict", "classifies new images"),
    ("cnnrun export", "writes ONNX and more"),
)
_MANY = (
    ("cnnrun sweep, study", "start many runs: settings × seeds"),
    ("cnnrun compare, report", "show what made a difference"),
)


def figures() -> dict[str, str]:
    """The SVG of each palette, by its file name."""
    return {"concepts-light.svg": _drawn(_LIGHT), "concepts-dark.svg": _drawn(_DARK)}


def _drawn(colors: dict[str, str]) -> str:
    parts = [
        _box(colors, 40, 40, 270, 222, "config", "experiment: one YAML file", _EXPERIMENT),
        _box(colors, 430, 40, 270, 222, "run", "run: one directory", _RUN),
        _arrow(colors, 312, 148, 428, 148),
        _text(colors, 370, 136, "cnnrun train", "ink", _MONO, 14, "middle", bold=True),
        _text(colors, 370, 170, "same seed,", "faint", _SANS, 12, "middle"),
        _text(colors, 370, 186, "same result", "faint", _SANS, 12, "middle"),
        _arrow(colors, 702, 148, 738, 148),
        *_commands(colors, 748, 62, _AFTER, 48),
        *_commands(colors, 40, 306, _BEFORE, 29, side=140),
        *_commands(colors, 430, 306, _MANY, 29, side=210),
        _path(colors, "M 175 286 L 175 265"),
        _path(colors, "M 565 286 L 565 265"),
    ]
    label = "An experiment file is trained to a run directory, which all other commands read."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(label)}">\n'
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"'
        f' markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colors["line"]}"/>'
        "</marker></defs>\n"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="10" fill="{colors["paper"]}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _box(
    colors: dict[str, str],
    x: int,
    y: int,
    width: int,
    height: int,
    accent: str,
    title: str,
    lines: tuple[str, ...],
) -> str:
    """A titled box of monospaced lines."""
    shown = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{colors["box"]}"'
        f' stroke="{colors[accent]}" stroke-width="2"/>',
        _text(colors, x + 16, y + 28, title, accent, _SANS, 16, bold=True),
    ]
    for number, line in enumerate(lines):
        shown.append(_text(colors, x + 16, y + 58 + 24 * number, line, "ink", _MONO, 14))
    return "\n".join(shown)


def _commands(
    colors: dict[str, str],
    x: int,
    y: int,
    commands: tuple[tuple[str, str], ...],
    step: int,
    side: int = 0,
) -> list[str]:
    """Commands and what each does: next to them where `side` pixels are given, else below."""
    shown = []
    for number, (command, does) in enumerate(commands):
        at = y + step * number
        shown.append(_text(colors, x, at, command, "ink", _MONO, 14, bold=True))
        beside = (x + side, at) if side else (x, at + 18)
        shown.append(_text(colors, *beside, does, "faint", _SANS, 13))
    return shown


def _text(
    colors: dict[str, str],
    x: int,
    y: int,
    text: str,
    color: str,
    family: str,
    size: int,
    anchor: str = "start",
    bold: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" font-family="{family}" font-size="{size}"'
        f' text-anchor="{anchor}" fill="{colors[color]}"{weight}>{escape(text)}</text>'
    )


def _arrow(colors: dict[str, str], x: int, y: int, to_x: int, to_y: int) -> str:
    return _path(colors, f"M {x} {y} L {to_x} {to_y}")


def _path(colors: dict[str, str], path: str) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{colors["line"]}" stroke-width="2"'
        ' marker-end="url(#tip)"/>'
    )
