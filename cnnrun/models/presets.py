"""The four textbook cases of transfer, for a given model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cnnrun.models.stages import early_stage
from cnnrun.models.surgery import StoppedAt, check_layer, evaluated
from cnnrun.models.transfer import Transfer

# A head on more values than these would have more weights than the kept features.
_MOST_FLAT = 2**14


def expanded(transfer: Transfer, model: nn.Module, input_shape: tuple[int, ...]) -> Transfer:
    """`transfer` completed by the preset's values; `model` decides the cut.

    Raises:
        UserError: the case is impossible for this model.
    """
    presets: dict[str | None, Any] = {
        None: dict,
        "small_similar": lambda: {"freeze": "features", "head": []},
        "small_different": lambda: _small_different(transfer, model, input_shape),
        "large_similar": lambda: {"lr_multipliers": {"features": 0.1}},
        "large_different": dict,
    }
    written = transfer.model_dump(exclude_defaults=True)
    return Transfer(**{**presets[transfer.case](), **written})


def _small_different(
    transfer: Transfer, model: nn.Module, input_shape: tuple[int, ...]
) -> dict[str, Any]:
    cut = transfer.cut or early_stage(model, input_shape)
    check_layer(model, cut)
    kept = evaluated(StoppedAt(model, cut), torch.zeros(1, *input_shape))
    pooling = {"head_pooling": "average"} if kept.numel() > _MOST_FLAT else {}
    return {"freeze": "features", "cut": cut, "head": [], **pooling}


def of_old_checkpoint(transfer: Transfer, model: nn.Module) -> Transfer:
    """`transfer` as earlier versions understood it; newer checkpoints hold the expanded preset."""
    presets: dict[str | None, dict[str, Any]] = {"small_similar": {"head": []}}
    if transfer.case == "small_different":
        presets["small_different"] = {"cut": _old_cut(model), "head": []}
    written = transfer.model_dump(exclude_defaults=True)
    return Transfer(**{**presets.get(transfer.case, {}), **written})


def _old_cut(model: nn.Module) -> str:
    features = getattr(model, "features", None)
    layers = features if isinstance(features, nn.Module) else model
    children = [name for name, _ in layers.named_children()]
    prefix = "features." if layers is features else ""
    return prefix + children[max(len(children) // 3, 1) - 1]
