"""torch's own classes by name: each trains as a plain loop of torch with it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler

from cnnrun import registry
from cnnrun.components.schedules import build_schedule
from cnnrun.config.experiment import Experiment, from_dict
from cnnrun.engine.build import build
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import ConfigError, UserError
from cnnrun.runtime.randomness import shuffled
from cnnrun.runtime.training_display import Quiet
from tests.conftest import Command

BATCH, IMAGES, EPOCHS = 40, 200, 2


def experiment(**sections: Any) -> Experiment:
    values = {
        "name": "by_name",
        "dataset": {"name": "digits", "batch_size": BATCH, "limit": IMAGES, "validation": 0},
        "model": {"name": "cnn", "channels": [4], "head": [8]},
        "device": "cpu",
        "training": {"epochs": EPOCHS, "channels_last": False},
    }
    return from_dict({**values, **sections}, "the test")


def trained(of: Experiment) -> dict[str, Tensor]:
    trainer = Trainer(build(of))
    trainer.fit(Quiet())
    return trainer.full.model.state_dict()


def plain(
    of: Experiment,
    make: Callable[[Any], torch.optim.Optimizer],
    loss: Callable[[Tensor, Tensor], Tensor],
    schedule: Callable[[Any], Any] | None = None,
    by_batch: bool = False,
) -> dict[str, Tensor]:
    """The weights after a loop as torch's tutorials have it. loss: of a batch, its mean."""
    parts = build(of)
    optimizer = make(parts.model.parameters())
    scheduler = schedule(optimizer) if schedule else None
    for epoch in range(EPOCHS):
        for chosen in shuffled(IMAGES, of.seed, epoch).split(BATCH):
            split = parts.dataset.train
            inputs, targets = parts.pipeline(split.images[chosen], split.labels[chosen], None)
            optimizer.zero_grad()
            loss(parts.model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if scheduler and by_batch:
                scheduler.step()
        if scheduler and not by_batch:
            scheduler.step()
    return parts.model.state_dict()


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Adadelta", {"lr": 0.5}),
    ("Adafactor", {"lr": 0.01, "eps": [None, 1e-3]}),
    ("Adagrad", {"lr_decay": 0.01}),
    ("Adam", {"betas": [0.8, 0.99], "amsgrad": True}),
    ("Adamax", {"weight_decay": 0.01}),
    ("AdamW", {}),
    ("ASGD", {"lr": 0.1, "t0": 5.0}),
    ("NAdam", {"momentum_decay": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Rprop", {"etas": [0.4, 1.3], "step_sizes": [1e-6, 1.0]}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "maximize": False}),
]


@pytest.mark.parametrize(("name", "keys"), OPTIMIZERS)
def test_an_optimizer_trains_as_torchs_loop_does(name: str, keys: dict[str, Any]) -> None:
    of = experiment(optimizer={"name": f"torch/{name}", **keys})
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()}
    expected = plain(of, lambda p: getattr(torch.optim, name)(p, **given), F.cross_entropy)
    torch.testing.assert_close(trained(of), expected, rtol=1e-4, atol=1e-5)


def one_hot(targets: Tensor) -> Tensor:
    return F.one_hot(targets, 10).float()


def padded(targets: Tensor) -> Tensor:
    return torch.cat((targets[:, None], torch.full((len(targets), 9), -1)), 1)


LOSSES: list[tuple[str, dict[str, Any], Callable[[Tensor], Tensor]]] = [
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, lambda targets: targets),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5}, lambda targets: targets),
    ("BCEWithLogitsLoss", {"pos_weight": [2.0] * 10}, one_hot),
    ("MultiLabelSoftMarginLoss", {}, one_hot),
    ("MultiLabelMarginLoss", {}, padded),
    ("SoftMarginLoss", {}, lambda targets: 2 * one_hot(targets) - 1),
    ("MSELoss", {}, one_hot),
    ("L1Loss", {}, one_hot),
    ("SmoothL1Loss", {"beta": 0.3}, one_hot),
    ("HuberLoss", {"delta": 0.3}, one_hot),
]


