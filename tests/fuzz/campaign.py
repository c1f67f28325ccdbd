"""Many experiments, each in forks of a process that has imported everything."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import HANGS
from tests.fuzz import ways
from tests.fuzz.experiments import experiment, write_images
from tests.fuzz.ways import Outcome

# Of one experiment in all ways: it takes two to ten; a busy machine may be much slower.
SECONDS = HANGS


def campaign(first: int, count: int) -> list[str]:
    """Try `count` experiments; prints failures as minimal configs and, at the end, the figures.

    Returns: the failures.
    """
    _import_everything()
    failures: list[str] = []
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        images = write_images(Path(name) / "images")
        for number in range(first, first + count):
            values = experiment(number, images)
            outcome = attempt(values, Path(name))
            counts["refused" if outcome.refused else "trained"] += 1
            counts.update(f"{way} compared" for way in outcome.compared)
            counts.update(f"{text.partition(':')[0]} declined" for text in outcome.declined)
            if outcome.problems:
                smaller = _smaller(values, outcome, Path(name))
                failures.append(f"experiment {number}: {outcome.problems[0]}\n{_yaml(smaller)}")
                print(failures[-1], flush=True)
    print(f"experiments {first} to {first + count - 1}: {len(failures)} failures")
    print(", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    return failures


def attempt(values: dict[str, Any], parent: Path) -> Outcome:
    """All ways of one experiment."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        outcome = in_fork(lambda: ways.differences(copy.deepcopy(values), folder), folder)
        if not outcome.refused and not outcome.problems:
            _with_two(values, folder, outcome)
        return outcome


def in_fork(work: Callable[[], Outcome], folder: Path) -> Outcome:
    """What the work comes to in a process of its own."""
    file = folder / "outcome.json"
    code = _ended([_forked(lambda: file.write_text(json.dumps(asdict(work()))))])[0]
    if code is None:
        return Outcome(problems=[f"hangs: not finished after {SECONDS} s"])
    if not file.exists():
        return Outcome(problems=[f"crashed: exit code {code}"])
    return Outcome(**json.loads(file.read_text()))


def _with_two(values: dict[str, Any], folder: Path, outcome: Outcome) -> None:
    """Train once more, in two processes."""
    port = ways.free_port()
    pids = [_forked(lambda rank=rank: ways.be_rank(folder, rank, port)) for rank in (0, 1)]
    codes = _ended(pids)
    said = [ways.said_by(folder, rank).strip() for rank in (0, 1)]
    if None in codes:
        outcome.problems.append(f"two processes: hang; {said}")
    elif any(map(ways.is_a_bug, said)):
        outcome.problems.append(f"two processes: {said}")
    elif any(codes):
        outcome.declined.append(f"two processes: {said[0]}")
    else:
        outcome.problems += ways.compare_two(values, folder)
        outcome.compared.append("two processes")


def _forked(work: Callable[[], Any]) -> int:
    """The id of a process that does the work and ends."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _ended(pids: list[int]) -> list[int | None]:
    """Exit codes; None of those that had to be killed."""
    codes: dict[int, int | None] = {}
    deadline = time.monotonic() + SECONDS
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    codes[pid] = None
        time.sleep(0.01)
    return [codes[pid] for pid in pids]


def _smaller(values: dict[str, Any], outcome: Outcome, parent: Path) -> dict[str, Any]:
    """The fewest keys with which the same way still fails."""
    way = outcome.problems[0].partition(":")[0]
    for path in list(_optional(values)):
        tried = copy.deepcopy(values)
        place = tried
        for key in path[:-1]:
            place = place.get(key, {})
        if path[-1] not in place:
            continue
        del place[path[-1]]
        if any(p.startswith(way) for p in attempt(tried, parent).problems):
            values = tried
    return values


_NEEDED = {"name", "root", "seed", "task", "dataset", "batch_size", "model"} | {
    *("optimizer", "milestones", "training", "epochs")
}


def _optional(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of keys that an experiment may do without, sections before what is in them."""
    for key, value in values.items():
        if key not in _NEEDED:
            yield (*path, key)
        if isinstance(value, dict):
            yield from _optional(value, (*path, key))


def _yaml(values: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    return text


def _import_everything() -> None:
    """What a training imports, so that forks start at once."""
    import sklearn.datasets  # noqa: F401
    import torch._inductor  # noqa: F401  (an optimizer's first step imports it)

    from cnnrun import plots, registry, runner  # noqa: F401

    for kind in registry.KINDS.values():
        kind.names()
