"""Networks: shapes, gradients, settings by block, errors that name the block, torchvision's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.cnn import CNN
from cnnrun.models.mlp import MLP
from cnnrun.models.resnet import ResNet
from cnnrun.models.vgg import VGG
from cnnrun.registry import models

CLASSIFIERS = ["cnn", "mlp", "resnet", "vgg"]


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _kinds(model: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind)]


# MLP ---------------------------------------------------------------------------------------------


def test_mlp_is_the_textbooks() -> None:
    model = MLP((1, 28, 28), 10, hidden=[512, 512], dropout=0.2)
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert _count(model) == 784 * 512 + 512 + 512 * 513 + 513 * 10
    assert len(_kinds(model, nn.Dropout)) == 2
    assert _count(MLP((1, 8, 8), 10, hidden=[])) == 650


def test_mlp_order_is_linear_norm_activation_dropout() -> None:
    model = MLP((1, 2, 2), 3, hidden=[5], activation="tanh", dropout=0.5, batch_norm=True)
    order = [type(layer).__name__ for layer in model.features]
    assert order == ["Flatten", "Linear", "BatchNorm1d", "Tanh", "Dropout"]


# CNN ---------------------------------------------------------------------------------------------


def _one_or_list(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=2, max_size=2)


@pytest.mark.slow
@given(
    size=st.integers(6, 16),
    channels=st.lists(st.sampled_from([2, 3, 4]), min_size=2, max_size=2),
    kind=_one_or_list(st.sampled_from(["conv", "local"])),
    kernel_size=_one_or_list(st.integers(1, 4)),
    stride=_one_or_list(st.integers(1, 3)),
    padding=_one_or_list(st.sampled_from(["same", "valid", 1, 2])),
    padding_mode=_one_or_list(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    dilation=_one_or_list(st.integers(1, 2)),
    groups=_one_or_list(st.sampled_from([1, 1, 2, "depthwise"])),
    pooling=_one_or_list(st.sampled_from(["max", "average", "none"])),
    pool_size=_one_or_list(st.integers(1, 3)),
    pool_stride=st.none() | _one_or_list(st.integers(1, 3)),
    convolutions_per_block=_one_or_list(st.integers(1, 2)),
    batch_norm=_one_or_list(st.booleans()),
    head_pooling=st.sampled_from(["flatten", "average"]),
)
@settings(max_examples=150, deadline=None)
def test_every_cnn_builds_and_trains_or_says_which_block_can_not(size: int, **options: Any) -> None:
    try:
        model = CNN((2, size, size + 1), 3, **options)
    except UserError as error:
        refusal = str(error)
        assert refusal.startswith(("block 1: ", "block 2: "))
        return
    logits = model(torch.randn(3, 2, size, size + 1))
    assert logits.shape == (3, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"channels": [8, 8], "kernel_size": [3]},
         "kernel_size: 1 entries for 2 blocks (channels has 2); give one value for all, or a list"),
        ({"channels": [8], "batch_norm": []}, "batch_norm: 0 entries for 1 blocks"),
        ({"kernel_size": 9, "padding": "valid"}, "block 1: kernel_size reaches over 9 pixels, but "
         "its maps are 8 x 8 (padding 0); use fewer blocks"),
        ({"kernel_size": 4, "dilation": 3, "padding": 0}, "block 1: kernel_size reaches over 10"),
        ({"channels": [4] * 5}, "block 4: pool_size reaches over 2 pixels, but its maps are 1 x 1"),
        ({"kernel_size": [3, 2]}, "block 2: padding same: a kernel of 2"),
        ({"channels": [3], "groups": 2}, "block 1: 1 channels in and 3 out can't be divided"),
        ({"channels": [4], "groups": 2}, "block 1: 1 channels in and 4 out can't be divided"),
        ({"channels": [4, 6], "groups": [1, "depthwise"]}, "block 2: 4 channels in and 6 out"),
        ({"padding_mode": "reflect", "padding": 8}, "block 1: reflect padding of 8 on 8 x 8 maps"),
        ({"padding_mode": "circular", "padding": 9}, "block 1: circular padding of 9 on 8 x 8"),
        ({"kind": ["conv", "local"], "channels": [2, 2], "groups": [1, 2]},
         "block 2: kind local has no groups"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(UserError) as caught:
        CNN((1, 8, 8), 10, **options)
    assert str(caught.value).startswith(wanted)


@pytest.mark.parametrize("size", [(33, 17), (32, 16)])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (5, 1), (3, 2)])
def test_same_padding_leaves_the_size_over_the_stride(
    size: tuple[int, int], kernel: int, dilation: int
) -> None:
    """Rounded up, as `padding="same"` of other libraries; torch's refuses a stride."""
    for stride in (1, 2, 3):
        model = CNN(
            (3, *size), 5, channels=[4], stride=stride, pooling="none", kernel_size=kernel,
            dilation=dilation,
        )  # fmt: skip
        wanted = [-(-length // stride) for length in size]
        assert list(model.features(torch.zeros(1, 3, *size)).shape[2:]) == wanted


def test_lists_reach_their_own_blocks() -> None:
    model = CNN(
        (1, 16, 16), 3, channels=[4, 6], kernel_size=[5, 3], padding_mode=["reflect", "zeros"],
        activation=["relu", "tanh"], batch_norm=[False, True], spatial_dropout=[0.0, 0.2],
        pooling=["average", "none"], convolutions_per_block=[1, 2], head=[7],
    )  # fmt: skip
    first, second = model.features
    assert [name for name, _ in first.named_children()] == ["conv", "relu", "pool"]
    assert [name for name, _ in second.named_children()] == [
        "conv1", "norm1", "tanh1", "conv2", "norm2", "tanh2", "dropout"
    ]  # fmt: skip
    kernels = [(c.kernel_size[0], c.padding_mode) for c in _kinds(model, nn.Conv2d)]
    assert kernels == [(5, "reflect"), (3, "zeros"), (3, "zeros")]
    assert isinstance(model.head[2], nn.Tanh)


def test_the_first_convolution_of_a_block_takes_its_stride() -> None:
    model = CNN((1, 16, 16), 3, channels=[4, 4], stride=[1, 2], convolutions_per_block=3)
    assert [c.stride[0] for c in _kinds(model, nn.Conv2d)] == [1, 1, 1, 2, 1, 1]


def test_head_pooling_average_has_fewer_parameters_and_any_size_works() -> None:
    flat = CNN((1, 32, 32), 10)
    average = CNN((1, 32, 32), 10, head_pooling="average")
    assert _count(flat.head) == 64 * 8 * 8 * 10 + 10
    assert _count(average.head) == 64 * 10 + 10
    assert average(torch.zeros(1, 1, 40, 48)).shape == (1, 10)


def test_depthwise_convolves_each_channel_alone() -> None:
    model = CNN((4, 8, 8), 2, channels=[4], groups="depthwise", pooling="none")
    images = torch.randn(1, 4, 8, 8)
    changed = images.clone()
    changed[:, 1] += 1
    difference = (model.features(images) - model.features(changed)).abs().amax((0, 2, 3))
    assert difference[1] > 0
    assert difference[[0, 2, 3]].max() == 0


def test_a_bias_is_left_out_only_where_normalization_subtracts_it() -> None:
    conv = CNN((1, 8, 8), 2, channels=[4], batch_norm=True)
    local = CNN((1, 8, 8), 2, channels=[4], batch_norm=True, kind="local")
    assert conv.features[0][0].bias is None  # type: ignore[index]
    assert local.features[0][0].bias is not None  # type: ignore[index]


# ResNet and VGG ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_resnet_has_the_papers_parameters_and_depth(depth: Any, millions: float) -> None:
    """Table 6 of He et al."""
    model = ResNet((3, 32, 32), 10, depth=depth)
    assert _count(model) / 1e6 == pytest.approx(millions, abs=0.05 if millions > 1 else 0.006)
    assert len(_kinds(model, nn.Conv2d)) + len(_kinds(model, nn.Linear)) == depth


def _with_weights_of(model: nn.Module, other: nn.Module) -> nn.Module:
    """`model` with the weights of `other`, which has the same layers in the same order."""
    theirs = list(other.state_dict().values())
    names = list(model.state_dict())
    model.load_state_dict(dict(zip(names, theirs, strict=True)))
    return model.eval()


def test_resnet_is_torchvisions_without_its_last_stage() -> None:
    from torchvision.models.resnet import BasicBlock
    from torchvision.models.resnet import ResNet as Theirs

    theirs = Theirs(BasicBlock, [3, 3, 3, 1], num_classes=10)
    theirs.layer4, theirs.fc = nn.Identity(), nn.Linear(256, 10)
    for norm in _kinds(theirs, nn.BatchNorm2d):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    ours = ResNet((3, 64, 64), 10, depth=20, width=64, stem="imagenet", shortcut="projection")
    images = torch.randn(2, 3, 64, 60)
    expected = theirs.eval()(images)
    torch.testing.assert_close(_with_weights_of(ours, theirs)(images), expected)


@pytest.mark.parametrize("size", [(7, 7), (8, 5)])
def test_a_resnets_parameter_free_shortcut_halves_and_pads(size: tuple[int, int]) -> None:
    """With all of F at zero, a stage gives relu of every other pixel, and channels of zeros."""
    model = ResNet((1, *size), 2, depth=8, width=3).eval()
    stage = model.features.stage2
    assert isinstance(stage, nn.Sequential)
    for convolution in _kinds(stage, nn.Conv2d):
        nn.init.zeros_(convolution.weight)
    maps = torch.rand(2, 3, *size)
    result = stage(maps)
    torch.testing.assert_close(result[:, :3], maps[:, :, ::2, ::2])
    assert result.shape[1] == 6
    assert not result[:, 3:].any()


@pytest.mark.parametrize(
    ("depth", "name"), [(11, "vgg11"), (13, "vgg13"), (16, "vgg16"), (19, "vgg19")]
)
def test_vgg_features_are_torchvisions(depth: Any, name: str) -> None:
    import torchvision

    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(init_weights=False)
        whole = VGG((3, 224, 224), 1000, depth=depth, batch_norm=False, head=[4096, 4096])
    assert _count(whole) == _count(theirs)
    assert [tuple(p.shape) for p in whole.parameters()] == [
        tuple(p.shape) for p in theirs.parameters()
    ]
    if depth == 11:
        features = theirs.features.to_empty(device="cpu")
        for p in features.parameters():
            nn.init.normal_(p, std=0.03)
        ours = VGG((3, 32, 32), 10, depth=11, batch_norm=False).features
        images = torch.randn(1, 3, 32, 32)
        torch.testing.assert_close(_with_weights_of(ours, features)(images), features(images))


def test_vgg_pools_only_what_is_larger_than_a_pixel() -> None:
    for size, pools in ((32, 5), (28, 4), (8, 3), (1, 0)):
        model = VGG((1, size, size), 3, depth=11, width=2, head=[4])
        assert len(_kinds(model, nn.MaxPool2d)) == pools
        assert model(torch.zeros(2, 1, size, size)).shape == (2, 3)


# All ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_classifier_maps_images_to_logits(name: str, shape: tuple[int, int, int]) -> None:
    config = models.get(name).schema()(name=name)
    model = models.build(config, input_shape=shape, num_classes=7).eval()
    images = torch.randn(3, *shape)
    logits = model(images)
    assert logits.shape == (3, 7)
    # One by one or in a batch, in any memory layout: the same answer.
    torch.testing.assert_close(model(images[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)
    by_channel = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(by_channel), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_is_features_and_a_head_that_ends_in_the_classes(name: str) -> None:
    config = models.get(name).schema()(name=name)
    model = models.build(config, input_shape=(1, 32, 32), num_classes=7).eval()
    assert {child for child, _ in model.named_children()} == {"features", "head"}
    last = _kinds(model, nn.Linear)[-1]
    assert last.out_features == 7
    assert any(last is module for module in model.head.modules())
    images: Tensor = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(model.head(model.features(images)), model(images))
