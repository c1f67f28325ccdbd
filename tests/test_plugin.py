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


class Mixin:
    """What a plug-in's tasks may share: no task itself."""

    def begin_epoch(self, *given: Any) -> bool:
        heard.append("mixin")
        return bool(super().begin_epoch(*given))  # type: ignore[misc]


heard: list[Any] = []


def test_tasks_by_former_names_do_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    base: Any = plugin.Classify

    class Older(base):  # type: ignore[misc]
        measures = (*base.measures, "top3")
        pictures = (*base.pictures, "embedding")

        def in_words(self, scores: dict[str, Any]) -> str:
            return f"{len(super().in_words(scores)) > 0} of mine"

        def begin_epoch(self, *given: Any) -> bool:
            heard.append("older")
            return bool(super().begin_epoch(*given))

    class Newer(Older):
        epoch_metrics = (*Older.epoch_metrics, "top2")
        plots = (*Older.plots, "filters")

        def to_text(self, scores: dict[str, Any]) -> str:
            return f"still {super().to_text(scores)}"

        def start_epoch(self, *given: Any) -> bool:
            heard.append("newer")
            return bool(super().start_epoch(*given))

    class Mixed(Mixin, Older):
        pass

    told = capsys.readouterr().err
    for former, name in (
        ("measures", "epoch_metrics"),
        ("pictures", "plots"),
        ("in_words", "to_text"),
        ("begin_epoch", "start_epoch"),
    ):
        for kind in (base, Older, Newer, Mixed):
            assert getattr(kind, former) == getattr(kind, name)
        assert told.count(f"Older.{former} is called {name} now") == 1
        assert f"Newer.{former}" not in told
    assert Older.epoch_metrics == ("loss", "accuracy", "top3")
    assert Newer.plots == (*base.plots, "embedding", "filters")
    scores = {"loss": 1.0, "accuracy": 0.5, "per_class": [], "unanswered": 0}
    assert Older().to_text(scores) == "True of mine"
    assert Newer().in_words(scores) == "still True of mine"
    heard.clear()
    for kind in (Older, Newer, Mixed):
        assert kind().start_epoch(None, None, 0, 1) is False
    assert heard == ["older", "newer", "older", "mixin", "older"]


def test_loggers_by_former_names_do_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    class Kept(plugin.Logger):
        def begin(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
            heard.append((run, config, known))
            return {"epochs": 3}

        def picture(self, name: str, file: Path) -> None:
            heard.append((name, file))

    told = capsys.readouterr().err
    assert "Kept.begin is called start now; both are understood" in told
    assert "Kept.picture is called plot now" in told
    heard.clear()
    assert Kept().start(Path("run"), {}, {}) == {"epochs": 3}
    Kept().plot("curves", Path("curves.png"))
    assert heard == [(Path("run"), {}, {}), ("curves", Path("curves.png"))]
    with pytest.raises(NotImplementedError):
        plugin.Logger().start(Path("run"), {}, {})