@pytest.mark.parametrize(("name", "keys", "form"), LOSSES)
def test_a_loss_trains_as_torchs_loop_does(
    name: str, keys: dict[str, Any], form: Callable[[Tensor], Tensor]
) -> None:
    of = experiment(loss={"name": f"torch/{name}", **keys}, optimizer={"name": "sgd", "lr": 0.1})
    tensors = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in keys.items()}
    loss = getattr(nn, name)(**tensors)
    expected = plain(of, lambda p: torch.optim.SGD(p, 0.1), lambda out, y: loss(out, form(y)))
    torch.testing.assert_close(trained(of), expected, rtol=1e-4, atol=1e-6)


SCHEDULES: list[tuple[str, dict[str, Any], bool]] = [
    ("StepLR", {"step_size": 1, "gamma": 0.5}, False),
    ("MultiStepLR", {"milestones": [1]}, False),
    ("ConstantLR", {"total_iters": 1}, False),
    ("LinearLR", {"total_iters": 2}, False),
    ("ExponentialLR", {"gamma": 0.7}, False),
    ("PolynomialLR", {"total_iters": 4, "power": 2.0}, False),
    ("CosineAnnealingLR", {"T_max": 3, "eta_min": 0.01}, False),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 2, "eta_min": 0.01}, False),
    ("OneCycleLR", {"max_lr": 0.3}, True),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 3}, True),
]


@pytest.mark.parametrize(("name", "keys", "by_batch"), SCHEDULES)
def test_a_schedule_trains_as_torchs_loop_does(
    name: str, keys: dict[str, Any], by_batch: bool
) -> None:
    of = experiment(
        schedule={"name": f"torch/{name}", **keys}, optimizer={"name": "sgd", "lr": 0.1}
    )
    given = dict(keys)
    if name == "OneCycleLR":
        given["total_steps"] = EPOCHS * IMAGES // BATCH
    if by_batch:
        given["cycle_momentum"] = False
    expected = plain(
        of,
        lambda p: torch.optim.SGD(p, 0.1),
        F.cross_entropy,
        lambda optimizer: getattr(lr_scheduler, name)(optimizer, **given),
        by_batch,
    )
    torch.testing.assert_close(trained(of), expected, rtol=1e-4, atol=1e-6)


def test_a_schedule_is_a_function_of_the_step_whatever_was_asked_before() -> None:
    schema = registry.schedules.get("torch/CyclicLR").schema()
    config: Any = schema(base_lr=0.1, max_lr=1.0, step_size_up=4)
    in_order, at_once = (build_schedule(config, 40, 10, lr=0.5) for _ in range(2))
    factors = [in_order.factor(step) for step in range(40)]
    assert at_once.factor(33) == factors[33]
    assert [at_once.factor(step) for step in range(40)] == factors
    assert factors[0] == pytest.approx(0.2)  # base_lr over the optimizer's rate
    assert max(factors) == pytest.approx(2.0)


def test_a_plateau_goes_by_the_validation_loss_and_goes_on_after_a_stop() -> None:
    losses = [1.0, 0.9, 0.95, 0.93, 0.97, 0.99, 0.5, 0.6, 0.7, 0.8, 0.9]
    keys = {"factor": 0.5, "patience": 1, "cooldown": 1, "min_lr": 0.01}
    schema: Any = registry.schedules.get("torch/ReduceLROnPlateau").schema()
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    expected = lr_scheduler.ReduceLROnPlateau(optimizer, **keys)  # type: ignore[arg-type]
    schedule = build_schedule(schema(**keys), 100, 10, lr=0.1)
    for loss in losses:
        resumed = build_schedule(schema(**keys), 100, 10, lr=0.1)
        resumed.load_state_dict(schedule.state_dict())
        schedule = resumed
        schedule.observe(loss)
        expected.step(loss)
        assert 0.1 * schedule.factor(0) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert schedule.factor(0) < 0.3


