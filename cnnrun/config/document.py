"""A YAML file as plain values that remember where they were written.

PyYAML scans and parses; the values are built here, because PyYAML silently keeps the last of two
equal keys and reads words by other rules than `yaml_words`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cnnrun.config.renamed import present
from cnnrun.config.yaml_words import resolve
from cnnrun.errors import ConfigError
from cnnrun.runtime.printable import printable
from cnnrun.runtime.reading import CONFIG_BYTES, CONFIG_DEPTH, CONFIG_VALUES

KeyPath = tuple[str | int, ...]

_INDEX = re.compile(r"[0-9]{1,9}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Change(str):
    """The place of a value that overrides a file: on the command line, in a sweep."""


@dataclass
class Document:
    """`values` as read from `file`, and for every path into them its place in the file."""

    file: str
    values: Any
    places: dict[KeyPath, str] = field(default_factory=dict)
    key_places: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath, key: bool = False) -> str:
        """`file:line:column` (or the override) of the value at `path`, or of its nearest parent.

        With `key`, of the key rather than of the value.
        """
        if key and path in self.key_places:
            return self.key_places[path]
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.file)

    def override(self, text: str) -> None:
        """Set one value from `key.path=value`, e.g. `optimizer.lr=0.1`; the value is YAML.

        `optimizer=adam` replaces the whole section, `optimizer.lr=0.1` one key of it (a section
        that is a bare name becomes a mapping).

        Raises:
            ConfigError: not of the form `key=value`, or the value is not YAML.
        """
        if not isinstance(text, str):
            raise ConfigError(
                f"{text!r} is not an override: write each as a "
                f"separate string,  'optimizer.lr=0.1', "
                "'training.epochs=5'; a list of them is given as *list"
            )
        dotted, equals, value_text = text.partition("=")
        if not equals or not all(dotted.split(".")):
            raise ConfigError(
                f"'{text}' is not an override: write key=value, e.g. optimizer.lr=0.1"
            )
        where = Change(f"command line: {' '.join(text.split())}")
        value = parse(value_text, where).values if value_text.strip() else None
        path = tuple(int(p) if _INDEX.fullmatch(p) else p for p in dotted.split("."))
        self.put(path, value, where)

    def put(self, path: KeyPath, value: Any, where: str) -> None:
        """Set the value at `path` and record `where` it was written.

        Raises:
            ConfigError: the path leads through something that has no keys.
        """
        target: Any = self.values
        for depth, step in enumerate(path[:-1]):
            target = self._enter(target, step, path[: depth + 1], where)
        last = path[-1]
        if isinstance(target, list):
            if not isinstance(last, int) or last >= len(target):
                raise ConfigError(f"{where}: the list '{dotted_path(path[:-1])}' has no such item")
        elif not isinstance(target, dict):
            raise ConfigError(f"{where}: '{dotted_path(path[:-1])}' holds no keys")
        target[last if isinstance(target, list) else str(last)] = value
        for places in (self.places, self.key_places):
            for old in [known for known in places if known[: len(path)] == path]:
                del places[old]
            places[path] = where

    def at(self, path: KeyPath) -> Any:
        """The value at `path`, or None."""
        value = self.values
        for step in path:
            if isinstance(value, dict):
                value = value.get(str(step))
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def _enter(self, target: Any, step: str | int, path: KeyPath, where: str) -> Any:
        """The container under `step`, created if it is missing or a bare component name."""
        if isinstance(target, list):
            if not isinstance(step, int) or step >= len(target):
                raise ConfigError(f"{where}: the list '{dotted_path(path[:-1])}' has no such item")
            key: Any = step
        elif isinstance(target, dict):
            key = str(step)
            if key not in target:
                target[key] = {}
                self.places[path] = self.key_places[path] = where
        else:
            raise ConfigError(f"{where}: '{dotted_path(path[:-1])}' holds no keys")
        inner = target[key]
        if inner is None:
            inner = target[key] = {}
        elif isinstance(inner, str):
            inner = target[key] = {"name": inner}
        return inner


def dotted_path(path: KeyPath) -> str:
    """`path` as written on the command line, on one line whatever its keys contain."""
    return printable(".".join(map(str, path)))


def read(file: Path) -> Document:
    """Read one YAML file whose top level is a mapping.

    Raises:
        ConfigError: missing, not text, not YAML, or not a mapping; with the place and the cause.
    """
    try:
        with file.open("rb") as stream:  # the size of a pipe or device is unknown
            content = stream.read(CONFIG_BYTES + 1)
        if len(content) > CONFIG_BYTES:
            raise ConfigError(f"{file}:1: over {CONFIG_BYTES:,} bytes, too large for an experiment")
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: not UTF-8 text; is this a YAML file?") from error
    except OSError as error:
        raise ConfigError(f"{file}: {(error.strerror or str(error)).lower()}") from error
    document = parse(text, str(file))
    place = document.places.get((), f"{file}:1")
    if document.values is None:
        raise ConfigError(f"{place}: the file is empty; `cnnrun list` shows what it may name")
    if isinstance(document.values, str):
        raise ConfigError(
            f"{place}: the whole file is one string; a key needs a colon AND a space: `lr: 0.1`"
        )
    if not isinstance(document.values, dict):
        raise ConfigError(
            f"{place}: the top level must be `key: value` lines, not a list or number"
        )
    return document


def parse(text: str, file: str) -> Document:
    """Parse YAML `text`; `values` may be of any type.

    Raises:
        ConfigError: with `file:line:column` and the likely cause.
    """
    on_command_line = file.startswith("command line")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_explain(error, text, file)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        where = file if on_command_line else f"{file}:{line}"
        raise ConfigError(f"{where}: a character that YAML does not allow") from error
    except RecursionError as error:
        where = file if on_command_line else f"{file}:{loader.line + 1}"
        raise ConfigError(f"{where}: nested more deeply than any experiment") from error
    document = Document(file, {})
    document.values = None if node is None else _Builder(document).value(node, ())
    return document


def plain(text: str) -> Any:
    """The values of YAML written by a program, within the same limits, by PyYAML's fast C parser.

    Raises:
        ConfigError, yaml.YAMLError, RecursionError: not such YAML.
    """
    node = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text).get_single_node()
    return None if node is None else _Builder(Document("config.yaml", None)).value(node, ())


class _Builder:
    """Turns PyYAML's nodes into values and records their places."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.count += 1
        if self.count > CONFIG_VALUES or len(path) > CONFIG_DEPTH:
            raise self.error(node, "too many or too deeply nested values for an experiment")
        self.document.places[path] = self.place(node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(key_node, "a key must be one word")
            key = str(key_node.value)
            inner = (*path, key)
            if key in values:
                raise self.error(
                    key_node, f"the key {key!r} appears twice (first in line {lines[key]})"
                )
            lines[key] = key_node.start_mark.line + 1
            self.document.key_places[inner] = self.place(key_node)
            values[key] = self.value(value_node, inner)
        return values

    def scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if node.tag not in _PLAIN_TAGS:
            raise self.error(node, f"the tag {node.tag} is not allowed; write plain values")
        style = getattr(node, "style", None)
        if style:
            if _CONTROL.search(text) or (style == '"' and re.search(r"[\n\t]", text)):
                raise self.error(
                    node,
                    f"{text!r} holds a control character: in double quotes \\n and \\t mean one. "
                    "Use single quotes, or / in paths",
                )
            return text
        value = resolve(text)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise self.error(node, "a whole number of more than 64 bits")
        return value

    def place(self, node: yaml.Node) -> str:
        mark = node.start_mark
        if self.document.file.startswith("command line"):
            return self.document.file
        return f"{self.document.file}:{mark.line + 1}:{mark.column + 1}"

    def error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{self.place(node)}: {message}")


_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}


def _explain(error: yaml.MarkedYAMLError, text: str, file: str) -> str:
    """One line with the place and, for the usual causes, the cause in plain words."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{file}: {error.problem}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    where = file if file.startswith("command line") else f"{file}:{mark.line + 1}:{mark.column + 1}"
    if "\t" in line[: mark.column + 1]:
        cause = "a tab; YAML is indented with spaces"
    elif "escape" in (error.problem or ""):
        cause = (
            r"a backslash in double quotes; write paths in single quotes ('C:\data') or with / "
            "(C:/data)"
        )
    else:
        context = f"{error.context}: " if error.context else ""
        cause = f"{context}{error.problem}"
    return f"{where}: not valid YAML: {cause}"


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; components by their present names, so that they compare."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = present(prefix + str(key), value)
    return flat
