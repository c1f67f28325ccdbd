"""Checkpoints that were damaged after they were written: found out, never computed with."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
import torch

from cnnrun.config.experiment import load
from cnnrun.errors import UserError
from cnnrun.runner import train
from cnnrun.runs.checkpoint import Checkpoint, Normalization
from tests.chaos.runs import assert_equal
from tests.conftest import Command


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = torch.nn.Linear(64, 10)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    model(torch.ones(1, 64)).sum().backward()
    optimizer.step()
    saved = Checkpoint(
        model=model.state_dict(), config={"name": "x"}, classes=list("0123456789"),
        class_counts=[1] * 10, input_shape=[1, 8, 8], normalization=Normalization([0.5], [0.5]),
        optimizer=optimizer.state_dict(),
    )  # fmt: skip
    file = tmp_path / "whole.pt"
    saved.save(file)
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "x.yaml").write_text(
        "dataset: digits\nmodel: {name: mlp, hidden: [4]}\ndevice: cpu\n"
        "training: {epochs: 1, draw: false}\n"
    )
    experiment = load(folder / "x.yaml", [f"output={folder}", "dataset.limit=50"])
    return train(experiment, quiet=True).checkpoint("last")


def test_a_flipped_bit_is_found_or_lies_between_the_contents(checkpoint: Path) -> None:
    content, draw = checkpoint.read_bytes(), random.Random(0)
    whole = Checkpoint.load(checkpoint)
    damaged = checkpoint.with_name("damaged.pt")
    found = 0
    for _ in range(400):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        damaged.write_bytes(flipped)
        try:
            loaded = Checkpoint.load(damaged)
        except UserError as error:
            found += "damaged.pt: " in str(error)
        else:
            assert_equal(vars(loaded), vars(whole), "the checkpoint")
    assert found > 300


def test_a_file_cut_anywhere_is_found(checkpoint: Path) -> None:
    content = checkpoint.read_bytes()
    cut = checkpoint.with_name("cut.pt")
    for length in [0, 1, 4, *range(10, len(content), 97), len(content) - 1]:
        cut.write_bytes(content[:length])
        with pytest.raises(
            UserError, match=r"cut\.pt: (not a readable checkpoint|refused, as it is)"
        ):
            Checkpoint.load(cut)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """`torch.load` alone unpacks it."""
    whole, bomb = tmp_path / "whole.pt", tmp_path / "bomb.pt"
    torch.save({"format": 1, "model": {"weight": torch.zeros(1_000_000)}}, whole)
    deflated = zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(whole) as source, deflated as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert bomb.stat().st_size < 20_000
    assert torch.load(bomb, weights_only=True)["model"]["weight"].shape == (1_000_000,)
    with pytest.raises(UserError, match=r"bomb\.pt: not a readable checkpoint"):
        Checkpoint.load(bomb)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model": {"weight": torch.zeros(1).expand(10**6, 10**9)}}, "do not fit the model"),
        ({"input_shape": [10**6, 10**6, 10**6]}, "model: too large for this machine"),
        ({"input_shape": [-1, 8, 8]}, "not a whole checkpoint"),
        ({"input_shape": "x"}, "not a whole checkpoint"),
        ({"classes": [1, 2]}, "not a whole checkpoint"),
        ({"class_counts": None}, "not a whole checkpoint"),
        ({"config": {"name": "x", "dataset": "own", "plugins": 1}}, "absurd.pt"),
        ({"config": "x"}, "not a whole checkpoint"),
        ({"model": [1]}, "not a whole checkpoint"),
        ({"normalization": {"mean": 1, "std": 1}}, "not a whole checkpoint"),
        ({"normalization": [1]}, "not a whole checkpoint"),
    ],
)
def test_absurd_contents_are_refused(
    cnnrun: Command, trained: Path, tmp_path: Path, changes: dict[str, object], wanted: str
) -> None:
    content = torch.load(trained, weights_only=True)
    torch.save({**content, **changes}, tmp_path / "absurd.pt")
    ended = cnnrun("eval", tmp_path / "absurd.pt")
    assert ended.code in (1, 2)
    assert wanted in ended.err
    assert ended.err.count("\n") == 1


def test_a_damaged_last_checkpoint_leaves_the_best(cnnrun: Command, tiny: Path) -> None:
    """`--resume` says so, goes on from the older one, and ends at the same bits."""
    whole = Path(cnnrun("train", tiny, "-q", "output=whole").out.strip())
    run = Path(cnnrun("train", tiny, "-q", "output=damaged").out.strip())
    (run / "summary.json").unlink()
    last = run / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:-500])
    ended = cnnrun("train", "--resume", run, "-q")
    assert ended.code == 0, ended.err
    assert f"{last}: not a readable checkpoint (damaged or cut short?); resuming from" in ended.err
    for name in ("last.pt", "best.pt"):
        ours, expected = (
            torch.load(r / "checkpoints" / name, weights_only=True)["model"] for r in (run, whole)
        )
        assert_equal(ours, expected, name)
    last.write_bytes(b"")
    (run / "checkpoints" / "best.pt").write_bytes(b"")
    (run / "summary.json").unlink()
    ended = cnnrun("train", "--resume", run, "-q")
    assert ended.code == 1
    assert "best.pt: not a readable checkpoint" in ended.err
