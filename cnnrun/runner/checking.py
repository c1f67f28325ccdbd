"""Whether an experiment would train."""

from __future__ import annotations

from typing import Any

from cnnrun.config.experiment import Experiment
from cnnrun.engine.build import build
from cnnrun.engine.trainer import Trainer
from cnnrun.runtime import console
from cnnrun.runtime.device import device_name


def check(experiment: Experiment) -> dict[str, Any]:
    """Build everything and run one batch forward and backward; write nothing.

    Returns: what is worth seeing before training.

    Raises:
        UserError: whatever would have made training fail.
    """
    parts = build(experiment)
    for note in (*parts.dataset.notes, *parts.notes):
        console.warn(note)
    trainer = Trainer(parts)
    images, labels = next(trainer.train_batches.iterate())
    trainer.start_epoch(0)
    trainer.set_training_mode(0)
    trainer.train_step(images, labels)
    return {
        "name": experiment.name,
        "device": device_name(parts.device),
        "classes": len(parts.dataset.classes),
        "images": {s: len(parts.dataset.split(s)) for s in ("train", "validation", "test")},
        "input": " x ".join(map(str, parts.dataset.input_shape)),
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "steps": trainer.total_steps,
        "first batch": parts.task.texts(trainer.running_means()),
    }
