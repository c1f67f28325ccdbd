"""Commands x files of somebody else x what those may never choose: nothing happens of itself."""

from __future__ import annotations

import shlex
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from cnnrun import api
from cnnrun.errors import UserError
from tests.conftest import Command
from tests.report.serving import ask, served
from tests.small_run import small_run as small_run

WEB = "http://127.0.0.1:9/train.tar"
SHARDS = {"name": "webdataset", "train": WEB, "test": WEB, "spool_gb": 1e-9}

# What a config may ask for, and what the refusal names; "" where it is left out without a word.
POWERS: dict[str, tuple[dict[str, Any], str]] = {
    "a plug-in": ({"plugins": ["evil.py"]}, "--plugin evil.py"),
    "a class of a file": ({"dataset": {"name": "own", "target": "evil.py:Set"}}, "dataset.target="),
    "shards from the web": ({"dataset": {**SHARDS, "spool": "mine"}}, f"dataset.train={WEB}"),
    "a data set of a hub": (
        {"dataset": {"name": "huggingface", "path": "somebody/set"}},
        "dataset.path=somebody/set",
    ),
    "a folder to download to": (
        {"dataset": {"name": "kmnist", "root": "mine", "download": True}},
        "",
    ),
    "downloads by default": ({"dataset": {"name": "cifar10", "root": "mine"}}, ""),
    "a spool among other files": (
        {"dataset": {"name": "webdataset", "train": "t.tar", "test": "t.tar", "spool": "mine"}},
        "",
    ),
    "a cache": ({"dataset": {"name": "folder", "root": "images", "cache": "disk"}}, ""),
    "a logger": ({"loggers": [{"name": "mlflow", "uri": "http://127.0.0.1:9"}]}, ""),
    "an output folder": ({"output": "mine"}, ""),
}


def _show(target: Path) -> object:
    return api.load_run(target if target.is_dir() else target.parent.parent).show("confusion")


def _serve(target: Path) -> object:
    """What `report --serve` shows of it, all of it asked for over the wire."""
    with served([target if target.is_dir() else target.parent.parent]) as server:
        assert ask(server).status == 200
        news = ask(server, "runs.json")
        assert news.status == 200
        images = [address for run in news.json()["runs"] for _, address in run["images"]]
        return [ask(server, address) for address in images]


PYTHON: dict[str, Callable[[Path], object]] = {
    "report --serve": _serve,
    "evaluate": api.evaluate,
    "load_model": api.load_model,
    "show": _show,
}
COMMANDS = {
    "eval": ["eval", "TARGET"],
    "viz": ["viz", "confusion", "TARGET", "-o", "x.png"],
    "viz of data": ["viz", "samples", "TARGET", "-o", "x.png"],
    "export": ["export", "TARGET", "--format", "safetensors", "-o", "x.safetensors"],
    "predict": ["predict", "TARGET", "images"],
    "describe": ["describe", "TARGET"],
    "report": ["report", "TARGET", "-o", "x.html"],
    "runs": ["runs", "TARGET"],
    "compare": ["compare", "TARGET"],
}


