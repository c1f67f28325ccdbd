"""What only a GPU can show: without one these are skipped, and nothing here is shown."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnrun.config.experiment import from_dict
from cnnrun.engine.build import build
from cnnrun.engine.trainer import Trainer
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.interrupt import StopRequest
from cnnrun.runtime.training_display import Quiet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")

CNN: dict[str, Any] = {
    "name": "cnn",
    "device": "cuda",
    "dataset": {"name": "digits", "augment": ["horizontal_flip", "rotation"]},
    "model": {"name": "cnn", "channels": [8, 16], "batch_norm": True, "head": [16]},
    "training": {"epochs": 2, "draw": False, "ema": 0.9, "clip_norm": 1.0},
}


def _trained(**training: object) -> tuple[Trainer, dict[str, float]]:
    """A trainer after its first epoch, in which all that is made once is made; and its means."""
    values = {**CNN, "training": {**CNN["training"], **training}}
    trainer = Trainer(build(from_dict(values, "here")), RunDirectory(Path("none")), StopRequest())
    means = trainer.train_epoch(Quiet())
    trainer.progress.epoch, trainer.progress.batch = 1, 0
    return trainer, means


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_the_loop_never_waits_for_the_gpu(amp: str) -> None:
    trainer, _ = _trained(amp=amp)
    order = trainer.order_of(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with closing(trainer.train_batches.iterate(order, 0, 1)) as batches:
            for images, labels in batches:
                samples = trainer.train_batches.samples_of(order, trainer.progress.batch)
                trainer.train_step(images, labels, samples)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.progress.batch == len(trainer.train_batches)


def test_recorded_steps_are_those_of_the_plain_model() -> None:
    plain, recorded = _trained()[1], _trained(compile="cuda_graphs")[1]
    assert recorded == pytest.approx(plain, rel=1e-4)
