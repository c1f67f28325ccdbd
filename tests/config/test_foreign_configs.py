"""Whole configs in other tools' words: two rounds of messages lead to a running experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command
from tests.small_run import write_test_images

FOREIGN = Path(__file__).with_name("foreign")

# For each round: what the message says of a line, the line's text, and what it is replaced by.
Edit = tuple[str, str, str]
ROUNDS: dict[str, list[list[Edit]]] = {
    "lightning": [
        [
            ("training.devices: unknown key; did you mean 'device'", "  devices: 1\n", ""),
            ("did you mean 'accumulate'?", "accumulate_grad_batches: 2", "accumulate: 2"),
            ("`-q` leaves it out", "  enable_progress_bar: false\n", ""),
            (
                "there are no callbacks: see training.patience",
                "  callbacks:\n    - class_path: EarlyStopping\n"
                "      init_args: {monitor: val_loss, patience: 3}\n",
                "  monitor: val_loss\n  patience: 3\n",
            ),
            ("did you mean 'threads'?", "num_workers: 2", "threads: 2"),
            ("did you mean 'cosine'?", "torch.optim.lr_scheduler.CosineAnnealingLR", "cosine"),
        ],
        [("always spans all of training.epochs; leave it out", "  init_args: {T_max: 2}\n", "")],
    ],
    "timm": [
        [
            ("{name: folder, root: ...}", "data_dir: photos", "data: {name: folder, root: photos}"),
            ("({name: resnet, depth: 20}", "model: resnet20", "model: {name: resnet, depth: 20}"),
            ("pretrained: unknown key", "pretrained: false\n", ""),
            ("it comes from the data; leave it out", "num_classes: 2\n", ""),
            ("validation takes its own size", "validation_batch_size: 16\n", ""),
            ("1e-06 / optimizer.lr", "min_lr: 1.0e-6", "final: 2.0e-5"),
            (
                "dataset.augment=[{name: mixup, alpha: 0.2}]",
                "mixup: 0.2\nhflip: 0.5\nreprob: 0.25\n",
                "augment: [{name: mixup, alpha: 0.2}, horizontal_flip, erasing]\n",
            ),
            ("the decay of the average", "model_ema: true\n", ""),
            ("did you mean 'dataset.threads'?", "workers: 4", "threads: 4"),
            ("batches are prefetched automatically", "pin_mem: true\n", ""),
            ("progress goes to stderr", "log_interval: 50\n", ""),
        ],
        [],
    ],
    "ultralytics": [
        [
            ("the command says it: `cnnrun train FILE`", "mode: train\n", ""),
            ("`cnnrun list model` shows what is", "yolo11n-cls.pt", "{name: resnet, depth: 8}"),
            ("{name: folder, root: ...}", "data: photos", "data: {name: folder, root: photos}"),
            ("the last and the best checkpoint are always kept", "save: true\n", ""),
            ("did you mean 'dataset.threads'?", "workers: 2", "threads: 2"),
            ("the folder of all runs is `output`", "project: runs", "output: runs"),
            ("nothing is overwritten", "exist_ok: false\n", ""),
            ("pretrained: unknown key", "pretrained: true\n", ""),
            ("adam, adamw, sgd", "optimizer: auto", "optimizer: sgd"),
            ("(schedule=cosine)", "cos_lr: true", "schedule: {name: cosine, final: 0.01}"),
            ("did you mean 'schedule.final'?", "lrf: 0.01\n", ""),
            ("the momentum stays the same throughout", "warmup_momentum: 0.8\n", ""),
            ("the validation set is measured after every epoch", "val: true\n", ""),
            (
                "dataset.augment=[horizontal_flip]",
                "hsv_h: 0.015\nfliplr: 0.5\nerasing: 0.4\nauto_augment: randaugment\n",
                "augment: [color_jitter, horizontal_flip, erasing, randaugment]\n",
            ),
        ],
        [],
    ],
    "huggingface": [
        [
            ("did you mean 'torchvision/vit_b_16'?", "google/vit-base-patch16-224-in21k", "cnn"),
            (
                "did you mean 'dataset.root'?",
                "train_dir: photos",
                "dataset: {name: folder, root: photos, batch_size: 8, threads: 4}",
            ),
            ("the command says it", "do_train: true\ndo_eval: true\n", ""),
            ("the batch of all processes together", "per_device_train_batch_size: 8\n", ""),
            ("validation takes its own size", "per_device_eval_batch_size: 8\n", ""),
            ("or ratio * training.epochs", "warmup_ratio: 0.1", "warmup_epochs: 0.2"),
            ("progress goes to stderr", "logging_steps: 10\n", ""),
            ("the validation split is measured after every epoch", "eval_strategy: epoch\n", ""),
            ("each epoch is saved anyway", "save_strategy: epoch\n", ""),
            ("the best one by this metric", "load_best_model_at_end: true\n", ""),
            ("did you mean 'dataset.threads'?", "dataloader_num_workers: 4\n", ""),
            ("did you mean 'loggers'?", "report_to: none\n", ""),
            ("did you mean 'device'? (auto, cpu", "use_cpu: true", "device: cpu"),
        ],
        [],
    ],
    "keras": [
        [
            (
                "also say its name: {name: folder, root: ...}",
                "  directory: photos",
                "  name: folder\n  root: photos",
            ),
            ("it comes from the data; leave it out", "  classes: 2\n", ""),
            ("did you mean 'kaiming_normal'?", "he_normal", "kaiming_normal"),
            ("the task decides what is measured", "  metrics: [accuracy]\n", ""),
            ("see training.patience", "  callbacks: [EarlyStopping]\n", "  patience: 3\n"),
            ("shuffled again each epoch", "  shuffle: true\n", ""),
        ],
        [
            ("did you mean 'horizontal_flip'?", "RandomFlip", "horizontal_flip"),
            ("did you mean 'rotation'?", "RandomRotation", "rotation"),
            ("all randomness follows from one seed", "  seed: 123\n", ""),
        ],
    ],
    "hydra": [
        [
            ("images become tensors automatically", ", ToTensor]", "]"),
            ("shuffled again each epoch", ", shuffle: true", ""),
            ("did you mean 'threads'?", "num_workers: 2", "threads: 2"),
            ("batches are prefetched automatically", ", pin_memory: true", ""),
            ("did you mean 'step'?", "torch.optim.lr_scheduler.StepLR", "step"),
            ("progress goes to stderr", ", log_every: 10", ""),
        ],
        [("did you mean 'epochs'? (in epochs)", "step_size: 1", "epochs: 1")],
    ],
}


def test_there_is_a_way_for_each_file() -> None:
    assert sorted(ROUNDS) == sorted(file.stem for file in FOREIGN.glob("*.yaml"))
    assert len(ROUNDS) > 5


@pytest.mark.parametrize("tool", list(ROUNDS))
def test_two_rounds_of_messages_lead_to_a_running_experiment(
    cnnrun: Command, tmp_path: Path, tool: str
) -> None:
    for name in ("cat", "dog"):
        write_test_images(tmp_path / "photos" / name, 24)
    file = tmp_path / f"{tool}.yaml"
    text = (FOREIGN / file.name).read_text("utf-8")
    for edits in ROUNDS[tool]:
        file.write_text(text)
        ended = cnnrun("check", file.name)
        assert ended.code == (2 if edits else 0), ended.err
        for said, old, new in edits:
            assert said in ended.err
            assert text.count(old) == 1, old
            text = text.replace(old, new)
    file.write_text(text)
    ended = cnnrun("train", file.name, "-q", "training.draw=false")
    assert ended.code == 0, ended.err
    assert (tmp_path / ended.out.strip() / "summary.json").is_file()
