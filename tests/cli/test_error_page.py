"""Each documented error is provoked through the command line; each error in the code is tested."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from cnnrun import runner
from cnnrun.config import experiment as config
from cnnrun.runner import finishing
from tests.conftest import REPOSITORY, Command
from tests.errors import Case
from tests.errors.page import SECTIONS, page

CONFIG = """\
dataset: {name: digits, limit: 60}
model: {name: MODEL}
optimizer: {name: sgd, lr: 0.01}
device: cpu
training: {epochs: 1}
"""
CASES = [case for cases in SECTIONS.values() for case in cases]
_schema = cache(config.experiment_model)

pytestmark = pytest.mark.usefixtures("no_component_outlives_its_test")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all cases begin with."""
    folder = tmp_path_factory.mktemp("room")
    (folder / "x.yaml").write_text(CONFIG.replace("MODEL", "mlp, hidden: [4]"))
    (folder / "cnn.yaml").write_text(CONFIG.replace("MODEL", "cnn, channels: [4, 4]"))
    (folder / "p.yaml").write_text(
        "dataset: {name: folder, root: images, cache_dir: cache}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\ntraining: {epochs: 1}\n"
    )
    for name in "ab":
        (folder / "images" / name).mkdir(parents=True)
        for i in range(8):
            Image.new("L", (8, 8), 30 * i).save(folder / "images" / name / f"{i}.png")
    Image.new("L", (9, 9)).save(folder / "big.png")
    changes = {"run": [], "coder": ["task=reconstruct", "model={name: linear_autoencoder, code: 3}",
                                    "loss=mse"]}  # fmt: skip
    for name, overrides in changes.items():
        experiment = config.load(folder / "x.yaml", [*overrides, f"output={folder}/runs"])
        shutil.move(runner.train(experiment, quiet=True).path, folder / name)
    shutil.rmtree(folder / "runs")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema of what is built in is always the same; a run's plots are not the point."""
    monkeypatch.setattr(finishing, "draw_plots", lambda *_: None)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


def _pattern(says: str) -> str:
    return ".*".join(map(re.escape, says.split("…")))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says[:50])
def test_each_documented_error_is_said(
    cnnrun: Command, room: Path, tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "plugins" not in case.command:
        monkeypatch.setattr(config, "experiment_model", _schema)
    for package in case.without:
        monkeypatch.setitem(sys.modules, package, None)
    shutil.copytree(room, tmp_path, dirs_exist_ok=True)
    case.files(tmp_path)
    ended = cnnrun(*shlex.split(case.command))
    assert ended.code == case.code, ended.err
    assert re.search(_pattern(case.says), ended.err, re.DOTALL), ended.err
    assert "Traceback" not in ended.err
    assert "a bug" not in ended.err, ended.err
    assert not (tmp_path / "pwned").exists()


def test_the_page_is_written_from_the_cases() -> None:
    """`python -m tests.errors > docs/errors.md` writes it."""
    assert (REPOSITORY / "docs" / "errors.md").read_text() == page()
    assert len({case.says for case in CASES}) == len(CASES)
    assert all(case.means and case.do for case in CASES)


# Every error in the code --------------------------------------------------------------------------

# So many letters in a row of a message, as a test has them, are no coincidence.
_RUN = 14
UNTESTED = {
    # text in the code: why no test here can provoke it
    "device mps: not available here": "needs a Mac",
    "another one ended": "needs processes that die under torchrun",
    "labels of the … split go from … to …; there are": "no data set of torchvision's has such",
    "can't be built for … images": "what timm can't build changes with timm",
    "has no split '…'… (it has": "needs the hub, or seconds of imports",
    "torch can't export this network's graph": "no network here that torch can't export",
    "torch can't trace this network": "no network here that torch can't trace",
    "can't connect to the Ray cluster": "needs Ray",
    "this plot needs at least 2 test images": "no split is so small that its plot is not drawn",
}


def _errors() -> Iterator[tuple[str, str]]:
    """The place and the text of each error that the package raises; `…` for what varies."""
    names = {"UserError", "ConfigError", "Interrupted", "error"}
    for file in sorted((REPOSITORY / "cnnrun").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args:
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if called in names:
                    yield f"{file.relative_to(REPOSITORY)}:{node.lineno}", _template(node)


def _template(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.Call):
        return "…".join(map(_template, node.args))
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return "…"


def _runs(text: str) -> set[str]:
    return {text[i : i + _RUN] for i in range(len(text) - _RUN + 1)}


def _said_in_tests() -> set[str]:
    """Every run of letters in a text of the tests, escapes of patterns left out."""
    found: set[str] = set()
    for file in (REPOSITORY / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= _runs(node.value.replace("\\", ""))
    return found


def test_every_error_in_the_code_is_tested() -> None:
    said, known = _said_in_tests(), set[str]()
    missing, count = [], 0
    for place, text in _errors():
        own = {run for run in _runs(text) if "…" not in run}
        excused = [words for words in UNTESTED if words in text]
        known |= {*excused}
        if not own or excused:
            continue  # words that come from elsewhere, with a place put before them
        count += 1
        if not own & said:
            missing.append(f"{place}: {text}")
    assert count > 150
    assert not missing, "\n".join(missing)
    assert known == set(UNTESTED), "these are not in the code any more"
