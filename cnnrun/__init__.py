"""cnnrun: an experiment runner for convolutional networks. One YAML file is one experiment.

From Python: `from cnnrun import train, evaluate, load_run, load_model`; see `cnnrun.api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnnrun.version import __version__ as __version__

if TYPE_CHECKING:
    from cnnrun.api import evaluate as evaluate
    from cnnrun.api import load_model as load_model
    from cnnrun.api import load_run as load_run
    from cnnrun.api import train as train
    from cnnrun.errors import ConfigError as ConfigError
    from cnnrun.errors import UserError as UserError


_API = ("ConfigError", "UserError", "evaluate", "load_model", "load_run", "train")


def __getattr__(name: str) -> Any:
    """Import the Python API, and torch with it, on first use: the command line doesn't need it."""
    if name in _API:
        from cnnrun import api

        return getattr(api, name)
    raise AttributeError(f"module 'cnnrun' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
