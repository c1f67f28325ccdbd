"""The public door for plug-ins keeps its names: people's files import them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnrun import plugin
from cnnrun.registry import KINDS

_NAMES = """
Annealed Augmentation Classify Dataset Draws Figure Geometric Images LabelSets Labels Logger Masks
Metric Mixing Multilabel Named Nested Photometric Predictions Reconstruct Regress Row Sampler
Schedule Segment Split Target Task TrainingStep UserError Values activations augmentations datasets
identity initializers loggers losses models new_axes new_figure optimizers per_image plots schedules
softmax styled tasks trained_network
"""
NAMES = str.split(_NAMES)


def test_the_names_stay() -> None:
    """A name may be added here; one that is taken away breaks other people's files."""
    assert plugin.__all__ == NAMES
    for name in NAMES:
        assert getattr(plugin, name) is not None


def test_every_kind_of_component_can_be_registered_through_it() -> None:
    offered = [getattr(plugin, name) for name in NAMES]
    assert all(any(registry is one for one in offered) for registry in KINDS.values())


def test_a_name_that_it_lacks_is_answered_with_those_that_it_has() -> None:
    with pytest.raises(ImportError):
        from cnnrun.plugin import nothing  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(AttributeError, match="has no 'nothing'; it has Annealed"):
        plugin.nothing  # noqa: B018


@pytest.mark.slow
def test_a_plug_in_without_plots_loads_no_matplotlib() -> None:
    code = "import sys; from cnnrun.plugin import losses; print('matplotlib' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_tasks_and_loggers_that_say_pictures_are_still_heard() -> None:
    class Older(plugin.Classify):
        pictures = (*plugin.Classify.pictures, "embedding")

    class Newer(Older):
        plots = (*Older.plots, "filters")

    class Kept(plugin.Logger):
        def picture(self, name: str, file: Path) -> None:
            heard.append((name, file))

    heard: list[tuple[str, Path]] = []
    assert Older.plots == (*plugin.Classify.plots, "embedding")
    assert Newer.plots == Newer.pictures == (*Older.plots, "filters")
    Kept().plot("curves", Path("curves.png"))
    assert heard == [("curves", Path("curves.png"))]


def test_a_task_that_says_in_words_is_still_asked() -> None:
    class Older(plugin.Classify):
        def in_words(self, scores: dict[str, Any]) -> str:
            return f"{len(super().in_words(scores)) > 0} of mine"

    class Newer(Older):
        def to_text(self, scores: dict[str, Any]) -> str:
            return f"still {super().to_text(scores)}"

    scores = {"loss": 1.0, "accuracy": 0.5, "per_class": [], "unanswered": 0}
    assert Older().to_text(scores) == Older().in_words(scores) == "True of mine"
    assert Newer().to_text(scores) == Newer().in_words(scores) == "still True of mine"
