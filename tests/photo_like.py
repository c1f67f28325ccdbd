"""Images like photographs, and what copies of them go through."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image


def photos(count: int, size: int = 64, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Noise with the spectrum of photographs (amplitude 1/f): (N, C, H, W) uint8."""
    noise = np.random.default_rng(seed).normal(size=(count, channels, size, size))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    waves = np.fft.ifft2(np.fft.fft2(noise) / frequency).real
    waves *= 50 / waves.std((2, 3), keepdims=True)
    return torch.from_numpy((waves + 128).clip(0, 255).astype(np.uint8))


def jpeg(image: torch.Tensor, quality: int) -> torch.Tensor:
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)


def brighter(images: torch.Tensor) -> torch.Tensor:
    return (images.float() * 1.1 + 10).clamp(0, 255).to(torch.uint8)
