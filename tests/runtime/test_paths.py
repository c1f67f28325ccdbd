"""`~` and `$VARIABLES` mean the same wherever a person writes a path."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest
import yaml

from cnnrun.errors import UserError
from cnnrun.runtime import paths
from cnnrun.runtime.paths import cache_folder, expanded
from tests.conftest import REPOSITORY, Command


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PLACE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A container's user: no HOME, and a number that the system's list does not have."""

    def unknown(*_: object) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "")  # so that what the command sets is undone as well
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("written", ["~/x", "$HOME/x", "${HOME}/x", "$PLACE/x"])
def test_what_is_replaced(home: Path, written: str) -> None:
    assert expanded(written) == expanded(Path(written)) == home / "x"


@pytest.mark.parametrize("written", ["x", "./x", "/a/b~c", "a/~", "50%", ""])
@pytest.mark.usefixtures("home")
def test_what_stays(written: str) -> None:
    assert expanded(written) == Path(written)


def test_files_that_are_called_so(home: Path) -> None:
    (home.parent / "$x").touch()
    (home.parent / "~nobody-here").touch()
    assert expanded("$x") == Path("$x")
    assert expanded("~nobody-here") == Path("~nobody-here")


@pytest.mark.parametrize(
    ("written", "told"),
    [("$NOT_SET/x", "NOT_SET is not set"), ("~nobody-here/x", "no user 'nobody-here'")],
)
@pytest.mark.usefixtures("home")
def test_what_is_not_there(written: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        expanded(written)


@pytest.mark.slow
def test_paths_of_a_config_and_of_options(cnnrun: Command, home: Path, tiny: Path) -> None:
    """All in one run: output, plug-in, data, weights, and the run to go on with."""
    (home / "mine.py").write_text("")
    shutil.copy(tiny, home / "tiny.yaml")
    quick = ["-q", "training={epochs: 1, draw: false}"]
    first = cnnrun("train", "~/tiny.yaml", *quick, "output=~/runs", "--plugin", "$PLACE/mine.py")
    assert first.code == 0, first.err
    run = Path(first.out.strip())
    assert run.is_relative_to(home / "runs")
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert (written["output"], written["plugins"]) == ("~/runs", ["$PLACE/mine.py"])
    (home / "last").symlink_to(run)
    again = cnnrun("train", "--resume", "~/last", "-q", "training.epochs=2")
    assert again.code == 0, again.err
    weights = "transfer={weights: '$PLACE/last/checkpoints/last.pt', freeze: none}"
    tuned = cnnrun("train", "~/tiny.yaml", *quick, "output=${PLACE}/tuned", weights)
    assert tuned.code == 0, tuned.err
    assert tuned.out.startswith(str(home / "tuned"))
    schema = cnnrun("schema", "--output", "~/schema.json")
    assert schema.code == 0, schema.err
    assert (home / "schema.json").is_file()
    assert not (home.parent / "~").exists()
    assert not any("$" in entry.name for entry in home.parent.iterdir())


@pytest.mark.parametrize(
    "source",
    [
        *("name: folder, root: ", "name: csv, file: ", "name: mnist, download: false, root: "),
        *("name: cifar10, download: false, root: ", "name: image, file: "),
        *("name: pcam, download: false, root: ", "name: stl10, download: false, root: "),
        *("name: imagenet, root: ", "name: webdataset, train: a.tar, test: a.tar, spool: "),
        *("name: webdataset, test: a.tar, train: ", "name: digits, cache_dir: "),
    ],
)
def test_paths_of_data(cnnrun: Command, home: Path, source: str) -> None:
    """Each source asks the same rule, which tells a variable that is not set by its name."""
    config = home / "x.yaml"
    config.write_text(f"dataset: {{{source}$NOT_SET/x}}\nmodel: {{name: mlp, hidden: [4]}}\n")
    ended = cnnrun("check", config)
    if "digits" in source:  # has no files
        assert ended.code == 0
        return
    assert ended.code in (1, 2)
    assert "$NOT_SET/x: the variable NOT_SET is not set" in ended.err


def test_caches_without_a_home(homeless: Path) -> None:
    with pytest.raises(UserError, match="no home is known here"):
        expanded("~/x")
    folder = cache_folder()
    assert folder.is_relative_to(homeless)
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder
    folder.parent.chmod(0o777)
    with pytest.raises(UserError, match="other users can write into it"):
        cache_folder()


def test_images_without_a_home(cnnrun: Command, homeless: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (homeless / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (8, 8), 30 * number).save(homeless / "images" / name / f"{number}.png")
    (homeless / "x.yaml").write_text(
        "dataset: {name: folder, root: images, size: 8, channels: gray, cache: disk}\n"
        "model: {name: mlp, hidden: [4]}\ntraining: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("train", "x.yaml", "-q")
    assert ended.code == 0, ended.err
    assert not (homeless / "~").exists()
    assert os.environ["XDG_CACHE_HOME"].startswith(str(homeless))


def test_one_place_knows_where_home_is() -> None:
    files = [file for file in (REPOSITORY / "cnnrun").rglob("*.py") if file != Path(paths.__file__)]
    assert len(files) > 100
    found = [file for file in files if "expanduser" in file.read_text()]
    assert found == [], "use cnnrun.runtime.paths.expanded"
