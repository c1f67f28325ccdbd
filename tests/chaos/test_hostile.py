"""Files made by someone who means harm: nothing in them runs, and what they cost is bounded."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data.sources.tar_index import stored_index
from tests.conftest import Command


class _Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("pwned"),)


def test_the_pickle_does_what_these_tests_fear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(_Evil()))
    assert Path("pwned").exists()


def _evil_array(file: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.array([_Evil()], object), allow_pickle=True)


def test_a_cache_of_images_runs_no_code(cnnrun: Command, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8)).save(tmp_path / "images" / label / f"{number}.png")
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: folder, root: images, cache: disk, cache_dir: cache}\n"
        "model: {name: mlp, hidden: [4]}\n"
    )
    assert cnnrun("check", "x.yaml").code == 0
    stored = list((tmp_path / "cache").glob("*.npy"))
    assert stored
    for file in stored:
        _evil_array(file)
    ended = cnnrun("check", "x.yaml")
    assert ended.code == 0, ended.err
    assert not Path("pwned").exists()


@pytest.mark.parametrize("content", ["pickle in zip", "pickle", "empty", "plain array", "text"])
def test_an_index_of_a_shard_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _evil_array(tmp_path / "keys.npy")
    index = tmp_path / "index.npz"
    index.write_bytes({"empty": b"", "text": b"text"}.get(content, pickle.dumps(_Evil())))
    if content == "pickle in zip":
        with zipfile.ZipFile(index, "w") as archive:
            archive.write(tmp_path / "keys.npy", "keys.npy")
    elif content == "plain array":
        with index.open("wb") as stream:
            np.save(stream, np.arange(3))
    assert stored_index(index) is None
    assert not Path("pwned").exists()


@pytest.mark.parametrize("key", ["dataset", "plugins"])
@pytest.mark.parametrize("command", ["eval", "viz"])
def test_a_checkpoint_never_chooses_code(
    cnnrun: Command, tiny: Path, tmp_path: Path, key: str, command: str
) -> None:
    run = Path(cnnrun("train", tiny, "-q", "training.epochs=1").out.strip())
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('pwned').touch()\n")
    checkpoint = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    checkpoint["config"][key] = {
        "dataset": {"name": "own", "target": "evil.py:Set"},
        "plugins": ["evil.py"],
    }[key]
    torch.save(checkpoint, "theirs.pt")
    ended = cnnrun(*["eval"] if command == "eval" else ["viz", "confusion"], "theirs.pt")
    assert ended.code == 1
    assert "if you trust it, pass " in ended.err
    assert "evil.py" in ended.err
    assert not Path("pwned").exists()
    asked = {"dataset": ["dataset.target=evil.py:Set"], "plugins": ["--plugin", "evil.py"]}[key]
    cnnrun("eval", "theirs.pt", *asked)
    assert Path("pwned").exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: !!python/object/apply:os.system ['touch pwned']\n", "x.yaml:1:7: "),
        ("name: !!python/name:os.system\n", "x.yaml:1:7: the tag"),
        ("loss: &a {name: focal}\nmodel: {name: mlp, <<: *a}\n", "model.<<: unknown key"),
        ("a" * 1_000_001, "x.yaml:1: over 1,000,000 bytes"),
        ("a: " + "[" * 400_000, "x.yaml:1: nested more deeply"),
        ("seed: 9" + "9" * 90, "x.yaml:1:7: a whole number of more than 64 bits"),
        ("? {a: 1}\n: 1\n", "a key must be one word"),
    ],
)
def test_a_config_is_plain_values_within_limits(
    cnnrun: Command, tmp_path: Path, text: str, wanted: str
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    ended = cnnrun("check", "x.yaml")
    assert ended.code == 2
    assert wanted in ended.err
    assert not Path("pwned").exists()


def test_a_file_without_end_is_not_read_to_its_end(cnnrun: Command) -> None:
    ended = cnnrun("check", "/dev/zero")
    assert ended.code == 2
    assert "/dev/zero:1: over 1,000,000 bytes" in ended.err
