"""Images that occur more than once: the same pixels, or nearly so.

Exact: images whose pixels have the same 128-bit BLAKE2b digest.

Near: copies that were shifted by a pixel or two, brightened, recompressed, or got some noise.

1. Each image is averaged to 16x16 gray, and a 64-bit perceptual hash is taken: the signs of its
   64 lowest frequencies, without the mean (DCT hash: Zauner 2010). Similar images differ in few
   bits. 2. Not all pairs are compared: the hashes are sorted in 16 orders, each with another
   permutation of the bits, and each image is compared with the 16 that follow it (Charikar 2002).
   So there are 256 N comparisons, whatever the images, and memory is 280 bytes per image.
3. Pairs that differ in at most 10 bits (fewer, where these are more than 32 N) are looked at
   closely: what part of one 16x16 image can't be explained by the other with contrast and a small
   shift (to first order: Lucas and Kanade 1981)? This rest must be at most 0.12 of the variance,
   and a tenth of the rest from a stranger, the fifth nearest in a random sample of 2,048 images
   (a copy that leaves 0.003 is always one). Handwritten ones all look alike, so two must agree far
   better than two photographs.

Measured: of 64x64 images with the spectrum of photographs, all copies are found that were moved
by 1 pixel, brightened by 20 %, saved as JPEG of quality 30 or got noise of 10 levels, and 80 % of
those moved by 2 pixels, with no false alarm; 10,000 images of MNIST give 2 pairs. On one core
60,000 images of 32x32 take 1.3 s, or 5 s where each looks like many others.

Images without structure, and those below 12 pixels per side, have too little to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

SIDE = 16
"""Rows and columns of the small images that are compared."""

SMALLEST = 12
"""Images with fewer rows or columns are not searched for near copies."""

_BITS = 64
_ORDERS, _WINDOW = 16, 16
_MOST_BITS, _CANDIDATES = 10, 32

_FLATTEST = 2.0  # standard deviation, of 0..255, of an image with structure

_SURE_REST, _LARGEST_REST = 0.003, 0.12
_SHARE_OF_STRANGERS = 0.1
_STRANGERS, _RANK = 2048, 5
_GAIN = 4  # a small shift explains at most about 3/4 of the difference between copies

_CHUNK = 2**12

_BITS_SET = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1)
_BITS_SET = _BITS_SET.sum(1, dtype=np.uint8)
"""Number of 1 bits in each 16-bit number."""

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of N images.

    digest: (N, 2) uint64, of the pixels.
    small: (N, 256) int8, the 16x16 gray image minus its mean, at full contrast.
    hash: (N,) uint64.
    blank: (N,) bool: all pixels of a channel are equal, in every channel.
    distinct: (N,) bool: enough structure for `small` and `hash` to mean something.
    """

    digest: NDArray[np.uint64]
    small: NDArray[np.int8]
    hash: NDArray[np.uint64]
    blank: NDArray[np.bool_]
    distinct: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.hash)

    @staticmethod
    def joined(parts: list[Fingerprints]) -> Fingerprints:
        return Fingerprints(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Fingerprints))
        )


def fingerprint(images: Tensor) -> Fingerprints:
    """Of `images` (N, C, H, W) uint8, N of any size that fits in memory as float32."""
    images = images.contiguous()
    rows = images.flatten(2)
    gray = images.float().mean(1, keepdim=True)
    small = functional.interpolate(gray, (SIDE, SIDE), mode="bilinear", antialias=True).flatten(1)
    small = small - small.mean(1, keepdim=True)
    enough = min(images.shape[2:]) >= SMALLEST
    # The hash is computed from the rounded `small`, so that both agree.
    contrast = 127 / small.abs().amax(1, keepdim=True).clamp(min=1e-3)
    rounded = (small * contrast).round().to(torch.int8).numpy()
    return Fingerprints(
        _digests(images),
        rounded,
        _packed(rounded.astype(np.float32) @ _basis() > 0),
        (rows.amax(2) == rows.amin(2)).all(1).numpy(),
        ((small.std(1, correction=0) > _FLATTEST) & enough).numpy(),
    )


