"""The ways in which one experiment is trained, and what must be equal between them.

Every way goes through the command line, in this process: `differences` is to be called in a fork.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cnnrun.cli import main
from cnnrun.config.experiment import load
from cnnrun.engine.trainer import Trainer
from tests.chaos.runs import assert_same_end
from tests.fuzz.reference import Reference

# Sums of floats in another order; few steps of tiny networks do not enlarge it further.
CLOSE = 2e-4


@dataclass
class Outcome:
    """What came of one experiment."""

    refused: str = ""
    problems: list[str] = field(default_factory=list)
    # The ways that were compared, and those that cnnrun refused with a sentence.
    compared: list[str] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)


class Refused(Exception):
    """cnnrun said in a sentence that it can't do that."""


class Differs(AssertionError):
    """More than by the order of sums."""


def command(*arguments: object) -> str:
    """What `cnnrun ...` prints on stdout.

    Raises:
        Refused: it ended with a message.
        AssertionError: it ended with a traceback, or took the mistake for its own.
    """
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with redirect_stdout(out), redirect_stderr(err):
        before, sys.argv = sys.argv, ["cnnrun", *map(str, arguments)]
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.argv = before
    text = err.getvalue()
    assert not is_a_bug(text), text
    if code:
        raise Refused(text.strip().rpartition("error: ")[2] or f"exit code {code}")
    return out.getvalue().strip()


def is_a_bug(text: str) -> bool:
    """Whether an error that cnnrun printed is none of the user's."""
    return "Traceback" in text or "a bug" in text


def train(file: Path, output: str, *changes: object) -> Path:
    return Path(command("train", file, "-q", f"output={file.parent / output}", *changes))


def differences(values: dict[str, Any], folder: Path) -> Outcome:
    """Train in every way that one process allows, and compare."""
    outcome = Outcome()
    file = write(values, folder)
    try:
        run = train(file, "plain")
    except Refused as refusal:
        outcome.refused = str(refusal)
        return outcome
    except AssertionError as error:
        outcome.problems.append(f"plain: {error}")
        return outcome
    for way in (
        _numbers,
        _reference,
        _resumed,
        _evaluated,
        _accumulated,
        _uncached,
        _seeds,
        _exported,
    ):
        name = way.__name__.strip("_")
        try:
            if way(values, file, run):
                outcome.compared.append(name)
        except Refused as refusal:
            outcome.declined.append(f"{name}: {refusal}")
        except Differs as error:
            if is_chaotic(file):
                outcome.declined.append(f"{name}: another last digit changes as much")
            else:
                outcome.problems.append(f"{name}: {error}")
        except Exception as error:
            outcome.problems.append(f"{name}: {type(error).__name__}: {str(error)[:1500]}")
    return outcome


def write(values: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
    weights: dict[str, torch.Tensor] = content["model"]
    return weights


def content_of(run: Path) -> dict[str, str]:
    """A hash of every file of a run."""
    return {
        str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(run.rglob("*"))
        if f.is_file()
    }


# The ways: each returns whether it had anything to compare ---------------------------------------


def _numbers(_values: dict[str, Any], _file: Path, run: Path) -> bool:
    """Every number that is written exists, and is what its name says."""
    summary = json.loads((run / "summary.json").read_text(), parse_constant=_no_constant)
    rows = log_of(run)
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert summary["best"] == rows[summary["best_epoch"] - 1]
    for row in [*rows, summary["test"]]:
        for key, value in row.items():
            if "accuracy" in key or "top5" in key:
                assert 0 <= value <= 1, (key, value)
    return True


def _no_constant(name: str) -> None:
    raise AssertionError(f"summary.json has {name}, which is no JSON")


def _reference(values: dict[str, Any], file: Path, run: Path) -> bool:
    """The plain loop of `reference.py` gives the same log and weights."""
    if values["training"].get("amp") or values["training"].get("progressive_from"):
        return False
    _same_as_plain(run, Reference(load(file)))
    return True


def _same_as_plain(run: Path, plain: Reference) -> None:
    logged = [
        {key: value for key, value in row.items() if key not in ("lr", "skipped")}
        for row in log_of(run)
    ]
    same_end((logged, weights_of(run)), plain.train())


End = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]
"""The rows of the log, and the last weights."""


