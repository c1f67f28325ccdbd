"""What tests with files of strangers share: bounded memory, and what a refusal looks like."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from cnnrun.config import experiment as config
from cnnrun.runner import finishing
from tests.conftest import Result

# Above what the process holds already.
_MEMORY = 3 * 2**30
_schema = cache(config.experiment_model)


@contextmanager
def bounded(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block, what needs more memory fails.

    The schema is always the same, and a run's plots are not the point: both are spared.
    """
    import torchvision  # noqa: F401  (libraries count, and are none of the file's doing)

    patch.setattr(config, "experiment_model", _schema)
    patch.setattr(finishing, "draw_plots", lambda *_: None)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def refused(ended: Result, *fragments: str) -> None:
    """One short message that says so, and nothing that was run or written."""
    assert ended.code in (1, 2), ended.err
    assert "Traceback" not in ended.err
    assert "a bug" not in ended.err, ended.err
    for fragment in fragments:
        assert fragment in ended.err, ended.err
    assert len(ended.err) < 2000
    assert not Path("pwned").exists()
