"""kill -9 and signals at any instant: the run goes on to the bits of one that was never stopped."""

from __future__ import annotations

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.runs import CONFIG, assert_same_end, start
from tests.chaos.stopping import CONFIGS, Stopper, short
from tests.conftest import HANGS, Start


def _stopper(forked: Start, folder: Path, config: str = short(CONFIG)) -> Stopper:
    return Stopper(folder, partial(forked, folder, "train", "-q"), config)


@pytest.mark.slow
def test_a_run_killed_four_times_ends_at_the_same_bits(forked: Start, tmp_path: Path) -> None:
    stopper = _stopper(forked, tmp_path)
    done = [stopper.stop_and_compare(2, random.Random(seed), kills=1) for seed in (3, 4)]
    assert any("SIGKILL" in what for stops in done for what in stops)


@pytest.mark.slow
def test_a_run_that_was_signalled_ends_at_the_same_bits(forked: Start, tmp_path: Path) -> None:
    stopper = _stopper(forked, tmp_path)
    for seed in range(3):
        stopper.stop_and_compare(2, random.Random(seed), kills=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_runs_that_draw_their_plots(forked: Start, tmp_path: Path, name: str) -> None:
    stopper = _stopper(forked, tmp_path, CONFIGS[name].replace("epochs: 3", "epochs: 2"))
    stopper.stop_and_compare(3, random.Random(name))


@pytest.mark.slow
def test_the_installed_command(tmp_path: Path) -> None:
    stopper = Stopper(tmp_path, partial(start, tmp_path, "train", "-q"), short(CONFIG))
    stopper.stop_and_compare(1, random.Random(1), kills=1)


@pytest.mark.slow
def test_ctrl_c_while_the_command_starts_and_ends(tmp_path: Path) -> None:
    """Also during the imports and while Python ends: no traceback, at most one line."""
    draw = random.Random(0)
    for _ in range(12):
        process = start(tmp_path, "list", "models")
        time.sleep(draw.uniform(0, 0.6))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=HANGS)
        assert process.returncode in {0, 130, -signal.SIGINT}, err
        assert err in {"", "error: interrupted\n"}


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_starts_over(
    forked: Start, tmp_path: Path
) -> None:
    """What is left then: the directory, the config, perhaps a row of the log."""
    stopper = _stopper(forked, tmp_path)
    whole = stopper.whole
    run = tmp_path / "runs" / "chaos" / "killed"
    (run / "checkpoints").mkdir(parents=True)
    (run / "plots").mkdir()
    (run / "checkpoints" / ".last.pt-abc.unfinished").write_bytes(b"half")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "lo')
    (run / "config.yaml").write_text((whole / "config.yaml").read_text())
    (run / "environment.json").write_text("{}")
    assert stopper.finish("--resume", run) == run
    assert_same_end(run, whole)