def _digests(images: Tensor) -> NDArray[np.uint64]:
    array = images.numpy()
    joined = b"".join(blake2b(image, digest_size=16).digest() for image in array)
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


def _basis() -> Floats:
    """(256, 64): the cosines of the 64 lowest frequencies of 16x16 values, without the mean."""
    frequency, place = np.mgrid[:SIDE, :SIDE]
    cosines = np.cos(np.pi * frequency * (2 * place + 1) / (2 * SIDE))
    down, across = np.divmod(np.arange(SIDE * SIDE), SIDE)
    lowest = np.argsort(down**2 + across**2, kind="stable")[1 : _BITS + 1]
    waves = cosines[down[lowest], :, None] * cosines[across[lowest], None, :]
    basis: Floats = waves.reshape(_BITS, -1).T.astype(np.float32)
    return basis


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(N, 64) bits as (N,) numbers that sort by the first bit, then the second ..."""
    packed = np.ascontiguousarray(np.packbits(np.ascontiguousarray(bits), axis=1))
    return packed.view(">u8")[:, 0].astype(np.uint64)


def exact_groups(prints: Fingerprints) -> list[NDArray[np.int64]]:
    """Sets of two or more images with the same pixels, each in rising order; without blank ones."""
    kept = np.flatnonzero(~prints.blank)
    digest = prints.digest[kept]
    order = np.lexsort((kept, digest[:, 0], digest[:, 1]))
    new = (digest[order[1:]] != digest[order[:-1]]).any(1)
    runs = np.split(kept[order], np.flatnonzero(new) + 1) if len(kept) else []
    return sorted((run for run in runs if len(run) > 1), key=lambda run: int(run[0]))


@dataclass(frozen=True)
class NearCopies:
    """Pairs of images that are nearly the same, the most alike first.

    pairs: (P, 2) int64, the smaller number first.
    rest: (P,) the fraction of one's variance, 0..1, that the other can't explain. comparisons:
    number of pairs of hashes compared.
    """

    pairs: Pairs
    rest: Floats
    comparisons: int


def near_copies(prints: Fingerprints) -> NearCopies:
    """Of images with the same pixels, the first represents all."""
    first = np.ones(len(prints), bool)
    for group in exact_groups(prints):
        first[group[1:]] = False
    kept = np.flatnonzero(first & prints.distinct)
    candidates, comparisons = _candidates(prints.hash[kept])
    small = prints.small[kept]
    allowed = _allowed_rest(small, candidates)
    promising = _rest_of_all(_plain_rest, small, candidates) <= _GAIN * allowed
    candidates, allowed = candidates[promising], allowed[promising]
    rest = _rest_of_all(_rest, small, candidates)
    found = np.flatnonzero(rest <= allowed)
    found = found[np.argsort(rest[found], kind="stable")]
    return NearCopies(kept[candidates[found]], rest[found], comparisons)


def _candidates(hashes: NDArray[np.uint64]) -> tuple[Pairs, int]:
    """Pairs (P, 2) whose hashes differ in few bits, and how many pairs were compared."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1).astype(bool)
    random = np.random.default_rng(0)
    # A pair (i, j) is the number i N + j.
    found, comparisons, most = np.empty(0, np.int64), 0, _MOST_BITS
    for _ in range(_ORDERS):
        order = np.argsort(_packed(bits[:, random.permutation(_BITS)]), kind="stable")
        sorted_hashes = hashes[order]
        close = [found]
        for step in range(1, min(_WINDOW, len(order) - 1) + 1):
            differing = _count_bits(sorted_hashes[step:] ^ sorted_hashes[:-step])
            at = np.flatnonzero(differing <= most)
            pair = np.sort(np.stack([order[at], order[at + step]]), axis=0)
            close.append(pair[0] * len(hashes) + pair[1])
            comparisons += len(differing)
        found = _sorted_once(np.concatenate(close))
        while len(found) > _CANDIDATES * len(hashes) and most:
            most -= 1
            first, second = np.divmod(found, len(hashes))
            found = found[_count_bits(hashes[first] ^ hashes[second]) <= most]
    return np.stack(np.divmod(found, max(len(hashes), 1)), axis=1), comparisons


