"""What went wrong for people with plots in other tools, as users of this one."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "Qt5Agg"])
def test_no_backend_of_the_environment_stops_a_run(
    cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """What a notebook or a desktop left in the environment; matplotlib itself refuses it."""
    monkeypatch.setenv("MPLBACKEND", backend)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("DISPLAY", raising=False)
    ended = cnnrun("train", tiny, "-q", "training.epochs=1", "training.draw=true")
    assert ended.code == 0, ended.err
    assert "was not drawn" not in ended.err
    drawn = cnnrun("viz", "confusion", ended.out.strip(), "-o", "c.png")
    assert drawn.code == 0, drawn.err
    assert Path("c.png").stat().st_size > 1000


def test_a_plot_that_fails_costs_no_trained_model(
    cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnrun.plots import style

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(style.Figure, "savefig", refuse)
    ended = cnnrun("train", tiny, "-q", "training.epochs=1", "training.draw=true")
    assert ended.code == 0, ended.err
    assert "the plot 'curves' was not drawn: " in ended.err
    assert "No space left on device" in ended.err
    run = Path(ended.out.strip())
    assert json.loads((run / "summary.json").read_text())["test"]["accuracy"] > 0
    assert (run / "checkpoints" / "best.pt").is_file()


@pytest.mark.slow
def test_a_thousand_classes(cnnrun: Command, tmp_path: Path) -> None:
    """1,000 folders of one random image each: seconds, and every number in the JSON."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for k in range(1000):
            folder = tmp_path / "D" / split / f"c{k:03}"
            folder.mkdir(parents=True)
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "0.png")
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: folder, root: D, cache_dir: cache, validation: 0}\n"
        "model: {name: mlp, hidden: [8]}\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("train", "x.yaml", "-q")
    assert ended.code == 0, ended.err
    run = ended.out.strip()
    started = time.process_time()
    assert cnnrun("viz", "confusion", run).code == 0
    assert time.process_time() - started < 10
    with Image.open(Path(run) / "plots" / "confusion.png") as drawn:
        assert max(drawn.size) < 5000
    scores = json.loads(cnnrun("eval", run, "--json").out)
    assert np.asarray(scores["confusion"]).shape == (1000, 1000)
    assert np.asarray(scores["confusion"]).sum() == 1000
    assert len(scores["per_class"]) == 1000
    text = cnnrun("eval", run).out
    assert len(text.splitlines()) < 1100


@pytest.mark.slow
def test_many_plots_leave_no_figure_open(cnnrun: Command, tiny: Path) -> None:
    run = cnnrun("train", tiny, "-q", "training.epochs=1").out.strip()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert cnnrun("viz", "curves", run, "-o", "c.png").code == 0
    import matplotlib._pylab_helpers as opened

    assert opened.Gcf.get_num_fig_managers() == 0
