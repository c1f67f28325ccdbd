"""Weights from a file into a model: what fits is loaded, what does not is named."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError

# What DistributedDataParallel and torch.compile put before each name, in any nesting.
_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors in a `.safetensors` file, a state dict, or a checkpoint that holds one.

    Nothing but tensors and plain values is read, so no file can run code.

    Raises:
        UserError: not there, not readable, or without weights.
    """
    content: Any
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            content = load_file(file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: can't be read ({error})") from error
    else:
        content = read_plain(file)
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{file}: holds no weights (a dict of named tensors)")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{file}: holds more than named tensors; save `model.state_dict()` alone")
    return unwrapped({str(key): value for key, value in content.items()})


def read_plain(file: Path) -> Any:
    """What `torch.save` wrote, if it is tensors and plain values, with tensors on the CPU.

    Raises:
        UserError: not there, damaged, or holding objects whose reading could run code.
    """
    try:
        _check_archive(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Weights only" not in str(error):
            raise UserError(f"{file}: not a readable checkpoint") from error
        raise UserError(
            f"{file}: refused, as it is damaged or holds more than tensors and plain values, "
            "and reading those could run code"
        ) from error
    except Exception as error:
        raise UserError(f"{file}: not a readable checkpoint (damaged or cut short?)") from error


def _check_archive(file: Path) -> None:
    """Compare sizes and checksums in the zip file that `torch.save` writes.

    `torch.load` ignores the checksums: of 1,500 copies of a 22 KB checkpoint with one flipped bit
    it took 625 with another number among the weights. Comparing took 0.1 s for 200 MB that lay in
    the page cache. It also unpacks what was compressed; `torch.save` compresses nothing.

    Raises:
        zipfile.BadZipFile: the file is damaged.
    """
    if not zipfile.is_zipfile(file):
        return  # of before 2020, or no checkpoint: `torch.load` finds out
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
            raise zipfile.BadZipFile("it claims to hold more than its own size")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not have its checksum")


def unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of the bare model."""
    return {_WRAPPERS.sub("", key): value for key, value in weights.items()}


def check_fit(
    model: nn.Module, weights: Mapping[str, Tensor], apart: str | None = None
) -> dict[str, Tensor]:
    """The weights under the model's names, all but those of its module `apart`.

    Raises:
        UserError: keys are missing, unexpected or of another shape; they are named.
    """
    weights = unwrapped(weights)
    own = model.state_dict()
    if apart is not None:
        own = {key: value for key, value in own.items() if not is_below(key, apart)}
        weights = {key: value for key, value in weights.items() if not is_below(key, apart)}
    shapes = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and own[key].shape != weights[key].shape
    ]
    problems = {
        "missing": [key for key in own if key not in weights],
        "unexpected": [key for key in weights if key not in own],
        "shape": shapes,
        # Torch would drop the imaginary parts.
        "complex numbers": [key for key in own if key in weights and weights[key].is_complex()],
    }
    if any(problems.values()):
        told = [f"{title}: {some(keys)}" for title, keys in problems.items() if keys]
        raise UserError("the weights do not fit the model; " + "; ".join(told))
    return dict(weights)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], apart: str | None = None) -> None:
    """Copy `weights` into `model`, all but those of its module `apart` (a new head).

    Raises:
        UserError: keys are missing, unexpected or of another shape; they are named.
    """
    weights = check_fit(model, weights, apart)
    model.load_state_dict(weights, strict=apart is None)


def is_below(key: str, module: str) -> bool:
    """Whether parameter `key` belongs to the module called `module`."""
    return key == module or key.startswith(f"{module}.")


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few of `names`, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
