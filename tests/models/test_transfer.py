"""Transfer: what is taken over, what stays frozen, and the fast path to the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cnnrun.engine import frozen_features as features
from cnnrun.engine import trainer as training
from cnnrun.errors import UserError
from cnnrun.models.cnn import CNN
from cnnrun.models.surgery import restructure
from cnnrun.models.trainable import Trainable
from cnnrun.models.transfer import Transfer
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.weights import load_weights
from tests.conftest import CONFIGS, Command, thorough_only

MODEL = "model={name: cnn, channels: [8, 8], batch_norm: true, head: [16], dropout: 0.5}"


@pytest.fixture
def source(cnnrun: Command, tiny: Path) -> Path:
    """A trained run whose features others take over."""
    ended = cnnrun("train", tiny, "-q", MODEL, "training.epochs=1", "seed=9", "name=source")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(run / "checkpoints" / "last.pt").model


def _train(cnnrun: Command, tiny: Path, *overrides: str) -> tuple[Path, str]:
    ended = cnnrun("train", tiny, MODEL, *overrides)
    assert ended.code == 0, ended.err
    return Path(ended.out.split()[1]), ended.err


def test_frozen_features_stay_bit_for_bit_and_the_head_learns(
    cnnrun: Command, tiny: Path, source: Path
) -> None:
    """Also running means of frozen batch normalization; the optimizer holds the head alone."""
    run, told = _train(cnnrun, tiny, f"transfer={{weights: {source}, freeze: features}}")
    before, after = _weights(source), _weights(run)
    for key, value in after.items():
        assert torch.equal(value, before[key]) == (not key.startswith("head.4")), key
    state = Checkpoint.load(run / "checkpoints" / "last.pt")
    assert [len(group["params"]) for group in state.optimizer["param_groups"]] == [2]
    assert "170 of " in told
    assert state.normalization == Checkpoint.load(source / "checkpoints" / "last.pt").normalization
    scores = json.loads(cnnrun("eval", run, "--json").out)
    summary = json.loads((run / "summary.json").read_text())
    assert scores["accuracy"] == summary["test"]["accuracy"]


def test_the_fast_path_ends_at_the_same_weights(
    cnnrun: Command, tiny: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = f"transfer={{weights: {source}, freeze: features}}"
    ready: list[bool] = []

    def spied(*arguments: Any) -> Any:
        found = features.on_frozen_features(*arguments)
        ready.append(found is not None)
        return found

    monkeypatch.setattr(training, "on_frozen_features", spied)
    fast, _ = _train(cnnrun, tiny, transfer)
    monkeypatch.setattr(training, "on_frozen_features", lambda *_: None)
    slow, _ = _train(cnnrun, tiny, transfer)
    assert ready == [True]
    for key, value in _weights(slow).items():
        torch.testing.assert_close(_weights(fast)[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        ["transfer.freeze=none"],
        ["transfer.freeze=features.0"],
        ["transfer.freeze=features", "transfer.unfreeze_at=2"],
        ["transfer.freeze=features", "dataset.augment=[rotation]"],
    ],
)
def test_the_fast_path_is_not_taken_where_features_change(
    cnnrun: Command, tiny: Path, source: Path, overrides: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found: list[Any] = []
    original = features.on_frozen_features
    monkeypatch.setattr(
        training, "on_frozen_features", lambda *a: found.append(original(*a)) or found[-1]
    )
    _train(cnnrun, tiny, f"transfer={{weights: {source}}}", *overrides)
    assert found == [None]


@pytest.mark.slow
def test_unfreezing_lets_everything_learn_and_resumes(
    cnnrun: Command, tiny: Path, source: Path
) -> None:
    transfer = f"transfer={{weights: {source}, freeze: features, unfreeze_at: 2}}"
    run, _ = _train(cnnrun, tiny, transfer, "training.epochs=1")
    first = next(k for k in _weights(run) if k.startswith("features.0"))
    assert torch.equal(_weights(run)[first], _weights(source)[first])
    whole, _ = _train(cnnrun, tiny, transfer, "training.epochs=3")
    assert not torch.equal(_weights(whole)[first], _weights(source)[first])
    # A run that stood after its second epoch goes on to the same bits.
    (run / "summary.json").unlink()
    text = (run / "config.yaml").read_text().replace("epochs: 1\n", "epochs: 3\n")
    (run / "config.yaml").write_text(text)
    assert cnnrun("train", "--resume", run).code == 0
    for key, value in _weights(whole).items():
        assert torch.equal(_weights(run)[key], value), key


@pytest.mark.parametrize("form", ["pt", "safetensors", "module.", "_orig_mod.module."])
def test_weights_come_in_many_forms(
    cnnrun: Command, tiny: Path, source: Path, tmp_path: Path, form: str
) -> None:
    weights = {key: value.contiguous() for key, value in _weights(source).items()}
    if form == "safetensors":
        file = tmp_path / "w.safetensors"
        save_file(weights, file)
    else:
        file = tmp_path / "w.pt"
        prefix = "" if form == "pt" else form
        torch.save({"state_dict": {prefix + k: v for k, v in weights.items()}}, file)
    run, _ = _train(cnnrun, tiny, f"transfer={{weights: {file}, freeze: features}}")
    first = next(k for k in weights if k.startswith("features.0"))
    assert torch.equal(_weights(run)[first], weights[first])


@pytest.mark.parametrize("case", ["small_similar", "small_different", "large_similar",
                                  "large_different"])  # fmt: skip
def test_each_textbook_case_trains_and_says_what_it_means(
    cnnrun: Command, tiny: Path, source: Path, case: str
) -> None:
    run, told = _train(cnnrun, tiny, f"transfer={{case: {case}, weights: {source}}}")
    wanted = {
        "small_similar": "freeze: features, head: []",
        "small_different": "freeze: features, cut: features.0, head: []",
        "large_similar": "lr_multipliers: {'features': 0.1}",
        "large_different": f"weights: {source};",
    }[case]
    assert wanted in told
    assert cnnrun("eval", run).code == 0
    copied = run / "config.yaml"
    assert cnnrun("check", copied).code == 0


@pytest.mark.parametrize(
    ("transfer", "wanted"),
    [
        ("{freeze: all}", "transfer.freeze: nothing to train"),
        ("{freeze: faetures}", "freeze: 'faetures' matches no parameter; did you mean 'features'?"),
        ("{cut: features.7}", "cut: the model has no layer 'features.7'; there are features.0"),
        ("{case: small_different, cut: features.7}", "transfer.cut: the model has no layer"),
        ("{lr_multipliers: {tail: 2}}", "lr_multipliers: 'tail' matches no parameter"),
        ("{weights: nowhere.pt}", "nowhere.pt: there is no such"),
        ("{weights: imagenet}", "only torchvision/... and timm/... models have them"),
        ("{weights: other.pt}", "unexpected: x.features"),
        ("{weights: evil.pt}", "refused"),
        ("{case: small}", "transfer.case: expected small_similar"),
        ("{frozen: true}", "transfer.frozen: unknown key; did you mean 'freeze'?"),
    ],
)
def test_mistakes_are_named(
    cnnrun: Command, tiny: Path, source: Path, tmp_path: Path, transfer: str, wanted: str
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "pwned",)

    torch.save({f"x.{k}": v for k, v in _weights(source).items()}, tmp_path / "other.pt")
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    ended = cnnrun("train", tiny, MODEL, f"transfer={transfer}")
    assert ended.code == 2
    assert wanted in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "pwned").exists()


def test_rates_by_pattern() -> None:
    model = CNN((1, 8, 8), 10, channels=[4, 4])
    transfer = Transfer(lr_multipliers={"features.0": 0.0, "features": 0.1})
    rates = {
        id(p): group["lr"]
        for group in Trainable(model, transfer, None, (1, 8, 8)).groups(lr=2.0)
        for p in group["params"]
    }
    by_name = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert by_name["features.0.conv.weight"] == 0.0
    assert by_name["features.1.conv.weight"] == pytest.approx(0.2)
    assert by_name["head.1.weight"] == 2.0


def test_a_cut_keeps_the_names_of_its_weights() -> None:
    model = CNN((1, 16, 16), 10, channels=[4, 8, 8])
    whole = set(model.state_dict())
    cut, head = restructure(model, Transfer(cut="features.1", head=[5]), (1, 16, 16), 3)
    assert head == "head"
    assert {key for key in cut.state_dict() if key.startswith("features")} <= whole
    assert cut(torch.zeros(2, 1, 16, 16)).shape == (2, 3)
    with pytest.raises(UserError, match=r"no layer 'features\.9'"):
        restructure(CNN((1, 16, 16), 10), Transfer(cut="features.9"), (1, 16, 16), 3)


@thorough_only
@pytest.mark.mnist
@pytest.mark.slow
def test_mnist_features_help_two_digits_a_class(shell: Command, mnist_root: Path) -> None:
    """Mean of five seeds, from MNIST's features and from scratch; the gap is over the spread.

    With ten a class, as the config has it, training from scratch does as well.
    """
    pretrained = shell(f"cnnrun train {CONFIGS}/mnist_pretrain.yaml dataset.root={mnist_root} -q")
    assert pretrained.code == 0, pretrained.err
    accuracy: dict[str, list[float]] = {}
    for way in (f"transfer.weights={pretrained.out.strip()}", "transfer=null optimizer.lr=1e-3"):
        for seed in range(5):
            few = f"{way} dataset.per_class=2 seed={seed} --json"
            ended = shell(f"cnnrun train {CONFIGS}/transfer_digits.yaml {few}")
            assert ended.code == 0, ended.err
            accuracy.setdefault(way[:10], []).append(json.loads(ended.out)["test"]["accuracy"])
    transferred, scratch = accuracy.values()
    print(transferred, scratch)
    gap = np.mean(transferred) - np.mean(scratch)
    assert gap > max(np.std(transferred, ddof=1), np.std(scratch, ddof=1))


def test_complex_weights_are_refused() -> None:
    """torch would drop their imaginary parts."""
    model = torch.nn.Linear(2, 2)
    weights = {key: value.to(torch.complex64) for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match="complex numbers: weight, bias"):
        load_weights(model, weights)