def is_chaotic(file: Path) -> bool:
    """Whether the plain loop itself leads elsewhere from weights with other last digits."""
    end = Reference(load(file)).train()
    return any(_leads_elsewhere(file, end, nudge) for nudge in range(6))


def _leads_elsewhere(file: Path, end: End, nudge: int) -> bool:
    nearly = Reference(load(file))
    random = torch.Generator().manual_seed(nudge)
    with torch.no_grad():
        for weight in nearly.model.parameters():
            weight *= 1 + 1e-6 * torch.randn(weight.shape, generator=random)
            # Of a zero, too: where the gradient is a sign, it decides.
            weight += 1e-9 * torch.randn(weight.shape, generator=random)
    try:
        same_end(nearly.train(), end)
    except Differs:
        return True
    return False


def _resumed(values: dict[str, Any], file: Path, run: Path) -> bool:
    """Stopped after a random step and resumed: the same bits."""
    steps = log_of(run)[-1]["step"]
    stop = random.Random(values["seed"]).randrange(1, steps + 1)
    # "stopped in epoch ..."; after the last step it is finished
    with _interrupted_after(stop), suppress(Refused):
        train(file, "resumed")
    [stopped] = (file.parent / "resumed" / values["name"]).iterdir()
    assert command("train", "--resume", stopped, "-q") == str(stopped)
    assert_same_end(stopped, run)
    return True


@contextmanager
def _interrupted_after(step: int) -> Iterator[None]:
    """Ctrl-C arrives after so many optimizer steps."""
    whole = Trainer.train_step

    def stepped(self: Trainer, *arguments: Any) -> None:
        whole(self, *arguments)
        if self.progress.step == step:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", stepped)
        yield


def _evaluated(values: dict[str, Any], _file: Path, run: Path) -> bool:
    """`eval` gives the scores of the log and of the summary, and changes nothing."""
    before = content_of(run)
    summary = json.loads((run / "summary.json").read_text())
    for split, scores in (("test", summary["test"]), ("validation", _validation(summary["best"]))):
        if scores:
            found = json.loads(command("eval", run, "--split", split, "--json"))
            plain = values["task"] == "classify" or split == "test" or split == "validation"
            shared = [key for key in scores if key in found and plain]
            assert "loss" in shared
            if split == "test" or "tta" not in str(values["task"]):
                close({k: found[k] for k in shared}, {k: scores[k] for k in shared}, 1e-5)
    assert content_of(run) == before, "eval changed the run"
    return True


def _validation(row: dict[str, Any]) -> dict[str, Any]:
    start = "validation_"
    return {key.removeprefix(start): value for key, value in row.items() if key.startswith(start)}


def _accumulated(values: dict[str, Any], file: Path, run: Path) -> bool:
    """In pieces: the same steps, but where a piece is not independent of the others."""
    if depends_on_its_batch(values) or inexact(values):
        return False
    pieces = 1 if values["training"].get("accumulate", 1) > 1 else 3
    accumulate = f"training.accumulate={pieces}"
    other = train(file, "accumulated", accumulate)
    try:
        same_course(other, run)
    except Differs:
        # Sums in another order may decide the sign of a gradient: in a plain loop they do, too.
        _same_as_plain(other, Reference(load(file, [accumulate])))
    return True


def _uncached(values: dict[str, Any], file: Path, run: Path) -> bool:
    """With frozen features computed at every step instead of once."""
    if "transfer" not in values or values["training"].get("amp", "off") != "off":
        return False  # of 16 bits, the last is of a batch of another size another one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnnrun.engine.trainer.on_frozen_features", lambda *_: None)
        other = train(file, "uncached")
    same_course(other, run)
    return True


def _seeds(values: dict[str, Any], file: Path, run: Path) -> bool:
    """Many seeds together: this one as if alone."""
    if inexact(values):
        return False
    seed = values["seed"]
    command("train", file, "-q", "--seeds", f"{seed},{seed + 1}", f"output={file.parent / 'seeds'}")
    runs = sorted((file.parent / "seeds" / values["name"]).iterdir())
    [same] = [r for r in runs if yaml.safe_load((r / "config.yaml").read_text())["seed"] == seed]
    same_course(same, run)
    return True


