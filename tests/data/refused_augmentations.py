"""What tests of other libraries' transforms share: why a config that names one is refused."""

from __future__ import annotations

from tests.conftest import Command


def why_refused(cnnrun: Command, config: str, augment: str) -> str:
    """The message of `cnnrun check` with this one augmentation, which is a mistake of the config.

    Data sets that are drawn are made small.
    """
    shorter = ["dataset.train=40", "dataset.test=8"] if "shapes" in config else []
    ended = cnnrun("check", config, f"dataset.augment=[{augment}]", *shorter)
    assert ended.code == 2
    return ended.err
