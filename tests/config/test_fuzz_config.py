"""Mutated copies of the shipped configs: each is refused with its place, or is an experiment.

Every case follows from its number, so a failure is repeated by `CNNRUN_FUZZ_FIRST=NUMBER`.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnrun import registry
from cnnrun.cli import main
from cnnrun.config import experiment as config
from cnnrun.registry import KINDS
from tests.conftest import CONFIGS, THOROUGH
from tests.malice import bounded

FIRST = int(os.environ.get("CNNRUN_FUZZ_FIRST", "0"))
# Whole lines of `error:`; what a case may say that is not about the file but about this machine.
_ABOUT_THE_MACHINE = re.compile(
    r"device (cuda|mps)|could not be downloaded|download is false|no such (file|folder|directory)"
    r"|memory|needs .* package|imagenet|weights|file name too long|no sample image"
)
_PLACE = re.compile(
    r"^(error: )?(case\.yaml:\d+(:\d+)?: |command line: |'.*' is not an override: )", re.S
)
_SECONDS = 60

# Values of wrong kinds, at the edges and far beyond them.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-30, 1e30, 1e308, 2**31,
    2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, float("inf"), float("-inf"), float("nan"),
    "", " ", "null", "true", "no", "1e-3", "0x10", "012", "1:30", ".", "..", "../../etc/passwd",
    "/", "~", "a" * 300, "é", "模型", "🙂", "\u202etxt", "a\u0000b", "a\nb", "%s%n", "{}", "{0}",
    "auto", "none", "default", "mlp", "sgd", [], [[]], [1], [0], [-1], [1, 2], [2, 1], [0.1, 0.2],
    ["a"], [None], [True], {}, {"name": None}, {"name": []}, {"name": {}}, {"name": "mlp"},
    {"name": "cross_entropy", "x": 1}, {"a": {"b": {"c": 1}}},
]  # fmt: skip
_SNIPPETS = [
    "\t", " ", "  ", "\n", "\r", "\r\n", ":", ": ", "- ", "-", "? ", "#", ",", "[", "]", "{", "}",
    "'", '"', "|\n", ">-\n", "&a ", "*a", "&a [*a]", "<<: *a\n", "<<: {lr: 1}\n", "!!int ",
    "!!set ", "!!binary ", "!!python/object/apply:os.system ['true']", "!mine ", "---\n", "...\n",
    "%YAML 9.9\n", "%TAG ! x\n", "@", "`", "\\", '"\\x00"', "\x00", "\x07", "\x85",
    "\u2028", "\ufeff", "\ufffe",
    "é", "模", "🙂", "\u202e", "=", "~", "1e400", "-.inf", "0o17", "1_000", "2024-01-01", "[" * 30,
    "{a: " * 30, "[" * 3000, "- " * 500, "? " * 500, "a: &x [1]\nb: [*x, *x]\n", "0" * 5000,
]  # fmt: skip


# Changes of the values ----------------------------------------------------------------------------


def _places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values below the top."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(items):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from _places(value, (*path, key))


def _at(values: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        values = values[step]
    return values


def _change_values(values: dict[str, Any], draw: random.Random) -> None:
    """One change of one value, key or section."""
    path = draw.choice(list(_places(values)) or [("name",)])
    parent, key = _at(values, path[:-1]), path[-1]
    change = draw.randrange(8)
    if change == 0:
        del parent[key]
    elif change == 1:
        other = draw.choice(list(_places(values)))
        parent[key] = yaml.safe_load(yaml.safe_dump(_at(values, other)))
    elif change == 2 and isinstance(parent, dict):
        parent[_misspelt(str(key), draw)] = parent.pop(key)
    elif change == 3:
        parent[key] = draw.choice([[parent[key]], {"name": parent[key]}, {key: parent[key]}])
    elif change == 4:
        section = draw.choice([*KINDS, "schedule", "transfer", "training", "plugins"])
        values[section] = _component(section, draw)
    elif change == 5 and isinstance(parent.get(key) if isinstance(parent, dict) else 0, dict):
        parent[key] |= {draw.choice(_all_keys()): draw.choice(ODD)}
    elif change == 6 and isinstance(parent[key], (int, float)):
        parent[key] = parent[key] * draw.choice([-1, 0, 2, 0.5, 10, 1000, 10**9])
    else:
        parent[key] = draw.choice(ODD)


def _misspelt(word: str, draw: random.Random) -> str:
    at = draw.randrange(len(word) + 1)
    return draw.choice(
        [word[:at] + word[at + 1 :], word[:at] + "x" + word[at:], word.upper(), "é" + word, ""]
    )


def _component(section: str, draw: random.Random) -> Any:
    """Any component of the section, with some of its own parameters set to anything."""
    if section not in KINDS:
        return {draw.choice(_all_keys()): draw.choice(ODD)}
    entry = registry.KINDS[section].get(draw.choice(registry.KINDS[section].names()))
    name = entry.name.replace("*", draw.choice(["resnet18", "nothing", ""]))
    names = draw.sample(entry.parameters, min(len(entry.parameters), draw.randrange(3)))
    return {"name": name, **{name: draw.choice(ODD) for name in names}}


@cache
def _all_keys() -> list[str]:
    found = {*config.Experiment.model_fields, *config.Training.model_fields}
    for kind in registry.KINDS.values():
        for name in kind.names():
            found |= set(kind.get(name).schema().model_fields)
    return sorted(found)


# Changes of the text ------------------------------------------------------------------------------


def change_text(text: bytes, draw: random.Random) -> bytes:
    """One change that knows nothing of YAML's structure."""
    at, end = sorted(draw.randrange(len(text) + 1) for _ in range(2))
    lines = text.splitlines(keepends=True) or [b""]
    line = draw.randrange(len(lines))
    change = draw.randrange(8)
    if change == 0:
        return text[:at] + text[min(end, at + 20) :]
    if change == 1:
        return text[:at] + text[at : at + 40] + text[at:]
    if change == 2:
        return b"".join([*lines[:line], lines[line], *lines[line:]])
    if change == 3:
        other = draw.randrange(len(lines))
        lines[line], lines[other] = lines[other], lines[line]
        return b"".join(lines)
    if change == 4:
        lines[line] = draw.choice([b"\t", b" ", b"   ", b"-", b""]) + lines[line].lstrip()
        return b"".join(lines)
    if change == 5 and text:
        flipped = bytearray(text)
        flipped[min(at, len(text) - 1)] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if change == 6:
        return draw.choice(
            [text[:at], text.replace(b"\n", b"\r"), text * 2, b"\xef\xbb\xbf" + text]
        )
    return text[:at] + draw.choice(_SNIPPETS).encode() + text[at:]