def _exported(values: dict[str, Any], file: Path, run: Path) -> bool:
    """The exported weights are those of the best epoch."""
    if values["seed"] % 4:  # the same code each time
        return False
    name = file.parent / "x.safetensors"
    command("export", run, "--format", "safetensors", "-o", name)
    found, wanted = load_file(name), weights_of(run, "best")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    return True


# Two processes -----------------------------------------------------------------------------------


def be_rank(folder: Path, rank: int, port: int) -> None:
    """Become one of two processes that train together; `said_by` reads what it said."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.stdout = sys.stderr = (folder / f"rank{rank}").open("w")
    sys.argv = [
        "cnnrun",
        "train",
        str(folder / "experiment.yaml"),
        "-q",
        f"output={folder / 'two'}",
    ]
    main()  # ends the process


def said_by(folder: Path, rank: int) -> str:
    return (folder / f"rank{rank}").read_text()


def compare_two(values: dict[str, Any], folder: Path) -> list[str]:
    """What differs between the run of two processes and the plain one."""
    [two], [plain] = (list((folder / way / values["name"]).iterdir()) for way in ("two", "plain"))
    if depends_on_its_batch(values) or inexact(values) or draws(values):
        return []  # both are right, and differ
    if log_of(two)[0]["step"] != log_of(plain)[0]["step"]:
        return []  # a last batch too small for two joins the one before
    try:
        same_course(two, plain)
    except Differs as error:
        if not is_chaotic(folder / "experiment.yaml"):
            return [f"two processes: {error}"]
    return []


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


# What may differ ---------------------------------------------------------------------------------


def depends_on_its_batch(values: dict[str, Any]) -> bool:
    """Whether a sample's outputs depend on which others are in the batch, or on drawn masks."""
    model = values["model"]
    return (
        model.get("batch_norm", model["name"] == "conv_autoencoder")
        or model["name"] in ("resnet", "whitened_cnn", "vae")
        or bool(model.get("dropout") or model.get("spatial_dropout"))
    )


def draws(values: dict[str, Any]) -> bool:
    """Whether inputs are random: processes draw for their own samples."""
    task = values["task"]
    return bool(values["dataset"].get("augment") or (isinstance(task, dict) and task.get("noise")))


def inexact(values: dict[str, Any]) -> bool:
    """Whether the last digits of a sum grow: a search along a line, 16 bits."""
    return values["optimizer"]["name"] == "lbfgs" or values["training"].get("amp", "off") != "off"


def same_course(ours: Path, expected: Path) -> None:
    """Equal logs and weights, up to the order of sums."""
    same_end((log_of(ours), weights_of(ours)), (log_of(expected), weights_of(expected)))


def same_end(ours: End, expected: End) -> None:
    rows, wanted = ours[0], expected[0]
    assert len(rows) == len(wanted), f"{len(rows)} epochs, not {len(wanted)}"
    try:
        for row, like in zip(rows, wanted, strict=True):
            close(row, like, CLOSE)
        same_weights(ours[1], expected[1])
    except AssertionError as error:
        raise Differs(error) from error


def same_weights(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for key, tensor in expected.items():
        if tensor.is_floating_point():
            gap = (ours[key] - tensor).abs().max().item() if tensor.numel() else 0
            assert gap <= 10 * CLOSE * (1 + tensor.abs().max().item()), f"{key}: {gap}"


def close(ours: dict[str, Any], expected: dict[str, Any], relative: float) -> None:
    """Equal keys, and values up to rounding; of what is counted, up to 4 samples in 100."""
    assert ours.keys() == expected.keys(), ours.keys() ^ expected.keys()
    for key, value in expected.items():
        counted = any(word in key for word in ("accuracy", "top5", "ece"))
        if value is None or ours[key] is None:
            assert ours[key] is value is None, (key, ours[key], value)
        else:
            gap = 0.04 if counted and relative == CLOSE else relative
            assert math.isclose(ours[key], value, rel_tol=gap, abs_tol=gap), (
                f"{key} is {ours[key]}, not {value}"
            )