@pytest.mark.parametrize("name", [n for n in vars(nn.init) if n.endswith("_") and n[0] != "_"])
def test_an_initializer_fills_weights_as_torchs_function_does(name: str) -> None:
    keys = {"constant_": {"val": 0.3}, "sparse_": {"sparsity": 0.5}}.get(name, {})
    of = experiment(initializer={"name": f"torch/{name}", **keys})
    model: Any = build(of).model
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    made = build(experiment()).model
    default = [m.weight for m in made.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    took = {"dirac_": (4,), "eye_": (2,), "sparse_": (2,)}.get(name, (2, 4))
    assert {w.dim() for w in weights} == {2, 4}
    for ours, before in zip(weights, default, strict=True):
        if ours.dim() not in took:
            assert torch.equal(ours, before)
        elif name in ("dirac_", "eye_", "zeros_", "ones_", "constant_"):
            expected = torch.empty_like(before)
            getattr(nn.init, name)(expected, **keys)
            assert torch.equal(ours, expected)
        else:
            assert not torch.equal(ours, before)


def test_an_initializer_that_fills_nothing_is_refused() -> None:
    of = experiment(model={"name": "mlp", "hidden": [4]}, initializer="torch/dirac_")
    with pytest.raises(ConfigError, match=r"initializer.*fills only convolutions, and this model"):
        build(of)


def test_what_torch_refuses_to_fill_is_said_in_its_words() -> None:
    fill = registry.initializers.get("torch/dirac_").factory
    with pytest.raises(UserError, match=r"torch\.nn\.init\.dirac_: Only tensors with 3, 4, or 5"):
        fill(weight=torch.zeros(2, 2))


def test_activations_are_torchs_with_their_keys() -> None:
    given: Any = {"name": "torch/LeakyReLU", "negative_slope": 0.2}
    of = experiment(model={"name": "cnn", "channels": [4], "activation": given})
    [layer] = [m for m in build(of).model.modules() if isinstance(m, nn.LeakyReLU)]
    assert layer.negative_slope == 0.2
    by_name = experiment(model={"name": "mlp", "hidden": [4], "activation": "torch/Mish"})
    assert any(isinstance(m, nn.Mish) for m in build(by_name).model.modules())


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"optimizer": "torch/Nadm"}, "unknown name 'torch/Nadm'; did you mean 'torch/NAdam'"),
        ({"optimizer": {"name": "torch/NAdam", "beta": [0.9, 0.9]}}, "beta: .*mean 'betas'"),
        ({"optimizer": {"name": "torch/NAdam", "betas": [0.9]}}, "a list of at least 2 items"),
        ({"optimizer": {"name": "torch/NAdam", "lr": "high"}}, "lr: expected a number"),
        ({"optimizer": "torch/SparseAdam"}, "torch/SparseAdam takes only sparse gradients"),
        ({"optimizer": "torch/Muon"}, "use muon"),
        ({"loss": "torch/KLDivLoss"}, "torch/KLDivLoss takes log-probabilities"),
        ({"loss": "torch/nllloss"}, "torch/NLLLoss takes log-probabilities"),
        ({"loss": "torch/kl_div_loss"}, "torch/KLDivLoss takes log-probabilities"),
        ({"optimizer": "torch/sparse_adam"}, "torch/SparseAdam takes only sparse gradients"),
        ({"loss": "torch/CTCLoss"}, "compares sequences"),
        ({"loss": {"name": "torch/HuberLoss", "reduction": "sum"}}, "reduction: unknown key"),
        ({"schedule": "torch/LambdaLR"}, "needs a function, which YAML can't give"),
        ({"schedule": "torch/CosineAnnealingLR"}, "T_max: this key is required"),
        ({"model": {"name": "cnn", "activation": "torch/PLU"}}, "did you mean 'torch/PReLU'"),
        ({"model": {"name": "cnn", "activation": {"name": "torch/ELU", "alfa": 1}}}, "'alpha'"),
        ({"model": {"name": "cnn", "activation": "torch/GLU"}}, "another shape or meaning"),
        ({"optimizer": {"name": "torch/Adam", "lr": -1.0}}, "Invalid learning rate: -1.0"),
        ({"schedule": {"name": "torch/CosineAnnealingWarmRestarts", "T_0": 0}}, "positive integer"),
        ({"loss": {"name": "torch/BCEWithLogitsLoss", "pos_weight": [1.0]}}, "1 numbers for 10"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(sections: dict[str, Any], told: str) -> None:
    section = next(iter(sections))
    with pytest.raises(ConfigError, match=rf"(?s)the test: {section}.*{told}"):
        Trainer(build(experiment(**sections)))


@pytest.mark.parametrize("loss", ["torch/MultiMarginLoss", "torch/MultiLabelMarginLoss"])
def test_mixed_labels_are_refused_by_losses_of_whole_ones(loss: str) -> None:
    data = {"name": "digits", "limit": IMAGES, "augment": ["horizontal_flip", "mixup"]}
    with pytest.raises(ConfigError, match=rf"dataset.augment.1.*mixes labels, and {loss} takes"):
        build(experiment(loss=loss, dataset=data))
    build(experiment(loss="torch/SoftMarginLoss", dataset=data))


def test_another_librarys_names_are_put_right() -> None:
    for word, name in {
        "torch/nadam": "torch/NAdam",
        "torch.optim.Adadelta": "torch/Adadelta",
        "Adamax": "torch/Adamax",
        "RAdam": "radam",
    }.items():
        assert experiment(optimizer=word).optimizer.name == name
    named: Any = experiment(model={"name": "cnn", "activation": "torch/relu"}).model
    assert named.activation.name == "torch/ReLU"


def test_what_a_library_has_is_not_what_is_registered() -> None:
    """Hundreds of names would hide the usual ones, and a name is known once it is asked for."""
    experiment(optimizer="torch/Rprop")
    assert not [n for n in registry.optimizers.names() if n.startswith("torch/")]
    assert "torch/Rprop" in registry.optimizers.libraries.asked_for
    with pytest.raises(UserError, match="'torch/Ropr'; did you mean 'torch/Rprop'"):
        registry.optimizers.get("torch/Ropr")


def test_the_list_has_a_line_for_the_library_and_a_page_for_each_of_its_names(
    cnnrun: Command,
) -> None:
    assert cnnrun("list", "optimizer").out.count("torch/") == 1
    assert "torch/NAdam, torch/RAdam" in cnnrun("list", "optimizer", "torch").out
    page = cnnrun("list", "optimizer", "torch/NAdam").out
    assert "momentum_decay" in page
    assert "[0.9, 0.999]" in page


def test_a_run_resumes_to_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    file = tmp_path / "by_name.yaml"
    file.write_text(
        "dataset: {name: digits, batch_size: 40, limit: 200}\n"
        "model: {name: cnn, channels: [4], activation: torch/PReLU}\n"
        "initializer: torch/dirac_\n"
        "loss: {name: torch/MultiMarginLoss, weight: balanced}\n"
        "optimizer: {name: torch/NAdam, lr: 0.01}\n"
        "schedule: {name: torch/CosineAnnealingWarmRestarts, T_0: 2}\n"
        "device: cpu\n"
        "training: {epochs: 3, draw: false, checkpoint_every: 2 steps, clip_norm: 1.0}\n"
    )
    whole, resumed = killed_and_resumed(9, file)
    assert (whole / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()
    one, other = (torch.load(run / "checkpoints/last.pt") for run in (whole, resumed))
    torch.testing.assert_close(one["model"], other["model"], rtol=0, atol=0)
