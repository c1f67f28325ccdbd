"""Limits of containers, read from trees of files as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnnrun.runtime import container, memory

GB = 2**30
NO_LIMIT = str(2**63 - 4096)

# (own groups, files, cores or None, bytes left or None)
TREES = {
    "no groups": ("", {}, None, None),
    "version 2, no limits": (
        "0::/\n",
        {"cpu.max": "max 100000", "memory.max": "max", "memory.current": "5"},
        None,
        None,
    ),
    "version 2, in a container": (
        "0::/\n",
        {"cpu.max": "150000 100000", "memory.max": f"{2 * GB}", "memory.current": f"{GB}"},
        1.5,
        GB,
    ),
    "version 2, a group within a group": (
        "0::/a.slice/b.scope\n",
        {
            "a.slice/cpu.max": "100000 100000",
            "a.slice/b.scope/cpu.max": "400000 100000",
            "a.slice/memory.max": f"{3 * GB}",
            "a.slice/memory.current": f"{GB}",
            "a.slice/b.scope/memory.max": "max",
            "a.slice/b.scope/memory.current": "1",
        },
        1.0,
        2 * GB,
    ),
    "version 1": (
        "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n",
        {
            "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "200000",
            "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
            "memory/docker/x/memory.limit_in_bytes": f"{GB}",
            "memory/docker/x/memory.usage_in_bytes": f"{GB // 2}",
        },
        2.0,
        GB // 2,
    ),
    "version 1, the container's own tree": (
        "5:cpuacct,cpu:/docker/x\n4:memory:/docker/x\n",
        {
            "cpu/cpu.cfs_quota_us": "50000",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": f"{GB}",
            "memory/memory.usage_in_bytes": f"{2 * GB}",
        },
        0.5,
        0,
    ),
    "version 1, no limits": (
        "5:cpu,cpuacct:/\n4:memory:/\n",
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": NO_LIMIT,
            "memory/memory.usage_in_bytes": "5",
        },
        None,
        None,
    ),
    "nonsense": ("x\n::\n0::/../..\n", {"cpu.max": "", "memory.max": "lots"}, None, None),
}


@pytest.mark.parametrize("name", TREES)
def test_the_least_limit_around_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    own, files, quota, left = TREES[name]
    (tmp_path / "own").write_text(own)
    for path, text in files.items():
        file = tmp_path / "groups" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    monkeypatch.setattr(container, "_OWN", tmp_path / "own")
    monkeypatch.setattr(container, "_GROUPS", tmp_path / "groups")
    assert container.cpu_quota() == quota
    assert container.memory_left() == left
    if left is not None:
        assert memory.free_bytes() <= left


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.1, 1), (2.0, 2), (2.5, 3), (99.0, 8)])
def test_a_quota_counts_where_it_is_less_than_the_affinity(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(container, "cpu_quota", lambda: quota)
    assert container.cores() == cores


def test_threads_keep_to_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from cnnrun.runtime.device import select_device

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(6)
        monkeypatch.setattr(container, "cpu_quota", lambda: 3.2)
        monkeypatch.setenv("OMP_NUM_THREADS", "6")
        select_device("cpu")
        assert torch.get_num_threads() == 6, "asked for"
        monkeypatch.delenv("OMP_NUM_THREADS")
        select_device("cpu")
        assert torch.get_num_threads() == 4
        monkeypatch.setattr(container, "cpu_quota", lambda: None)
        select_device("cpu")
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
