"""Randomness as a function of (seed, purpose, counters): a resumed run needs no hidden state.

Every draw of a run comes from a stream that is named by what it is for and when it happens, e.g.
`("augment", step)`. A run that is killed at any step and resumed draws the same numbers.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit seed for the stream `(seed, purpose, *counters)`.

    SplitMix64 (Steele, Lea, Flood 2014) mixes each word in, so that neighbouring steps get
    unrelated streams. Integers only: the same on every machine.
    """
    state = _state_of(seed, purpose)
    for word in counters:
        state = _mixed(state, word)
    return state >> 1


@lru_cache(maxsize=64)
def _state_of(seed: int, purpose: str) -> int:
    """The state that all streams of a purpose start from; cached, as every step needs two."""
    return _mixed(seed & _MASK, zlib.crc32(purpose.encode()))


def _mixed(state: int, word: int) -> int:
    """The 64-bit state with a word mixed in."""
    state = (state + 0x9E3779B97F4A7C15 + word) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def generator(
    seed: int, purpose: str, *counters: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator on `device` at the start of the stream `(seed, purpose, *counters)`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, *counters))


def seed_default(device: torch.device, seed: int, purpose: str, *counters: int) -> None:
    """Seed torch's own stream on `device`, which dropout and initializers draw from.

    `torch.manual_seed` would do the same for all devices at 100 times the cost, at every step.
    """
    value = derive_seed(seed, purpose, *counters)
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)


def shuffled(
    count: int,
    seed: int,
    epoch: int,
    groups: Tensor | None = None,
    at_once: int = 1,
    samples: Tensor | None = None,
) -> Tensor:
    """The order of `count` samples in `epoch`: (count,) int64 on the CPU.

    samples: (count,) int64, those of the epoch; None: each once.

    groups: (count,) int64, the shard of each sample. Shards then come in random order, and the
        samples of each `at_once` successive ones are mixed: that is how shuffling works when not
        all shards fit in memory.
    """
    random = generator(seed, "shuffle", epoch)
    order = torch.randperm(count, generator=random)
    if samples is not None:
        order = samples[order]
    if groups is None or not count:
        return order
    window = torch.randperm(int(groups.max()) + 1, generator=random) // at_once
    return order[torch.argsort(window[groups[order]], stable=True)]
