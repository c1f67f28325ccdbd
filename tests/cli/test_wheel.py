"""The wheel, as someone who has no checkout installs it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import CONFIGS, REPOSITORY


@pytest.mark.slow
def test_the_wheel_trains_a_shipped_config_from_any_directory(tmp_path: Path) -> None:
    """Built by `python -m build`; the new environment sees the libraries installed here by a path
    file, and cnnrun only by the wheel."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    report = [REPOSITORY.joinpath("cnnrun/report", folder) for folder in ("assets", "templates")]
    files = {f.relative_to(REPOSITORY).as_posix() for folder in report for f in folder.iterdir()}
    assert {"cnnrun/report/assets/uPlot.js", "cnnrun/report/templates/page.html"} <= files <= inside
    for config in CONFIGS.rglob("*.yaml"):
        assert f"cnnrun/configs/{config.relative_to(CONFIGS).as_posix()}" in inside

    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    libraries = Path(sysconfig.get_path("purelib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / version / "site-packages"
    (site / "libraries.pth").write_text(f"{libraries}\n")
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall"]
    subprocess.run([*install, wheel], check=True, capture_output=True)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: object) -> str:
        return subprocess.run(
            [str(word) for word in command],
            cwd=elsewhere,
            env=clean,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    where = run(python, "-c", "import cnnrun; print(cnnrun.__file__)")
    assert Path(where).is_relative_to(environment)
    command = environment / "bin" / "cnnrun"
    trained = run(command, "train", "digits_cnn", "training.epochs=2", "-q")
    assert trained.startswith("runs/digits_cnn/")
    assert "accuracy" in run(command, "eval", trained)
    assert run(command, "report", trained).endswith(".html")