def _sorted_once(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """As `np.unique`, which hashes and took ten times as long on two million numbers."""
    numbers = np.sort(numbers)
    return numbers[np.diff(numbers, prepend=-1) > 0]


def _count_bits(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits of each are set."""
    parts = _BITS_SET[numbers.view(np.uint16).reshape(-1, 4)]
    return parts[:, 0] + parts[:, 1] + parts[:, 2] + parts[:, 3]


def _rest_of_all(
    measure: Callable[[NDArray[np.int8], Pairs], Floats], small: NDArray[np.int8], pairs: Pairs
) -> Floats:
    """(P,) `measure` in chunks, so that memory stays bounded however many pairs there are."""
    rest = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _CHUNK):
        rest[start : start + _CHUNK] = measure(small, pairs[start : start + _CHUNK])
    return rest


def _plain_rest(small: NDArray[np.int8], pairs: Pairs) -> Floats:
    """(P,) as `_rest`, but where only contrast is explained: cheap, and never smaller."""
    first, second = _unit(small[pairs[:, 0]]), _unit(small[pairs[:, 1]])
    alike = np.einsum("pi,pi->p", first, second)
    rest: Floats = 1 - alike.clip(0, 1) ** 2
    return rest


def _unit(small: NDArray[np.int8]) -> Floats:
    """(M, 256) with mean 0 and length 1."""
    values = small.astype(np.float32)
    values -= values.mean(1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def _allowed_rest(small: NDArray[np.int8], candidates: Pairs) -> Floats:
    """How small the rest of each pair must be: absolutely, and relative to unrelated images."""
    random = np.random.default_rng(0)
    sample = random.choice(len(small), min(_STRANGERS, len(small)), replace=False)
    strangers = _unit(small[np.sort(sample)])
    limit = np.full(len(small), _LARGEST_REST, np.float32)
    rank = min(_RANK + 1, len(strangers))  # it may be among them
    involved = np.unique(candidates)
    for start in range(0, len(involved), _CHUNK):
        rows = involved[start : start + _CHUNK]
        alike = _unit(small[rows]) @ strangers.T
        nearest = np.partition(alike, -rank, axis=1)[:, -rank]
        stranger_rest = 1 - np.clip(nearest, 0, 1) ** 2
        limit[rows] = np.clip(_SHARE_OF_STRANGERS * stranger_rest, _SURE_REST, _LARGEST_REST)
    of_pairs: Floats = limit[candidates].min(1)
    return of_pairs


def _rest(small: NDArray[np.int8], pairs: Pairs) -> Floats:
    """(P,) the part of the second image that the first, its shifts and contrast don't explain."""
    first, second = _unit(small[pairs[:, 0]]), _unit(small[pairs[:, 1]])
    rows = first.reshape(-1, SIDE, SIDE)
    slopes = [np.asarray(np.gradient(rows, axis=k)).reshape(len(pairs), -1) for k in (1, 2)]
    known = np.stack([first, *(s - s.mean(1, keepdims=True) for s in slopes)], axis=1)
    products = known @ known.transpose(0, 2, 1) + 1e-6 * np.eye(3, dtype=np.float32)
    with_second = known @ second[:, :, None]
    weights = np.linalg.solve(products, with_second)
    rest: Floats = 1 - (weights * with_second).sum((1, 2))
    # A negative is not a copy, and the linear approximation only holds for shifts up to a cell.
    contrast, shift = weights[:, 0, 0], np.abs(weights[:, 1:, 0]).max(1)
    wrong = (contrast <= 0.5) | (shift > contrast)
    rest[wrong] = 1
    return rest.clip(0, 1)
