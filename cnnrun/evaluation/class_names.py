"""Names of a network's outputs, from a file next to its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cnnrun.errors import UserError
from cnnrun.runtime.reading import parse_json, read_text


def read_classes(file: Path) -> tuple[str, ...]:
    """The names of outputs, in order: one per line, or in a JSON file.

    JSON: a list of names, or a mapping of numbers to names or to lists that end with the name, as
    `imagenet_class_index.json` has them; of names to numbers, too.

    Raises:
        UserError: it is none of these.
    """
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    text = read_text(file)
    if file.suffix.lower() != ".json":
        return _checked([line.strip() for line in text.splitlines() if line.strip()], file)
    try:
        held = parse_json(text)
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error})") from error
    if isinstance(held, dict):
        if all(isinstance(value, int) for value in held.values()):
            held = {number: name for name, number in held.items()}
        try:
            held = [held[key] for key in sorted(held, key=int)]
        except ValueError as error:
            raise UserError(f"{file}: expected numbers and names") from error
    if not isinstance(held, list):
        raise UserError(f"{file}: expected a list of names")
    return _checked(
        [str(name[-1] if isinstance(name, list) and name else name) for name in held], file
    )


def _checked(names: Sequence[str], file: Path) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        message = f"names '{twice[0]}' twice" if twice else "names no classes"
        raise UserError(f"{file}: {message}")
    return tuple(names)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Unique names: ImageNet has two classes called crane."""
    times = Counter(names)
    return tuple(f"{n} ({k})" if times[n] > 1 else n for k, n in enumerate(names))
