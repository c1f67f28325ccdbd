"""What went wrong for people with config files in other tools, as users of this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command


def _lr(cnnrun: Command, tiny: Path, text: str) -> tuple[int, str]:
    tiny.write_text(tiny.read_text().replace("lr: 0.1,", f"lr: {text},"))
    ended = cnnrun("check", tiny)
    return ended.code, ended.err


@pytest.mark.parametrize("text", ["1e-3", "5e-05", "1e3", "1.0e3", "1", "08", "012", ".5", "+1"])
def test_numbers_that_other_readers_take_for_text(cnnrun: Command, tiny: Path, text: str) -> None:
    assert _lr(cnnrun, tiny, text) == (0, "")


@pytest.mark.parametrize(
    "text", ["nan", "inf", "None", "-.inf", ".nan", "no", '"0.1"', "1_000", "0x10", "1:30", "1,5"]
)
def test_texts_that_are_no_number_are_refused_by_key_and_value(
    cnnrun: Command, tiny: Path, text: str
) -> None:
    code, err = _lr(cnnrun, tiny, text)
    assert code == 2
    assert "tiny.yaml:3:" in err
    assert "lr" in err


def test_numbers_are_those_that_a_person_reads(cnnrun: Command, tiny: Path) -> None:
    """YAML 1.1 reads the seed 012 as 10, the size 32:32 as 1952, and takes "8" for a number."""
    for line in ("seed: 012\n", "seed: 12\n"):
        file = tiny.with_name(f"{line[6:-1]}.yaml")
        file.write_text(tiny.read_text() + line + "name: same\n")
    runs = [cnnrun("train", f"{seed}.yaml", "-q").out.strip() for seed in ("012", "12")]
    logs = {(Path(run) / "metrics.jsonl").read_text() for run in runs}
    assert len(logs) == 1
    for override, wanted in (
        ("dataset.size=32:32", "dataset.size: expected a whole number"),
        ('dataset.batch_size="8"', "dataset.batch_size: expected a whole number, got '8'"),
        ("dataset.batch_size=8.0", "dataset.batch_size: expected a whole number, got 8.0"),
    ):
        ended = cnnrun("check", tiny, override)
        assert ended.code == 2
        assert wanted in ended.err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("optimizer: {name: sgd, learning_rte: 1}", "1:24: optimizer.learning_rte: unknown key; "
         "did you mean 'lr'?"),
        ("optimizer: {name: sgd, weigth_decay: 1}", "did you mean 'weight_decay'?"),
        ("{lr0: 0.1, optimizer: {name: sgd, lr: 1}}", "1:7: lr0: the same as optimizer.lr, which"),
        ("{max_lr: 0.1, optimizer: sgd}", "1:2: max_lr: unknown key; did you mean 'optimizer.lr'?"),
        ("optimizer: {name: adam, momentum: 0.9}", "1:25: optimizer.momentum: unknown key"),
        ("lr:0.1", "1:1: the whole file is one string; a key needs a colon AND a space: `lr: 0.1`"),
        ("", "1: the file is empty"),
        ("- a\n- b", "1:1: the top level must be `key: value` lines"),
        ("optimizer:\n\tlr: 0.1\n", "2:1: not valid YAML: a tab"),
        ('dataset: {name: folder, root: "C:\\Users\\x"}', "a backslash in double quotes"),
        ('dataset: {name: folder, root: "C:\\data\\new"}', "a backslash in double quotes"),
        ('dataset: {name: folder, root: "C:\\new\\test"}', "holds a control character"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_before_data_are_loaded(
    cnnrun: Command, tmp_path: Path, text: str, wanted: str
) -> None:
    """That there is no data set here matters to none of them."""
    (tmp_path / "x.yaml").write_text(text)
    ended = cnnrun("train", "x.yaml")
    assert ended.code == 2
    assert wanted in ended.err
    assert "Traceback" not in ended.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("root", [r"'C:\data\new'", r"C:\data\new", "C:/data/new", "'~/a b'"])
def test_windows_paths_arrive_as_they_are_written(
    cnnrun: Command, tmp_path: Path, root: str
) -> None:
    """With a byte order mark and Windows' ends of lines, too."""
    text = f"dataset: {{name: folder, root: {root}}}\nmodel: mlp\n".replace("\n", "\r\n")
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    ended = cnnrun("train", "x.yaml")
    assert ended.code in (1, 2)
    assert f"there is no folder {root.strip(chr(39))}" in ended.err.replace(str(Path.home()), "~")
