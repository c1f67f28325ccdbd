"""Autoencoders: an image to a short code, and the code back to an image.

`linear_autoencoder` finds PCA's subspace, `conv_autoencoder` a curved one with local filters, and
`vae` makes codes fill a ball without holes, so that they can be interpolated.
A denoising autoencoder is any of them with `task: {name: reconstruct, noise: 0.3}`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from cnnrun.models.activations import Activation, activation_layer
from cnnrun.models.block import Positive, Shape
from cnnrun.registry import models

Channels = Annotated[list[Positive], Field(min_length=1, max_length=6)]
Upsampling = Literal["transposed", "nearest"]
Output = Literal["sigmoid", "linear"]


class Reconstruction(NamedTuple):
    """An autoencoder's output for images.

    pixels: (N, C, H, W), in 0..1. code: (N, D). penalty: (N,), to be added to the mean loss over
    pixels.
    """

    pixels: Tensor
    code: Tensor
    penalty: Tensor | None = None


class Autoencoder(nn.Module):
    """What `task: reconstruct` trains: `encode` and `decode`, and both one after the other."""

    code: int

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Normalized images (N, C, H, W) to codes (N, D)."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Codes (N, D) to pixels (N, C, H, W)."""

    def forward(self, images: Tensor) -> Reconstruction:
        """Normalized images (N, C, H, W) float32 to their reconstruction."""
        code = self.encode(images)
        return Reconstruction(self.decode(code), code)


@models.register("linear_autoencoder")
class LinearAutoencoder(Autoencoder):
    """One linear layer to the code and one back: learns PCA's subspace (Baldi & Hornik 1989)."""

    def __init__(self, input_shape: Shape, *, code: Positive = 32) -> None:
        """code: Numbers of a code."""
        super().__init__()
        self.code, self.shape = code, tuple(input_shape)
        self.encoder = nn.Linear(math.prod(input_shape), code)
        self.decoder = nn.Linear(code, math.prod(input_shape))

    def encode(self, images: Tensor) -> Tensor:
        codes: Tensor = self.encoder(images.flatten(1))
        return codes

    def decode(self, code: Tensor) -> Tensor:
        pixels: Tensor = self.decoder(code)
        return pixels.view(-1, *self.shape)


@models.register("conv_autoencoder")
class ConvAutoencoder(Autoencoder):
    """Strided convolutions to a code, and back by transposed convolutions or upsampling."""

    def __init__(
        self,
        input_shape: Shape,
        *,
        code: Positive = 32,
        channels: Channels = [32, 64],
        upsampling: Upsampling = "transposed",
        activation: Activation = "relu",
        batch_norm: bool = True,
        output: Output = "sigmoid",
    ) -> None:
        """code: Numbers of a code.
        channels: Channels of the convolutions; each halves height and width.
        upsampling: `transposed` convolutions, or `nearest`: upsample, then convolve, which leaves
            no checkerboard (Odena 2016).
        activation: Activation after each layer.
        batch_norm: Batch normalization after each convolution.
        output: `sigmoid` keeps pixels in 0..1, `linear` does not.
        """
        super().__init__()
        self.code = code
        self.encoder = conv_encoder(input_shape, code, channels, activation, batch_norm)
        self.decoder = conv_decoder(
            input_shape, code, channels, upsampling, activation, batch_norm, output
        )

    def encode(self, images: Tensor) -> Tensor:
        codes: Tensor = self.encoder(images)
        return codes

    def decode(self, code: Tensor) -> Tensor:
        pixels: Tensor = self.decoder(code)
        return pixels


