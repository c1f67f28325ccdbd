"""Weights from a file into a model: what fits is loaded, what does not is named."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError

# What DistributedDataParallel and torch.compile put before each name, in any nesting.
_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")
# Where training programs keep the state dict in their files. Averaged weights come first, as in
# timm: scores are reported for those.
_CONTAINERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema"),
    *("model", "state_dict", "model_state_dict", "net", "params"),
)
# What programs that hold the network in an attribute (Lightning) put before each name.
_ATTRIBUTES = ("ema_model.", "model_ema.", "model.", "net.", "network.", "backbone.")
# A counter of batches: networks from before 2018 lack it, and nothing depends on it.
NOT_NEEDED = ".num_batches_tracked"


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors in a `.safetensors` file, a state dict, or a checkpoint that holds one.

    Only tensors and plain values are read, so no file can run code.

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
    found = _weights_in(content)
    if found is not None:
        return unwrapped({str(key): value for key, value in found.items()})
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{file}: holds no weights (a dict of named tensors)")
    raise UserError(f"{file}: holds more than named tensors; save only `model.state_dict()`")


# How deep the state dict may be nested; a file may also contain itself.
_DEPTH = 4


def _weights_in(content: Any, depth: int = _DEPTH) -> Mapping[Any, Tensor] | None:
    """The named tensors in a saved object: itself, or the first of the usual places."""
    if not isinstance(content, Mapping) or not content or not depth:
        return None
    places = (_weights_in(content[key], depth - 1) for key in _CONTAINERS if key in content)
    if inner := next((found for found in places if found), None):
        return inner
    return content if all(isinstance(value, Tensor) for value in content.values()) else None


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
    """Check sizes and checksums of the zip file that `torch.save` writes.

    `torch.load` ignores the checksums: of 1,500 copies of a 22 KB checkpoint with one flipped bit
    it accepted 625 with a changed weight. The check takes 0.1 s for 200 MB in the page cache.
    `torch.load` also unpacks compressed entries; `torch.save` compresses nothing.

    Raises:
        zipfile.BadZipFile: the file is damaged.
    """
    if not zipfile.is_zipfile(file):
        return  # from before 2020, or no checkpoint: `torch.load` decides
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
            raise zipfile.BadZipFile("it claims to hold more than its own size")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not have its checksum")


def unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of the unwrapped model."""
    return {_WRAPPERS.sub("", key): value for key, value in weights.items()}


def under_names_of(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights` without another program's prefix.

    Parts that the model lacks (a decoder, a loss) are left out.
    """
    own = model.state_dict()
    weights = without_prefix(own, weights)
    parts = {key.partition(".")[0] for key in own}
    known = {key: value for key, value in weights.items() if key.partition(".")[0] in parts}
    # With nothing in common they are another model's: all stay, to be reported as unexpected.
    return known or weights


def without_prefix(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights` without the attributes, possibly nested, in which a program holds the network.

    own: the state dict of the network. If the network is found, everything else (counters, a
    second network) is dropped.
    """
    weights = unwrapped(weights)
    if own.keys() & weights.keys():
        return weights
    for prefix in _ATTRIBUTES:
        inner = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        if not inner:
            continue
        bare = without_prefix(own, inner)
        # A prefix that all names share is not a layer's name.
        if own.keys() & bare.keys() or len(inner) == len(weights):
            return bare
    return weights


def check_fit(
    model: nn.Module, weights: Mapping[str, Tensor], apart: str | None = None
) -> dict[str, Tensor]:
    """The weights under the model's names, except those of its module `apart`.

    Raises:
        UserError: keys are missing, unexpected or of another shape; they are named.
    """
    own = model.state_dict()
    weights = _with_plain_head(unwrapped(weights), own)
    if apart is not None:
        own = {key: value for key, value in own.items() if not is_below(key, apart)}
        weights = {key: value for key, value in weights.items() if not is_below(key, apart)}
    both = [key for key in own if key in weights and isinstance(own[key], Tensor)]
    problems = {
        "missing": [k for k in own if k not in weights and not k.endswith(NOT_NEEDED)],
        "unexpected": [key for key in weights if key not in own],
        "shape": [
            f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
            for key in both
            if own[key].shape != weights[key].shape
        ],
        # Torch would drop the imaginary parts.
        "complex numbers": [key for key in both if weights[key].is_complex()],
    }
    if any(problems.values()):
        messages = [f"{title}: {some(keys)}" for title, keys in problems.items() if keys]
        hint = _hint(own, weights)
        raise UserError("the weights do not fit the model; " + "; ".join(messages) + hint)
    return dict(weights)


def _with_plain_head(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A head of one layer under its present name; it was `place.1` in earlier versions."""
    names = {}
    for key in own:
        place, _, kind = key.rpartition(".")
        old = f"{place}.1.{kind}"
        if key not in weights and old in weights and old not in own:
            names[old] = key
    return {names.get(key, key): value for key, value in weights.items()}


def _hint(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """The likely cause: a prefix, or another number of input channels."""
    for key, value in weights.items():
        name = next((name for name in own if key.endswith(f".{name}")), None)
        if name and not own.keys() & weights.keys():
            prefix = key.removesuffix(name)
            return f". Their names start with '{prefix}'; save them without it"
        there, here = value.shape, own[key].shape if key in own else value.shape
        if len(there) == 4 and there[2:] == here[2:] and {there[1], here[1]} == {1, 3}:
            channels = "rgb" if there[1] == 3 else "gray"
            return f". They are of images with {there[1]} channels: dataset.channels={channels}"
    return ""


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], apart: str | None = None) -> None:
    """Copy `weights` into `model`, except those of its module `apart` (a new head).

    Raises:
        UserError: keys are missing, unexpected or of another shape; they are named.
    """
    # Not strict: what is required was checked above.
    model.load_state_dict(check_fit(model, weights, apart), strict=False)


class Loaded:
    """Tensors of a model that hold loaded weights."""

    def __init__(self) -> None:
        # Kept alive, so that no later tensor reuses the id of one that was replaced.
        self._tensors: list[Tensor] = []
        self._known: set[int] = set()

    def add(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self._tensors.append(tensor)
            self._known.add(id(tensor))

    def __contains__(self, tensor: object) -> bool:
        return id(tensor) in self._known

    def __bool__(self) -> bool:
        return bool(self._tensors)


@contextmanager
def noting_loaded(so_far: Loaded | None = None) -> Iterator[Loaded]:
    """Within the block, record which parameters of any model `load_state_dict` fills.

    so_far: what is added to; by default nothing.
    """
    loaded = Loaded() if so_far is None else so_far
    original = nn.Module.load_state_dict

    def load_and_note(self: nn.Module, state_dict: Mapping[str, Any], *args: Any, **kw: Any) -> Any:
        result = original(self, state_dict, *args, **kw)
        loaded.add(p for name, p in self.named_parameters() if name in state_dict)
        return result

    nn.Module.load_state_dict = load_and_note  # type: ignore[method-assign]
    try:
        yield loaded
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def is_below(key: str, module: str) -> bool:
    """Whether parameter `key` belongs to the module called `module`."""
    return key == module or key.startswith(f"{module}.")


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few of `names`, and the number of the rest."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
