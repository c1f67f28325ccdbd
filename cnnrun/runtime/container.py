"""A container's limits: control groups, version 2 and the older 1."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cores() -> int:
    """CPU cores that this process may use: its affinity, or a smaller quota."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def cpu_quota() -> float | None:
    """The smallest CPU quota of this process's control groups, in cores; None without one."""
    quotas = []
    for folder in _folders("cpu"):
        limit, _, period = _text(folder / "cpu.max").partition(" ")
        if not limit:
            limit, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if limit.isdecimal() and period.isdecimal() and int(period):  # else `max`, or -1
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def memory_left() -> int | None:
    """Bytes that this process's control groups still allow; None without a limit."""
    left = []
    for folder in _folders("memory"):
        for most, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, taken = _text(folder / most), _text(folder / used)
            # Without a limit, version 1 has a number near 2**63.
            if limit.isdecimal() and taken.isdecimal() and int(limit) < 2**60:
                left.append(max(0, int(limit) - int(taken)))
    return min(left, default=None)


def _folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, from its own to the root."""
    for line in _text(_OWN).splitlines():
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if controllers and controller not in controllers.split(","):
            continue
        # Version 2 has one tree; version 1 one for each controller, by one of these names.
        for root in {_GROUPS / controllers, _GROUPS / controller} if controllers else {_GROUPS}:
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(parts), -1, -1):
                yield root.joinpath(*parts[:depth])


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""