@pytest.fixture
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that is looked up or connected to, which all fail."""
    found: list[Any] = []

    def connect(_socket: socket.socket, address: Any) -> None:
        found.append(address)
        raise ConnectionRefusedError

    def look_up(*address: Any, **_options: Any) -> None:
        found.append(address)
        raise socket.gaierror

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's folder, in which `mine` is not to be touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "evil.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('pwned').touch()\n"
    )
    (tmp_path / "mine").mkdir()
    for name in ("a.tar", f"{'0' * 32}.tar", "base.yaml"):
        (tmp_path / "mine" / name).write_bytes(b"mine" * 1000)
    (tmp_path / "images" / "zero").mkdir(parents=True)
    for number in range(3):
        Image.new("L", (8, 8), number).save(tmp_path / "images" / "zero" / f"{number}.png")
    before = _files(tmp_path / "mine")
    yield tmp_path
    assert _files(tmp_path / "mine") == before
    assert not (tmp_path / "pwned").exists()


def _files(folder: Path) -> dict[str, bytes]:
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def _theirs(small_run: Path, changes: dict[str, Any], folder: Path) -> Path:
    """A copy of the run that says `changes` of itself, in its checkpoint as in its config."""
    run = folder / "theirs"
    shutil.copytree(small_run, run)
    config = {**yaml.safe_load((run / "config.yaml").read_text()), **changes}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for name in ("best", "last"):
        file = run / "checkpoints" / f"{name}.pt"
        checkpoint = torch.load(file, weights_only=True)
        checkpoint["config"] |= changes
        torch.save(checkpoint, file)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("power", POWERS)
def test_a_run_or_checkpoint_chooses_nothing(
    cnnrun: Command, home: Path, small_run: Path, contacted: list[Any], power: str
) -> None:
    changes, option = POWERS[power]
    run = _theirs(small_run, changes, home)
    asked = []
    for target in (run, run / "checkpoints" / "best.pt"):
        for command, words in COMMANDS.items():
            if command in ("report", "runs", "compare") and target.is_file():
                continue
            ended = cnnrun(*[str(target) if word == "TARGET" else word for word in words])
            assert "Traceback" not in ended.err, (command, ended.err)
            assert "a bug" not in ended.err, (command, ended.err)
            asked.append(ended.err)
        for command, call in PYTHON.items():
            try:
                call(target)
            except UserError as error:
                asked.append(str(error))
            except Exception as error:  # pragma: no cover
                raise AssertionError(command) from error
    assert not contacted
    if option:
        assert any(f"if you trust it, pass {option}" in text for text in asked), asked


def test_a_plug_in_that_is_named_is_run_from_any_folder(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run names `net.py` as it lay where it was trained."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "from cnnrun.registry import models\n"
        "@models.register('flat-net')\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, input_shape, num_classes):\n"
        "        super().__init__()\n"
        "        self.whole = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
        "    def forward(self, images):\n"
        "        return self.whole(images)\n"
    )
    small = ["device=cpu", "training.epochs=1", "training.draw=false", "dataset.limit=100"]
    (tmp_path / "x.yaml").write_text("plugins: [net.py]\ndataset: digits\nmodel: flat-net\n")
    run = Path(cnnrun("train", "x.yaml", "-q", *small).out.strip()).resolve()
    assert cnnrun("eval", run, "--plugin", "net.py").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "pass --plugin net.py" in cnnrun("eval", run).err
    plugin = tmp_path / "net.py"
    for words in (["eval", run], ["train", "--resume", run, "training.epochs=2", "-q"]):
        ended = cnnrun(*words, "--plugin", plugin)
        assert ended.code == 0, ended.err


SWEEP = "base: base.yaml\ngrid: {optimizer.lr: [0.1, 0.2]}\n"


def _sweep(home: Path, name: str = "quick", base: str = "", sweep: str = SWEEP) -> Path:
    folder = home / "sweeps" / name
    folder.mkdir(parents=True)
    (folder / "base.yaml").write_text(
        base or "dataset: digits\nmodel: mlp\ndevice: cpu\noptimizer: sgd\n"
    )
    (folder / "sweep.yaml").write_text(sweep + f"output: {home / 'sweeps'}\nname: {name}\n")
    return folder


def _foreign_database(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()


def _tables(file: Path) -> list[str]:
    with sqlite3.connect(file) as database:
        found = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    database.close()
    return found


def _with_runs(folder: Path, small_run: Path) -> None:
    for number in range(2):
        shutil.copytree(small_run, folder / "runs" / f"small{number}" / f"2026010{number}-000000")


EVIL_SWEEPS = {
    "a plug-in in its base": (
        {"base": "plugins: [evil.py]\ndataset: digits\nmodel: mlp\noptimizer: sgd\n"},
        "--plugin evil.py",
    ),
    "a plug-in in its grid": (
        {"sweep": "base: base.yaml\ngrid: {plugins: [[evil.py]]}\n"},
        "--plugin evil.py",
    ),
    "a plug-in for all": ({"sweep": SWEEP + "set: {plugins: [evil.py]}\n"}, "--plugin evil.py"),
}
EVIL_DATA = {
    "a class of a file": ("{name: own, target: 'evil.py:Set'}", "dataset.target=evil.py:Set"),
    "a spool": ("{name: webdataset, train: t.tar, test: t.tar, spool: mine}", "dataset.spool=mine"),
    "a cache": ("{name: folder, root: images, cache_dir: mine}", "dataset.cache_dir=mine"),
    "a download": ("{name: kmnist, root: mine}", "dataset.root=mine"),
    "an address": (f"{{name: webdataset, train: '{WEB}', test: t.tar}}", "dataset.train=http"),
}
EVIL_SWEEPS |= {
    name: ({"base": f"dataset: {data}\nmodel: mlp\noptimizer: sgd\n"}, option)
    for name, (data, option) in EVIL_DATA.items()
}


@pytest.mark.parametrize("power", EVIL_SWEEPS)
def test_a_sweeps_folder_chooses_nothing(
    cnnrun: Command, home: Path, small_run: Path, contacted: list[Any], power: str
) -> None:
    texts, option = EVIL_SWEEPS[power]
    folder = _sweep(home, **texts)
    _with_runs(folder, small_run)
    before = _files(folder)
    assert cnnrun("report", folder, "-o", "x.html").code == 0
    assert _files(folder) == before
    ended = cnnrun("sweep", "--join", folder)
    assert ended.code == 1
    assert "if you trust it, pass " in ended.err
    assert option in ended.err
    assert _files(folder) == before
    assert not contacted


@pytest.mark.parametrize("command", ["report", "join"])
@pytest.mark.parametrize("how", ["storage.txt", "a server", "a link"])
def test_a_sweeps_folder_does_not_choose_its_database(
    cnnrun: Command,
    home: Path,
    small_run: Path,
    contacted: list[Any],
    command: str,
    how: str,
) -> None:
    folder, theirs = _sweep(home), home / "bookmarks.db"
    _with_runs(folder, small_run)
    _foreign_database(theirs)
    address = {
        "storage.txt": f"sqlite:///{theirs}",
        "a server": "postgresql://me:secret@127.0.0.1:9/x",
    }
    if how == "a link":
        (folder / "sweep.db").symlink_to(theirs)
    else:
        (folder / "storage.txt").write_text(address[how])
    if command == "report":
        assert cnnrun("report", folder, "-o", "x.html").code == 0
        told = Path("x.html").read_text()
    else:
        ended = cnnrun("sweep", "--join", folder)
        assert ended.code == 1
        told = ended.err
    assert "secret" not in told
    assert ("it holds no sweeps" if how == "a link" else "--storage") in told
    assert _tables(theirs) == ["bookmarks"]
    assert not contacted


def test_a_database_that_is_not_optunas_is_left_as_it_is(cnnrun: Command, home: Path) -> None:
    _foreign_database(home / "bookmarks.db")
    ended = cnnrun("sweep", "--join", f"sqlite:///{home}/bookmarks.db")
    assert ended.code == 1
    assert "it holds no sweeps" in ended.err
    assert _tables(home / "bookmarks.db") == ["bookmarks"]
    assert cnnrun("sweep", "--join", f"sqlite:///{home}/none.db").code == 1
    assert not (home / "none.db").exists()


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"plugins": ["evil.py"]}, "pass --plugin evil.py"),
        ({"dataset": {"name": "kmnist", "root": "mine"}}, "pass dataset.root=mine"),
    ],
)
def test_a_database_chooses_neither_folder_nor_code(
    cnnrun: Command, home: Path, changed: dict[str, Any], wanted: str
) -> None:
    import optuna

    base = {"dataset": "digits", "model": "mlp", "optimizer": "sgd", **changed}
    grid = {"optimizer.lr": [0.1]}
    sweep = {"base": "base.yaml", "grid": grid, "output": str(home), "name": "mine"}
    url = f"sqlite:///{home}/theirs.db"
    study = optuna.create_study(storage=url, study_name="mine-12345678")
    study.set_user_attr("sweep.yaml", yaml.safe_dump(sweep))
    study.set_user_attr("base.yaml", yaml.safe_dump(base))
    ended = cnnrun("sweep", "--join", url)
    assert ended.code == 1
    assert wanted in ended.err
    assert (home / "sweeps" / "mine" / "base.yaml").is_file()  # and not where it says
    (home / "sweeps" / "mine" / "sweep.yaml").write_text(SWEEP)
    ended = cnnrun("sweep", "--join", url)
    assert "holds another sweep; choose another folder: --output DIR" in ended.err


@pytest.mark.parametrize("name", ["../mine", "/mine", "", "a/b"])
def test_a_databases_sweep_has_no_path_for_a_name(cnnrun: Command, home: Path, name: str) -> None:
    import optuna

    study = optuna.create_study(storage=f"sqlite:///{home}/theirs.db", study_name="x-12345678")
    study.set_user_attr("sweep.yaml", yaml.safe_dump({"base": "base.yaml", "name": name}))
    study.set_user_attr("base.yaml", "dataset: digits\n")
    ended = cnnrun("sweep", "--join", f"sqlite:///{home}/theirs.db")
    assert ended.code == 1
    assert "is not the name of a sweep" in ended.err
    assert not (home / "sweeps").exists()


def test_what_is_asked_for_can_be_answered(
    cnnrun: Command, home: Path, small_run: Path, contacted: list[Any]
) -> None:
    """The options of a refusal, as they are printed, are taken by a shell and by the command."""
    run = _theirs(small_run, POWERS["shards from the web"][0], home)
    asked = cnnrun("eval", run).err.rpartition("pass ")[2].strip()
    assert shlex.split(asked) == [f"dataset.train={WEB}", f"dataset.test={WEB}"]
    ended = cnnrun("eval", run, *shlex.split(asked))
    assert ended.code == 1
    assert "can't be fetched" in ended.err
    assert contacted
