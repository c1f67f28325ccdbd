"""Saving works anywhere, writes whole files, and keeps nothing in memory."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from cnnrun.errors import UserError
from cnnrun.plots import style
from cnnrun.plots.drawing.images import draw_samples
from cnnrun.plots.style import matplotlib
from tests.plot_reading import (
    GRAY,
    curves,
)


def test_a_saved_plot_is_opaque_and_has_the_size_of_the_figure(tmp_path: Path) -> None:
    figure = draw_samples(GRAY, ["x"] * 12, "t")
    path = style.save(figure, tmp_path / "new folder" / "samples.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == figure.canvas.get_width_height()
        pixels = np.asarray(image.convert("RGBA"))
    assert (pixels[..., 3] == 255).all()
    assert pixels[0, 0, :3].min() > 245
    assert [p.name for p in path.parent.iterdir()] == ["samples.png"]


def test_the_users_own_settings_change_nothing(tmp_path: Path) -> None:
    plain = style.save(curves(3), tmp_path / "plain.png").read_bytes()
    own = {"font.size": 30, "savefig.transparent": True, "axes.grid": False, "savefig.dpi": 30}
    with matplotlib.rc_context(own):
        assert style.save(curves(3), tmp_path / "own.png").read_bytes() == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("ending", [".pdf", ".svg"])
def test_vector_formats(tmp_path: Path, ending: str) -> None:
    path = style.save(curves(3), tmp_path / f"curves{ending}")
    assert path.read_bytes()[:5] in (b"%PDF-", b"<?xml")


def test_another_ending_is_refused_with_those_that_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"curves\.gif.*\.png, \.pdf, \.svg"):
        style.save(curves(1), tmp_path / "curves.gif")


def test_a_failed_save_leaves_the_earlier_plot_and_nothing_else(tmp_path: Path) -> None:
    path = style.save(curves(1), tmp_path / "curves.png")
    before = path.read_bytes()
    full = OSError(28, "No space left on device")
    with (
        mock.patch.object(Path, "replace", side_effect=full),
        pytest.raises(UserError, match=r"curves\.png: can't be written .No space left"),
    ):
        style.save(curves(2), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/curves\.png"):
        style.save(curves(1), tmp_path / "file" / "curves.png")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["module://nope", "nonsense"])
def test_saving_needs_no_display_no_home_and_no_backend(tmp_path: Path, backend: str) -> None:
    code = """
import sys
from cnnrun.plots import style
from cnnrun.plots.drawing.curves import draw_curves
style.save(draw_curves([1], {"loss": {"train": [1.0]}}, [0.1], 1, "日本"), sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLCONFIGDIR")}
    environment |= {"MPLBACKEND": backend, "HOME": "/proc/nobody"}
    command = [sys.executable, "-c", code, str(tmp_path / "curves.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 300


def test_figures_are_freed_once_saved(tmp_path: Path) -> None:
    figure = curves(3)
    style.save(figure, tmp_path / "curves.png")
    alive = weakref.ref(figure)
    del figure
    gc.collect()
    assert alive() is None
