"""What went wrong for people with checkpoints in other tools, as users of this one."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import Command, Start
from tests.quick_fork import Fork


@pytest.fixture
def run(cnnrun: Command, tiny: Path) -> Path:
    ended = cnnrun("train", tiny, "-q", "training.epochs=1")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def test_names_of_wrapped_models(cnnrun: Command, run: Path) -> None:
    """Four wrappings of one model give four equal results; names of another model are refused."""
    whole = json.loads(cnnrun("eval", run, "--json").out)
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)

    def under(prefix: str) -> str:
        model = {prefix + key: value for key, value in content["model"].items()}
        torch.save({**content, "model": model}, "wrapped.pt")
        return "wrapped.pt"

    for prefix in ("module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."):
        ended = cnnrun("eval", under(prefix), "--json")
        assert ended.code == 0, ended.err
        assert json.loads(ended.out) == {**whole, "checkpoint": "wrapped.pt"}
    ended = cnnrun("eval", under("x."))
    assert ended.code == 1
    assert "missing: features.1.weight" in ended.err
    assert "unexpected: x.features.1.weight" in ended.err
    partly = dict(list(content["model"].items())[:-1])
    torch.save({**content, "model": partly}, "partly.pt")
    assert "missing: head.bias" in cnnrun("eval", "partly.pt").err


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("class_counts", [2**70] * 10, "class_counts.0"),
        ("class_counts", [-1] * 10, "class_counts.0"),
        ("model", {"head.bias": 0.5}, "head.bias is not a tensor"),
        ("raw", {"head.bias": None}, "head.bias is not a tensor"),
    ],
)
def test_fields_of_other_values_are_named(
    cnnrun: Command, run: Path, field: str, value: object, told: str
) -> None:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    torch.save({**content, field: value}, "other.pt")
    ended = cnnrun("eval", "other.pt")
    assert ended.code == 1
    assert f"other.pt: not a whole checkpoint of cnnrun ({told}" in ended.err


@pytest.mark.parametrize("data", [{"trained_on": 3}, {"trained_on": [0.5]}, {}])
def test_what_it_was_trained_on_may_be_anything(cnnrun: Command, run: Path, data: object) -> None:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    torch.save({**content, "data": data}, "other.pt")
    ended = cnnrun("eval", "other.pt")
    assert "a bug" not in ended.err


def test_every_file_that_is_written_is_plain(cnnrun: Command, tiny: Path) -> None:
    """Whatever the state: averages, momentum, a scheduler that counts, a stop before the end."""
    run = cnnrun("train", tiny, "-q", "training.ema=0.9", "schedule={name: plateau}",
                 "optimizer=adam", "dataset.augment=[mixup]").out.strip()  # fmt: skip
    files = [*Path(run).rglob("*.pt")]
    assert len(files) == 2
    for file in files:
        torch.load(file, weights_only=True)


def test_a_checkpoint_of_a_gpu_is_read_without_one(
    cnnrun: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored tensors that say `cuda:0`, as a GPU's are: made here by renaming a CPU's."""
    import torch.serialization

    whole = json.loads(cnnrun("eval", run, "--json").out)
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(content, tmp_path / "gpu.pt")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load("gpu.pt", weights_only=True)
    ended = cnnrun("eval", "gpu.pt", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {**whole, "checkpoint": "gpu.pt"}
    shutil.copy("gpu.pt", run / "checkpoints" / "last.pt")
    shutil.copy("gpu.pt", run / "checkpoints" / "best.pt")
    assert cnnrun("train", "--resume", run, "training.epochs=2").code == 0


def test_a_gpu_that_is_not_there_is_never_replaced_in_silence(
    cnnrun: Command, tiny: Path, run: Path
) -> None:
    for device in ("cuda:7", *(() if torch.cuda.is_available() else ("cuda",))):
        for command in (("train", tiny), ("eval", run), ("check", tiny)):
            ended = cnnrun(*command, f"device={device}")
            assert ended.code == 1
            assert f"device {device}: no such GPU here" in ended.err


def _wait_for(process: Fork, folder: Path, pattern: str) -> Path:
    while process.poll() is None:
        found = next(folder.glob(pattern), None)
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(process.communicate()[1])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("when", ["config.yaml", "checkpoints/best.pt"])
def test_a_signal_saves_and_says_how_to_go_on(
    forked: Start, tmp_path: Path, tiny: Path, number: signal.Signals, code: int, when: str
) -> None:
    """In the first epoch, before any best checkpoint, and later."""
    tiny.write_text(tiny.read_text().replace("epochs: 2, draw: false", "epochs: 4000"))
    process = forked(tmp_path, "train", tiny, "-q")
    _wait_for(process, tmp_path, f"runs/tiny/*/{when}")
    [run] = (tmp_path / "runs" / "tiny").iterdir()
    time.sleep(0.5 if when == "config.yaml" else 0)  # data and model are made in between
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code, err
    assert len((run / "metrics.jsonl").read_text().splitlines()) < 4000
    assert f"resume with\n  cnnrun train --resume {run.relative_to(tmp_path)}" in err
    assert (run / "checkpoints" / "last.pt").is_file()
    if when == "checkpoints/best.pt":
        assert (run / "checkpoints" / "best.pt").is_file()
        assert (run / "plots" / "curves.png").is_file()
    content = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    more = f"training.epochs={content['progress']['epoch'] + 1}"
    again = forked(tmp_path, "train", "--resume", run, "-q", more)
    assert again.wait() == 0, again.communicate()[1]


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_loses_nothing_saved(
    forked: Start, tmp_path: Path, tiny: Path
) -> None:
    """The step that the first one waits for never ends here, until `ends` is there."""
    (tmp_path / "endless.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from cnnrun.engine.trainer import Trainer\n"
        "train_step = Trainer.train_step\n\n\n"
        "def slow(self, *batch):\n"
        "    train_step(self, *batch)\n"
        "    while self.progress.step == 30 and not Path('ends').exists():\n"
        "        time.sleep(0.01)\n\n\n"
        "Trainer.train_step = slow\n"
    )
    process = forked(tmp_path, "train", tiny, "-q", "--plugin", "endless.py")
    run = _wait_for(process, tmp_path, "runs/tiny/*/checkpoints/last.pt").parent.parent
    time.sleep(0.5)
    saved = (run / "checkpoints" / "last.pt").read_bytes()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "the first one waits for the step"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert (run / "checkpoints" / "last.pt").read_bytes() == saved
    (tmp_path / "ends").touch()
    again = forked(tmp_path, "train", "--resume", run, "-q")
    assert again.wait() == 0, again.communicate()[1]
