"""`--seeds 5` or `--seeds 0,1,2`."""

from __future__ import annotations

from cnnrun.errors import ConfigError

METAVAR = "N|A,B,..."


def chosen_seeds(text: str, first: int) -> list[int]:
    """The seeds that are listed, or so many from `first` on.

    Raises:
        ConfigError: neither, or none.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds: '{text}' is neither a number nor a list as in 0,1,2") from None
    if "," not in text:
        numbers = [first + k for k in range(numbers[0])]
    if not numbers:
        raise ConfigError("--seeds: at least one seed is needed")
    return list(dict.fromkeys(numbers))
