"""What the shell offers on TAB: names of configs, and keys and values of changes to them.

All of it is read from the JSON Schema of experiments. Making that imports torch and takes seconds,
so it is kept in the user's cache folder until a file of the package changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from cnnrun.config.shipped import config_names, find_config
from cnnrun.runtime.paths import cache_folder

Offers = list[tuple[str, str]]

_OPTIONS = {"training": "Training", "transfer": "Transfer"}


def complete_config(incomplete: str) -> list[str]:
    """Names of configs, and YAML files and folders here."""
    paths = [p for p in Path().glob(f"{incomplete}*") if p.suffix in (".yaml", ".yml")]
    folders = [f"{p}/" for p in Path().glob(f"{incomplete}*") if p.is_dir()]
    names = [name for name in config_names() if name.startswith(incomplete)]
    return [*names, *map(str, sorted(paths)), *sorted(folders)]


def complete_override(ctx: typer.Context, incomplete: str) -> Offers:
    """Keys that start with `incomplete`, e.g. `optimizer.lr=`, or values after the `=`."""
    given = (ctx.params.get("config"), *(ctx.params.get("overrides") or []))
    return offers([str(word) for word in given if word], incomplete)


def offers(args: list[str], incomplete: str) -> Offers:
    """Completions of `incomplete`, with their meanings.

    args: the words before it, from which the components' names are taken. Bash splits words at
    `=`: `optimizer=ad` comes as `optimizer`, `=`, `ad`.
    """
    try:
        schema = _schema()
        if len(args) > 1 and args[-1] == "=":
            found = _values(schema, args, args[-2])
            return [(value, text) for value, text in found if value.startswith(incomplete)]
        key, equals, prefix = incomplete.partition("=")
        if equals:
            found = _values(schema, args, key)
            return [(f"{key}={v}", text) for v, text in found if v.startswith(prefix)]
        return [(k, text) for k, text in _keys(schema, args) if k.startswith(incomplete)]
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return []  # no completion is better than a traceback in the middle of a command line


def _keys(schema: dict[str, Any], args: list[str]) -> Iterator[tuple[str, str]]:
    for section, value in schema["properties"].items():
        yield f"{section}=", value.get("description", "")
        for key, inner in _properties(schema, args, section).items():
            if key != "name":
                yield f"{section}.{key}=", inner.get("description", "")


def _values(schema: dict[str, Any], args: list[str], dotted: str) -> Iterator[tuple[str, str]]:
    section, _, key = dotted.partition(".")
    value = schema["properties"].get(section, {})
    if key and key != "name":
        value = _properties(schema, args, section).get(key, {})
    for choice in [value, *value.get("anyOf", [])]:
        text = choice.get("description", "")
        if choice.get("type") == "boolean":
            yield from (("true", ""), ("false", ""))
        elif "const" in choice:
            yield str(choice["const"]), text
        for word in choice.get("enum", []):
            yield str(word), ""


def _properties(schema: dict[str, Any], args: list[str], section: str) -> dict[str, Any]:
    """The keys of a section, whose component is named on the command line or in the config."""
    name = _OPTIONS.get(section) or f"{section}.{_component(schema, args, section)}"
    definition = schema["$defs"].get(name) or schema["$defs"].get(name.partition("/")[0], {})
    properties: dict[str, Any] = definition.get("properties", {})
    return properties


def _component(schema: dict[str, Any], args: list[str], section: str) -> str:
    for word in reversed("\n".join(args).replace("\n=\n", "=").splitlines()):
        key, equals, value = word.partition("=")
        if equals and key in (section, f"{section}.name"):
            return value
    written = _config(tuple(args)).get(section, schema["properties"][section].get("default"))
    return str(written.get("name") if isinstance(written, dict) else written)


def _config(args: tuple[str, ...]) -> dict[str, Any]:
    """The experiment that the command line names; {} if it can't be read."""
    from cnnrun.config.document import read
    from cnnrun.errors import UserError

    for word in args:
        if "=" not in word and not word.startswith("-"):
            with contextlib.suppress(UserError):
                return dict(read(find_config(Path(word))).values)
    return {}


def _schema() -> dict[str, Any]:
    file = _cached()
    if not file.is_file():
        # In another process, as this one must not load torch; it writes the file atomically.
        command = [sys.executable, "-m", "cnnrun", "schema", "-o", str(file)]
        # It must not complete in turn.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("_CNNRUN_COMPLETE")}
        subprocess.run(command, env=clean, capture_output=True, check=True, timeout=60)
    schema: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return schema


def _cached() -> Path:
    """The cache file for the schema of the current package."""
    package = Path(__file__).parent.parent
    newest = max(file.stat().st_mtime_ns for file in package.rglob("*.py"))
    return cache_folder() / f"schema-{newest:x}.json"
