"""What records are made of: whitening, alternating flips, decoupled decay, their configs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cnnrun.components.optimizers.usual import DecoupledSGD
from cnnrun.components.schedules import build_schedule
from cnnrun.config.experiment import from_dict, load
from cnnrun.data.augmentations.geometric import AlternatingFlip
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.dataset import Dataset, Split
from cnnrun.engine.build_data import init_from_data
from cnnrun.models.whitened_cnn import WhitenedCNN
from cnnrun.runs.checkpoint import Normalization
from tests.conftest import CONFIGS, Command

RECORDS = CONFIGS / "records"
SMALL = {"name": "fake", "count": 512, "test": 128, "batch_size": 128, "validation": 128}


def test_whitened_patches_are_uncorrelated_with_variance_1() -> None:
    random = torch.Generator().manual_seed(0)
    # Neighbouring pixels alike, as in photographs.
    images = F.avg_pool2d(torch.randn(64, 3, 34, 34, generator=random), 3, stride=1)
    model = WhitenedCNN((3, 32, 32), 10)
    model.init_from_data(images)
    half = model.whiten.weight[:12]
    assert torch.equal(model.whiten.weight[12:], -half)
    answers = F.conv2d(images, half).transpose(0, 1).flatten(1)
    expected = torch.eye(12)
    # Directions of hardly any variance stay small instead of being blown up.
    covariance = torch.cov(answers)
    strong = covariance.diagonal() > 0.9
    assert strong.sum() >= 9
    torch.testing.assert_close(
        covariance[strong][:, strong], expected[strong][:, strong], atol=0.05, rtol=0
    )
    assert not model.whiten.weight.requires_grad


@pytest.mark.parametrize("method", ["init_from_data", "look_at"])
def test_a_model_that_wants_to_sees_training_images_first(method: str) -> None:
    def note(images: torch.Tensor) -> None:
        seen.append(images)

    seen: list[torch.Tensor] = []
    model = torch.nn.Identity()
    setattr(model, method, note)
    images = torch.full((7, 1, 2, 2), 255, dtype=torch.uint8)
    labels = torch.zeros(7, dtype=torch.int64)
    split = Split(images, labels)
    init_from_data(model, Dataset(("one",), split, split), Normalization([0.5], [0.25]), seed=0)
    assert torch.equal(seen[0], torch.full((7, 1, 2, 2), 2.0))


def test_convolutions_begin_by_passing_their_input_through() -> None:
    group = WhitenedCNN((3, 32, 32), 10).groups[0]
    maps = torch.randn(2, 24, 8, 8)
    torch.testing.assert_close(group.conv1(maps)[:, :24], maps)


@given(st.integers(1, 300), st.integers(0, 20))
def test_every_sample_is_flipped_in_every_other_epoch(count: int, epoch: int) -> None:
    samples = torch.randperm(10_000)[:count]

    def flipped(of_epoch: int) -> torch.Tensor:
        sampler = Sampler(count, 8, 8, torch.Generator(), samples, of_epoch)
        return AlternatingFlip().draw(sampler)["flipped"]

    assert torch.equal(flipped(epoch), ~flipped(epoch + 1))
    assert torch.equal(flipped(epoch), flipped(epoch + 2))


def test_half_of_the_samples_begin_mirrored() -> None:
    sampler = Sampler(50_000, 8, 8, torch.Generator(), torch.arange(50_000), 0)
    assert AlternatingFlip().draw(sampler)["flipped"].float().mean().item() == pytest.approx(
        0.5, abs=0.01
    )


@pytest.mark.slow
def test_alternating_flips_are_those_of_the_run_after_a_resume(
    tiny: Path, killed_and_resumed: Callable[..., tuple[Path, Path]]
) -> None:
    flips = ("dataset.augment=[alternating_flip]", "training.draw=false")
    weights = [
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
        for run in killed_and_resumed(30, tiny, *flips)
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_decoupled_decay_is_its_formula() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = DecoupledSGD([weight], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.5)
    expected, velocity = weight.detach().clone(), torch.zeros(2)
    for _ in range(4):
        optimizer.zero_grad()
        weight.square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        gradient = 2 * expected
        velocity = 0.9 * velocity + gradient
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * (gradient + 0.9 * velocity)
        torch.testing.assert_close(weight.detach(), expected)
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


@pytest.mark.slow
def test_the_cifar_record_steps_as_published_and_learns(cnnrun: Command, tmp_path: Path) -> None:
    experiment = load(RECORDS / "cifar10_fast.yaml")
    per_epoch = 40_000 // 1024
    schedule = build_schedule(experiment.schedule, 10 * per_epoch, per_epoch)
    factors = [schedule.factor(step) for step in range(10 * per_epoch)]
    assert factors.index(max(factors)) == pytest.approx(0.23 * len(factors), abs=2)
    assert factors[-1] < 0.01
    model = WhitenedCNN((3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == 1_972_792

    values = yaml.safe_load((RECORDS / "cifar10_fast.yaml").read_text())
    values["dataset"] = {**SMALL, "augment": values["dataset"]["augment"]}
    values["training"] |= {"epochs": 4}
    values["model"]["channels"] = [16, 32, 32]
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(values))
    ended = cnnrun("train", file, "-q", "device=cpu")
    assert ended.code == 0, ended.err
    rows = [
        json.loads(line)
        for line in (Path(ended.out.strip()) / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows[-1]["train_accuracy"] > 0.5
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_the_other_records_build_in_the_shapes_that_they_state() -> None:
    from cnnrun.engine.build_model import build_model

    for name, shape, classes, parameters in (
        ("imagenet_resnet50", (3, 224, 224), 1000, 25_557_032),
        ("mnist_record", (1, 28, 28), 10, 288_170),
        ("mnist_fast", (1, 28, 28), 10, 9_122),
    ):
        experiment = load(RECORDS / f"{name}.yaml")
        model = build_model(experiment, shape, classes)
        assert sum(p.numel() for p in model.parameters()) == parameters
        assert from_dict(experiment.to_dict(), name).to_dict() == experiment.to_dict()


def test_images_too_small_to_whiten_are_told(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("check", tiny, "model=whitened_cnn")
    assert ended.code == 2
    assert "whitened_cnn needs 31 pixels a side, not 8 x 8" in ended.err