@models.register("vae")
class VariationalAutoencoder(Autoencoder):
    """Convolutional variational autoencoder (Kingma & Welling 2014).

    The penalty is beta times the KL divergence to a unit normal (beta: Higgins et al. 2017),
    divided by the number of pixels, as the loss is a mean over them: with `bce` their sum is the
    evidence bound divided by the number of pixels.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        code: Positive = 32,
        beta: Annotated[float, Field(ge=0)] = 1.0,
        channels: Channels = [32, 64],
        upsampling: Upsampling = "transposed",
        activation: Activation = "relu",
        batch_norm: bool = True,
    ) -> None:
        """code: Numbers of a code; the encoder gives a mean and a log variance for each.
        beta: Weight of the KL divergence.
        channels: Channels of the convolutions; each halves height and width.
        upsampling: `transposed` convolutions, or `nearest`: upsample, then convolve.
        activation: Activation after each layer.
        batch_norm: Batch normalization after each convolution.
        """
        super().__init__()
        self.code, self.beta, self.pixels = code, beta, math.prod(input_shape)
        self.encoder = conv_encoder(input_shape, 2 * code, channels, activation, batch_norm)
        self.decoder = conv_decoder(
            input_shape, code, channels, upsampling, activation, batch_norm, "sigmoid"
        )

    def encode(self, images: Tensor) -> Tensor:
        """The means: (N, D)."""
        return self._distribution(images)[0]

    def decode(self, code: Tensor) -> Tensor:
        pixels: Tensor = self.decoder(code)
        return pixels

    def forward(self, images: Tensor) -> Reconstruction:
        """In training the code is sampled (reparametrized), in evaluation it is the mean."""
        mean, log_variance = self._distribution(images)
        code = mean
        if self.training:
            code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return Reconstruction(self.decode(code), mean, self.beta / self.pixels * divergence)

    def _distribution(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance


@models.register("encoder_classifier")
class EncoderClassifier(nn.Module):
    """The encoder of a conv_autoencoder (transfer.weights: its run) and a linear classifier."""

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        *,
        code: Positive = 32,
        channels: Channels = [32, 64],
        activation: Activation = "relu",
        batch_norm: bool = True,
    ) -> None:
        """The keys are those of the autoencoder that the weights come from.

        code: Numbers of a code, as in the autoencoder whose weights it takes.
        channels: Channels of the convolutions, as in that autoencoder.
        activation: Activation after each layer, as in that autoencoder.
        batch_norm: Batch normalization after each convolution, as in that autoencoder.
        """
        super().__init__()
        self.encoder = conv_encoder(input_shape, code, channels, activation, batch_norm)
        self.head = nn.Linear(code, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.encoder(images))
        return logits


def conv_encoder(
    input_shape: Shape, outputs: int, channels: list[int], activation: Activation, batch_norm: bool
) -> nn.Sequential:
    """3x3 convolutions of stride 2, then one linear layer: (N, C, H, W) to (N, outputs)."""
    depth, height, width = input_shape
    layers = nn.Sequential()
    for count in channels:
        layers.append(nn.Conv2d(depth, count, 3, stride=2, padding=1, bias=not batch_norm))
        layers.extend(_normalized(count, activation, batch_norm))
        depth, height, width = count, _half(height), _half(width)
    layers.extend([nn.Flatten(), nn.Linear(depth * height * width, outputs)])
    return layers


def conv_decoder(
    input_shape: Shape,
    code: int,
    channels: list[int],
    upsampling: Upsampling,
    activation: Activation,
    batch_norm: bool,
    output: Output,
) -> nn.Sequential:
    """The decoder, through the encoder's sizes in reverse: (N, code) to (N, C, H, W)."""
    sizes = [tuple(input_shape[1:])]
    for _ in channels:
        sizes.append((_half(sizes[-1][0]), _half(sizes[-1][1])))
    smallest = (channels[-1], *sizes.pop())
    layers = nn.Sequential(
        nn.Linear(code, math.prod(smallest)),
        nn.Unflatten(1, smallest),
        *_normalized(channels[-1], activation, batch_norm),
    )
    for depth, count in zip(channels[::-1], [*channels[-2::-1], input_shape[0]], strict=True):
        last = len(sizes) == 1
        bias = last or not batch_norm
        layers.extend(_enlarging(depth, count, sizes.pop(), upsampling, bias))
        layers.extend([] if last else _normalized(count, activation, batch_norm))
    if output == "sigmoid":
        layers.append(nn.Sigmoid())
    return layers


def _enlarging(
    depth: int, count: int, size: tuple[int, ...], upsampling: Upsampling, bias: bool
) -> list[nn.Module]:
    """From half of `size` (rounded up) to `size`."""
    if upsampling == "nearest":
        return [nn.Upsample(size=size), nn.Conv2d(depth, count, 3, padding=1, bias=bias)]
    # 2n - 1 pixels, or 2n with one row more.
    more = tuple(1 - side % 2 for side in size)
    return [
        nn.ConvTranspose2d(
            depth, count, 3, stride=2, padding=1, output_padding=(more[0], more[1]), bias=bias
        )
    ]


def _normalized(channels: int, activation: Activation, batch_norm: bool) -> list[nn.Module]:
    return [*([nn.BatchNorm2d(channels)] if batch_norm else []), activation_layer(activation)]


def _half(side: int) -> int:
    """The output size of a 3x3 convolution of stride 2 and padding 1."""
    return (side + 1) // 2
