"""`training.compile: cuda_graphs`, as far as a machine without a GPU can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cnnrun.config.experiment import from_dict
from cnnrun.engine.build import build
from cnnrun.engine.compiling import compiled, recorded
from cnnrun.errors import ConfigError
from tests.conftest import Command

CNN: dict[str, Any] = {
    "name": "cnn",
    "dataset": "digits",
    "model": {"name": "cnn", "channels": [4, 8], "batch_norm": True, "head": [8], "dropout": 0.2},
}


@pytest.mark.slow
def test_a_recorded_model_has_the_numbers_of_the_plain_one() -> None:
    """On a CPU torch records nothing, but takes the model apart and together in the same way."""
    plain = build(from_dict(CNN, "here")).model.train()
    model = recorded(plain)
    for count in (20, 7, 20):  # the last batch is another shape
        inputs = torch.randn(count, 1, 8, 8)
        found = []
        for each in (plain, model):
            torch.manual_seed(count)
            outputs = each(inputs)
            outputs.square().sum().backward()
            gradients = [p.grad for p in plain.parameters() if p.grad is not None]
            found.append([outputs.detach(), *gradients])
            plain.zero_grad()
        assert len(found[0]) == len(list(plain.parameters())) + 1
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_cuda_graphs_need_a_gpu_and_whole_batches(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("train", tiny, "training.compile=cuda_graphs", "device=cpu")
    assert ended.code == 2
    assert "training.compile: cuda_graphs needs a CUDA GPU, and this is cpu" in ended.err
    for key, value in (("accumulate", 2), ("auto_batch", True)):
        values = {**CNN, "training": {"compile": "cuda_graphs", key: value}}
        with pytest.raises(ConfigError, match=f"{key}: cuda_graphs need each batch in one piece"):
            compiled(nn.Identity(), from_dict(values, "here"), torch.device("cuda"))


def test_without_a_compiler_it_is_told_before_the_first_step(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = cnnrun("train", tiny, "training.compile=true", "-q")
    assert ended.code == 2
    assert "training.compile: torch compiles with g++, which is not installed here" in ended.err
    assert ended.err.count("\n") == 1
    monkeypatch.setenv("CXX", "absent-compiler")
    assert "absent-compiler" in cnnrun("check", tiny, "training.compile=true").err
