"""Configs, studies and sweeps by name: `cnnrun train digits_cnn` from any directory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Literal

from cnnrun.errors import ConfigError, did_you_mean

Kind = Literal["config", "study", "sweep"]

_PACKAGE = Path(__file__).parent.parent
# Below `configs`; all other folders there hold experiments.
_FOLDERS = {"study": "studies", "sweep": "sweeps"}
LISTED: dict[str, Kind] = {"experiment": "config", "study": "study", "sweep": "sweep"}
"""The kinds' names in `cnnrun list`."""


def find_config(name: Path, kind: Kind = "config") -> Path:
    """The YAML file that `name` means: itself, or `name.yaml` here, in `configs/`, or as shipped.

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    if name.is_file() or name.suffix in (".yaml", ".yml") or len(name.parts) > 1:
        return name  # a path; if it is missing, reading it says so
    for files in (Path().glob("*.yaml"), *(_files(folder, kind) for folder in _folders())):
        for file in sorted(files):
            if file.stem == str(name):
                return file
    if "=" in name.name:
        raise ConfigError(f"{name} is a setting; the {kind}'s file or name comes before it")
    known = config_names(kind)
    hint = did_you_mean(str(name), known) or f"; there are {', '.join(known)}"
    raise ConfigError(f"{name}: there is no such file, and no {kind} of that name{hint}")


def names_experiment(target: Path) -> bool:
    """Whether `target` is an experiment, by file or by name, and not a run or a checkpoint."""
    if target.suffix in (".yaml", ".yml"):
        return True
    if len(target.parts) > 1 or target.exists():
        return False
    return not target.suffix or "=" in target.name


def config_names(kind: Kind = "config") -> list[str]:
    """The names that `find_config` knows, except those in this directory."""
    return sorted({file.stem for folder in _folders() for file in _files(folder, kind)})


def described(kind: str) -> list[dict[str, str]]:
    """Name, first paragraph of the leading comment and full text of each shipped file."""
    files = {f.stem: f for f in _files(_folders()[1], LISTED[kind])}
    return [
        {"name": name, "summary": _summary(text), "description": text.rstrip()}
        for name, text in ((n, files[n].read_text(encoding="utf-8")) for n in sorted(files))
    ]


def _summary(text: str) -> str:
    paragraph = takewhile(lambda line: line.startswith("# "), text.splitlines())
    return " ".join(" ".join(line[1:] for line in paragraph).split())


def _files(folder: Path, kind: Kind) -> Iterator[Path]:
    for file in folder.rglob("*.yaml"):
        first = file.relative_to(folder).parts[0]
        if first == _FOLDERS.get(kind) or (kind == "config" and first not in _FOLDERS.values()):
            yield file


def _folders() -> list[Path]:
    """`configs` here, and the package's own: inside it, or next to it in a checkout."""
    inside = _PACKAGE / "configs"
    return [Path("configs"), inside if inside.is_dir() else _PACKAGE.parent / "configs"]
