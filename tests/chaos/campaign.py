"""`python -m tests.chaos.campaign`: kills, mutated configs, hostile files, by the thousand.

Every case follows from its number: `python -m tests.chaos.campaign files --first NUMBER --count 1`
repeats one of the failures that are printed.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.chaos.bounded import Outcome, in_fork, outcomes
from tests.chaos.kinds import make_config, make_file
from tests.chaos.originals import write_originals

COUNTS = {"kills": 1000, "configs": 10_000, "files": 10_000}


def prepare(originals: Path, patch: pytest.MonkeyPatch, with_sweep: bool = True) -> Path:
    """Write the good files, and import here what every fork would import; returns their folder."""
    import sklearn.datasets
    import torch
    import torch._inductor
    import torchvision  # noqa: F401

    from cnnrun import plots, registry, runner  # noqa: F401
    from cnnrun.config import experiment

    torch.set_num_threads(1)
    # Making the schema takes most of a second; without plug-ins it is always the same.
    patch.setattr(experiment, "experiment_model", cache(experiment.experiment_model))
    patch.setattr(sklearn.datasets, "load_digits", cache(sklearn.datasets.load_digits))
    experiment.experiment_model()
    for kind in registry.KINDS.values():
        kind.names()
    assert in_fork(lambda: write_originals(originals, with_sweep)) == 0
    return originals


class Figures:
    """What became of the cases, and those that went wrong."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Counter[str]] = {}
        self.files: Counter[str] = Counter()
        self.wrong: list[Outcome] = []
        self.most_seconds, self.most_bytes = 0.0, 0

    def count(
        self, found: Iterable[Outcome], until: float = math.inf, most: float = math.inf
    ) -> Figures:
        """Count until so many outcomes, or that time of `time.monotonic`."""
        for outcome in found:
            verdict = outcome.verdict.partition(" (")[0]
            self.verdicts.setdefault(outcome.kind, Counter())[verdict] += 1
            self.files[outcome.kind] += outcome.files
            self.most_seconds = max(self.most_seconds, outcome.seconds)
            self.most_bytes = max(self.most_bytes, outcome.bytes)
            if self.cases % 500 == 0:
                print(f"... {self.cases:,} cases", file=sys.stderr, flush=True)
            if outcome.wrong:
                self.wrong.append(outcome)
                print(_to_text(outcome), flush=True)
            if self.cases >= most or time.monotonic() > until:
                break
        return self

    @property
    def cases(self) -> int:
        return sum(sum(counts.values()) for counts in self.verdicts.values())

    def to_text(self) -> str:
        """A line for each kind, and one for all."""
        lines = [
            f"{kind:24} {sum(counts.values()):6,} cases, {self.files[kind]:6,} files: "
            + ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())
            for kind, counts in self.verdicts.items()
        ]
        lines.append(
            f"{'all':24} {self.cases:6,} cases, {sum(self.files.values()):6,} files: "
            f"{len(self.wrong)} wrong; at most {self.most_seconds:.1f} s of CPU and "
            f"{self.most_bytes / 2**20:,.0f} MB in one"
        )
        return "\n".join(lines)


def _to_text(outcome: Outcome) -> str:
    told = outcome.told.strip()
    return (
        f"--- {outcome.kind}, case {outcome.number}: {outcome.verdict}\n"
        f"    cnnrun {outcome.arguments}\n    {told}\n"
    )


def run(what: str, first: int, count: int, minutes: float, folder: Path) -> Figures:
    """One part of the campaign; its figures."""
    until = time.monotonic() + 60 * minutes
    numbers = range(first, first + count)
    if what == "kills":
        from tests.chaos.stopping import stopped_runs

        return Figures().count(stopped_runs(numbers, folder / "kills"), until, count)
    make = make_config if what == "configs" else make_file
    if not (folder / "originals").exists():
        prepare(folder / "originals", pytest.MonkeyPatch())
    found = outcomes(make, numbers, folder / "originals", folder / what)
    return Figures().count(found, until, count)


def main() -> int:
    """1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=[*COUNTS], help=", ".join(COUNTS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, help="of each; by default 1,000 kills, 10,000 others")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for each at most")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cnnrun-chaos-"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wrong = 0
    for what in given.what:
        started = time.monotonic()
        found = run(what, given.first, given.count or COUNTS[what], given.minutes, folder)
        print(f"{what}: {time.monotonic() - started:.0f} s\n{found.to_text()}\n", flush=True)
        wrong += len(found.wrong)
    print(f"{wrong} wrong; their folders are in {folder}" if wrong else "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
