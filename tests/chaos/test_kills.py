"""kill -9 at any instant: the run goes on to the bits of one that was never stopped."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.runs import assert_same_end, finish, start, write_config

KILLS = int(os.environ.get("CNNRUN_CHAOS_KILLS", "50"))


def _wait_for(process: subprocess.Popen[str], folder: Path, pattern: str) -> bool:
    """Until a file of that name is there; False if the process ends before."""
    while process.poll() is None:
        if any(folder.glob(pattern)):
            return True
        time.sleep(0.001)
    return False


def _kill_somewhere(process: subprocess.Popen[str], folder: Path, draw: random.Random) -> str:
    """Kill it in one of its phases: what was going on, or `ended` if it was quicker."""
    phase = draw.choice(["start", "first files", "writing", "writing", "training", "training"])
    known = set(folder.glob("runs/*/*/checkpoints/.*"))
    if phase == "start":
        time.sleep(draw.uniform(0, 3))
    elif phase == "first files":
        if not _wait_for(process, folder, "runs/chaos/*"):
            return "ended"
        time.sleep(draw.uniform(0, 0.05))
    elif phase == "training":
        if not _wait_for(process, folder, "runs/chaos/*/checkpoints/last.pt"):
            return "ended"
        time.sleep(draw.uniform(0, 0.7))
    else:
        while process.poll() is None and set(folder.glob("runs/*/*/checkpoints/.*")) <= known:
            pass
        time.sleep(draw.uniform(0, 0.005))
    process.kill()
    return phase if process.wait() == -9 else "ended"


def _killed_again_and_again(
    folder: Path, kills: int, of_each_run: list[int], seed: int
) -> Counter[str]:
    """One run after another, killed and gone on with, until so many kills were dealt.

    of_each_run: after how many kills a run may end; chosen anew for each.
    """
    config = write_config(folder)
    whole = finish(folder, config, "output=whole")
    draw = random.Random(seed)
    done: Counter[str] = Counter()
    while done.total() < kills:
        for old in folder.glob("runs/chaos/*"):
            old.rename(folder / f"finished-{old.name}")
        run = None
        for _ in range(min(draw.choice(of_each_run), kills - done.total())):
            process = start(folder, *(["--resume", run] if run else [config]))
            phase = _kill_somewhere(process, folder, draw)
            _, err = process.communicate()
            assert "Traceback" not in err
            if phase == "ended":
                assert process.returncode == 0, err
                break
            done[phase] += 1
            run = next(folder.glob("runs/chaos/*"), None)
            if run and not (run / "config.yaml").is_file():
                refused = start(folder, "--resume", run)
                assert "not a run directory (no config.yaml" in refused.communicate()[1]
                assert refused.returncode == 1
                run.rename(folder / f"stillborn-{run.name}")
                run = None
        end = finish(folder, *(["--resume", run] if run else [config]))
        assert_same_end(end, whole)
    return done


def test_a_run_killed_three_times_ends_at_the_same_bits(tmp_path: Path) -> None:
    assert _killed_again_and_again(tmp_path, 3, [3], seed=3).total() == 3


@pytest.mark.slow
def test_50_kills(tmp_path: Path) -> None:
    done = _killed_again_and_again(tmp_path, KILLS, [1, 2, 4], seed=0)
    print(done)
    assert len(done) == 4


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    """What is left then: the directory, the config, perhaps a row of the log."""
    config = write_config(tmp_path)
    whole = finish(tmp_path, config, "training.epochs=1", "output=whole")
    run = tmp_path / "runs" / "chaos" / "killed"
    (run / "checkpoints").mkdir(parents=True)
    (run / "plots").mkdir()
    (run / "checkpoints" / ".last.pt-abc.unfinished").write_bytes(b"half")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "lo')
    text = (whole / "config.yaml").read_text()
    (run / "config.yaml").write_text(text)
    assert finish(tmp_path, "--resume", run) == run
    assert_same_end(run, whole)