def mutated_config(number: int) -> tuple[bytes, list[str]]:
    """The config of a case, and its overrides on the command line."""
    draw = random.Random(number)
    file = draw.choice(sorted(CONFIGS.glob("*.yaml")))
    text = file.read_bytes()
    if draw.random() < 0.6:
        values = yaml.safe_load(text)
        for _ in range(draw.choice([1, 1, 1, 2, 5])):
            _change_values(values, draw)
        flow = draw.choice([None, True, False])
        text = yaml.safe_dump(values, default_flow_style=flow, allow_unicode=True).encode()
    if draw.random() < 0.5:
        for _ in range(draw.choice([1, 1, 2, 8])):
            text = change_text(text, draw)
    overrides = []
    if draw.random() < 0.1:
        dotted = ".".join(
            draw.choice([*_all_keys(), "0", "é"]) for _ in range(draw.randrange(1, 4))
        )
        overrides = [f"{dotted}={draw.choice([*map(str, ODD), *_SNIPPETS])}".replace("\x00", "")]
    return text, overrides


# The promise --------------------------------------------------------------------------------------


def verdict_of(code: int, err: str) -> str:
    """What became of a case: `wrong`, or a way of telling a person what is so and where."""
    told = err[max(err.find("error: "), 0) :].strip()
    if "Traceback" in err or "a bug or a broken machine" in err:
        return "wrong"
    if code == 0:
        return "valid"
    if code == 1:
        return "needs what is not here" if _ABOUT_THE_MACHINE.search(told.lower()) else "wrong"
    placed = all(_PLACE.match(line) for line in told.splitlines())
    return "refused" if code == 2 and placed else "wrong"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"over {_SECONDS} s")


@pytest.fixture
def fuzz(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[[int], Counter[str]]]:
    """Run cases through `cnnrun check`; memory and time of each are bounded."""
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "https_proxy"):  # nothing is downloaded
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    before = signal.signal(signal.SIGALRM, _too_long)

    def run(count: int) -> Counter[str]:
        verdicts: Counter[str] = Counter()
        failures = []
        for number in range(FIRST, FIRST + count):
            text, overrides = mutated_config(number)
            (tmp_path / "case.yaml").write_bytes(text)
            monkeypatch.setattr(sys, "argv", ["cnnrun", "check", "case.yaml", *overrides])
            code = 0
            signal.alarm(_SECONDS)
            try:
                main()
            except SystemExit as exit_:
                code = int(exit_.code or 0)
            finally:
                signal.alarm(0)
            err = capsys.readouterr().err
            verdict = verdict_of(code, err)
            verdicts[verdict] += 1
            if verdict == "wrong":
                failures.append(f"case {number} {overrides}: exit {code}: {err}"[:1500])
        assert not failures, f"{len(failures)} of {count}\n" + "\n".join(failures)
        return verdicts

    with bounded(monkeypatch):
        yield run
    signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_mutated_configs_are_refused_or_run(fuzz: Callable[[int], Counter[str]]) -> None:
    verdicts = fuzz(150 if THOROUGH else 40)
    assert verdicts["valid"] > 1
    assert verdicts["refused"] > 13
