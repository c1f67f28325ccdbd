"""Where networks are cut: after a stage, whatever their code is like, and at a sane size."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from cnnrun.config.experiment import load
from cnnrun.engine.build_model import build_model
from cnnrun.errors import UserError
from cnnrun.models.cnn import CNN
from cnnrun.models.mlp import MLP
from cnnrun.models.presets import expanded
from cnnrun.models.resnet import ResNet
from cnnrun.models.stages import early_stage
from cnnrun.models.surgery import StoppedAt, evaluated, restructure, truncated
from cnnrun.models.transfer import Transfer
from cnnrun.models.vgg import VGG
from tests.conftest import Command


def library(name: str) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(name, num_classes=10)
    return model


@pytest.mark.parametrize(
    ("model", "side", "stage"),
    [
        (lambda: CNN((3, 32, 32), 10, channels=[4, 8, 8]), 32, "features.0"),
        (lambda: CNN((3, 32, 32), 10, channels=[4] * 6, pooling="none"), 32, "features.1"),
        (lambda: CNN((3, 32, 32), 10, channels=[4] * 6, stride=[1, 1, 2, 1, 2, 1],
                     pooling="none"), 32, "features.1"),
        (lambda: ResNet((3, 32, 32), 10, width=2), 32, "features.stage1"),
        (lambda: VGG((3, 64, 64), 10, width=2, depth=16), 64, "features.1"),
        (lambda: library("resnet18"), 64, "layer1"),
        pytest.param(lambda: library("vgg11"), 64, "features.10", marks=pytest.mark.slow),
        (lambda: library("mobilenet_v3_small"), 64, "features.3"),
        (lambda: timm.create_model("efficientnet_lite0", num_classes=10), 64, "blocks.2"),
    ],
)  # fmt: skip
def test_early_features_end_with_a_stage(model: Any, side: int, stage: str) -> None:
    assert early_stage(model(), (3, side, side)) == stage


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (lambda: MLP((3, 8, 8), 10), 8),
        (lambda: library("swin_t"), 32),
        (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10), 224),
    ],
)
def test_networks_without_stages_are_refused(model: Any, side: int) -> None:
    with pytest.raises(UserError, match="no stage of feature maps"):
        early_stage(model(), (3, side, side))


def test_large_maps_are_averaged_and_small_ones_are_not() -> None:
    case = Transfer(case="small_different")
    large = expanded(case, library("resnet18"), (3, 96, 96))
    assert (large.cut, large.head_pooling) == ("layer1", "average")
    cut, _ = restructure(library("resnet18"), large, (3, 96, 96), 10)
    assert cut.get_parameter("head.2.weight").shape == (10, 64)
    small = expanded(case, CNN((1, 28, 28), 10, channels=[32, 64]), (1, 28, 28))
    assert (small.cut, small.head_pooling) == ("features.0", "flatten")


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "test_vit"])
def test_any_network_can_be_cut_anywhere(name: str) -> None:
    """TensorFlow's padding depends on sizes, which symbolic tracing can't follow."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10)
    side = model.default_cfg["input_size"][1] if "vit" in name else 64
    images = torch.rand(2, 3, side, side)
    for layer in ("blocks.0", "blocks.1"):
        wanted = evaluated(StoppedAt(model, layer), images)
        shortened = truncated(copy.deepcopy(model), layer, images)
        torch.testing.assert_close(evaluated(shortened, images), wanted)
        for pooling in ("average", "flatten"):
            transfer = Transfer(cut=layer, head=[4], head_pooling=pooling)  # type: ignore[arg-type]
            cut, head = restructure(copy.deepcopy(model), transfer, (3, side, side), 5)
            assert head == "head"
            assert cut(images).shape == (2, 5)


def test_what_follows_the_cut_is_not_kept() -> None:
    model = timm.create_model("tf_efficientnet_b0", num_classes=10)
    cut = truncated(model, "blocks.0", torch.zeros(1, 3, 64, 64))
    kept = sum(p.numel() for p in cut.parameters())
    assert kept < 10_000


@pytest.mark.slow
def test_a_cut_network_that_can_not_be_traced_trains(cnnrun: Command, tiny: Path) -> None:
    changes = [
        "model=timm/tf_efficientnet_b0",
        "dataset={name: digits, size: 32, limit: 40}",
        "transfer={cut: blocks.0, head: []}",
        "training={epochs: 1, draw: false}",
    ]
    ended = cnnrun("train", tiny, "-q", *changes)
    assert ended.code == 0, ended.err
    assert cnnrun("eval", ended.out.strip()).code == 0


def test_old_checkpoints_have_the_cut_of_their_time(tiny: Path) -> None:
    """New ones hold what the case meant, instead of its name."""
    changes = ["model={name: resnet, depth: 8}", "transfer.case=small_different"]
    experiment = load(tiny, changes)
    old, new = (build_model(experiment, (1, 8, 8), 10, of_checkpoint=of) for of in (True, False))
    assert not any("stage1" in key for key in old.state_dict())
    assert any("stage1" in key for key in new.state_dict())
