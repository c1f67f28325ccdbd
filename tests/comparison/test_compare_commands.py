"""`cnnrun runs` and `cnnrun compare`, as they are used after a shell loop."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cnnrun.comparison import compare, find_runs, group_runs, read_run
from cnnrun.plots.drawing.comparison import draw_comparison
from tests.comparison.test_compare import Runs
from tests.conftest import Command
from tests.plot_reading import assert_readable, words


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def _rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.slow
def test_a_shell_loop_needs_no_other_file(cnnrun: Command, tiny: Path, tmp_path: Path) -> None:
    for hidden in ("[4]", "[32]"):
        for seed in (0, 1, 2):
            ended = cnnrun("train", tiny, f"model.hidden={hidden}", f"seed={seed}", "-q",
                           "training.draw=false")  # fmt: skip
            assert ended.code == 0, ended.err
    broken = tmp_path / "runs" / "tiny" / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "config.yaml").write_text("a: [")

    listed = cnnrun("runs", "--json", "--sort", "accuracy")
    assert listed.code == 0, listed.err
    assert f"{Path('runs/tiny/broken')}: damaged" in listed.err
    rows = json.loads(listed.out)
    assert [row["state"] for row in rows] == ["finished"] * 6 + ["damaged"]
    scores = [row["validation_accuracy"] for row in rows[:6]]
    assert scores == sorted(scores, reverse=True), "the best first, what has no score last"
    assert rows[0]["model.hidden"] == [32]
    assert rows[0]["epochs"] == 2

    ended = cnnrun("compare", "runs", "-o", "compare.png")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    scored = ["validation", "accuracy", "test", "accuracy"]
    assert lines[0].split() == ["seeds", *scored, "model.hidden"]
    assert lines[1].split()[:2] == ["A", "3"]
    assert lines[1].endswith("[32]")
    assert "1 damaged run is left out: runs/tiny/broken" in ended.out
    assert Path("compare.png").stat().st_size > 10_000

    found = json.loads(cnnrun("compare", "runs", "--json").out)
    best = found["groups"][0]
    assert best["settings"] == {"model.hidden": [32]}
    assert list(best["scores"]) == ["0", "1", "2"]
    assert best["low"] < best["mean"] < best["high"]
    # The figures are those that the runs' own summaries have.
    tested = [json.loads((Path(p) / "summary.json").read_text())["test"] for p in best["runs"]]
    assert sorted(best["scores"].values()) == sorted(test["accuracy"] for test in tested)
    groups = cnnrun("compare", "runs", "--csv")
    assert [row["model.hidden"] for row in _rows(groups.out)] == ["[32]", "[4]"]
    assert "left out" in groups.err


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("optimizer.lr=0.1", 3),
        ("optimizer.lr=1e-1", 3),
        ("optimizer.lr>0.1", 2),
        ("optimizer.lr>=0.1", 5),
        ("optimizer.lr<0.2", 3),
        ("optimizer.lr!=0.1", 2),
        ("model.hidden=[8]", 5),
        ("state=finished", 4),
        ("test_accuracy>0.55", 2),
        ("name=x", 5),
        ("seed>optimizer", 0),
    ],
)
def test_runs_are_filtered(cnnrun: Command, runs: Runs, condition: str, kept: int) -> None:
    for seed in range(3):
        runs.add(seed, 0.5 + 0.1 * seed)
    runs.add(0, 0.5, optimizer__lr=0.2)
    runs.add(1, 0.5, optimizer__lr=0.2, finished=False)
    ended = cnnrun("runs", "--json", "--filter", condition)
    assert ended.code == 0, ended.err
    assert len(json.loads(ended.out)) == kept


def test_conditions_add_up_and_columns_are_chosen(
    cnnrun: Command, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        runs.add(seed, 0.5 + 0.1 * seed)
        runs.add(seed, None, optimizer__lr=0.2)
    asked = ("--filter", "seed>0", "--filter", "optimizer.lr=0.1", "--sort", "loss", "--csv")
    listed = cnnrun("runs", *asked, "--columns", "seed,test_loss,best_epoch")
    assert [row["seed"] for row in _rows(listed.out)] == ["2", "1"], "the least loss first"
    assert listed.out.splitlines()[0] == "seed,test_loss,best_epoch"
    for direction in ((), ("--reverse",)):
        listed = cnnrun("runs", "--json", "--sort", "accuracy", *direction)
        scores = [row["test_accuracy"] for row in json.loads(listed.out)]
        assert scores[3:] == [None] * 3, "no number is last in either direction"
        assert scores[0] == pytest.approx(0.5 if direction else 0.7)
    monkeypatch.setenv("COLUMNS", "250")
    text = cnnrun("runs").out.splitlines()
    assert text[0].split()[:5] == ["name", "time", "state", "seed", "epochs"]
    assert "2026-01-02 03:04:01" in text[1]
    assert "NaN" in cnnrun("runs").out


def test_states_of_runs(runs: Runs) -> None:
    import fcntl

    assert read_run(runs.add(0, 0.9)).state == "finished"
    path = runs.add(0, 0.9, finished=False)
    assert read_run(path).state == "unfinished"
    (path / "checkpoints" / "last.pt").touch()
    assert read_run(path).state == "interrupted"
    lock = os.open(path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert read_run(path).state == "running"
    os.close(lock)
    run = read_run(runs.add(0, None, finished=False, log=[0.3, 0.6, 0.5]))
    assert (run.epochs, run.best["epoch"]) == (3, 2)


DAMAGE: dict[str, dict[str, bytes]] = {
    "config cut": {"config.yaml": b"model: {name: [mlp"},
    "config is a list": {"config.yaml": b"- 1\n- 2\n"},
    "config is empty": {"config.yaml": b""},
    "config is not text": {"config.yaml": b"\xff\xfe\x00"},
    "config too deep": {"config.yaml": b"a: " + b"[" * 5000},
    "seed is a word": {"config.yaml": b"seed: many\n"},
    "summary cut": {"summary.json": b'{"test": {"accur'},
    "summary is a list": {"summary.json": b"[1, 2]"},
    "summary is not text": {"summary.json": b"\xff\xfe"},
    "odd scores": {"summary.json": b'{"test": [1], "best": "x", "epochs": 1}'},
    "odd values": {"summary.json": b'{"test": {"accuracy": "high"}, "best": {}, "epochs": 1}'},
    "epochs are a word": {"summary.json": b'{"test": {}, "best": {}, "epochs": "x"}'},
    "epochs are NaN": {"summary.json": b'{"test": {}, "best": {}, "epochs": NaN}'},
    "epochs beyond every float": {"summary.json": b'{"test": {}, "best": {}, "epochs": 1e400}'},
    "a number of 4,000 digits": {"summary.json": b'{"test": {"accuracy": 1' + b"0" * 4000 + b"}}"},
    "planned epochs are a word": {"config.yaml": b"seed: 0\ntraining: {epochs: x}\n"},
    "a seed of 4,000 digits": {"config.yaml": b"seed: 0x1" + b"0" * 4000 + b"\n"},
    "a seed that is NaN": {"config.yaml": b"seed: .nan\n"},
    "metrics of a list": {"summary.json": b'{"test": {}, "best": {}, "monitor": [1]}'},
}
SURVIVED: dict[str, dict[str, bytes]] = {
    "a setting of 4,000 digits": {"config.yaml": b"optimizer: {lr: 0x1" + b"0" * 4000 + b"}\n"},
    "log cut": {"metrics.jsonl": b'{"epoch": 1, "validation_accuracy": 0.5}\n{"epo'},
    "log of other things": {"metrics.jsonl": b"1\n[2]\nnull\n"},
    "log is not text": {"metrics.jsonl": b"\xff\xfe\x00"},
    "log of odd values": {"metrics.jsonl": b'{"epoch": "x", "validation_accuracy": [1]}\n'},
    "odd metrics": {"summary.json": json.dumps({
        "test": {"accuracy": 0.5, "loss": 1}, "best": {"validation_accuracy": 0.5},
        "metrics": {
            "accuracy": {"format": ".99999999f", "unit": 3, "display_name": "\x1b[31m"},
            "x": [1], "loss": {"higher_is_better": "yes"},
        },
    }).encode()},
}  # fmt: skip


@pytest.mark.parametrize("files", [*DAMAGE.values(), *SURVIVED.values()], ids=[*DAMAGE, *SURVIVED])
def test_damaged_runs_stop_nothing(
    cnnrun: Command, runs: Runs, files: dict[str, bytes], tmp_path: Path
) -> None:
    for seed in range(2):
        runs.add(seed, 0.5 + 0.1 * seed)
    path = runs.add(2, 0.9)
    for name, content in files.items():
        (path / name).write_bytes(content)
    listed, compared = cnnrun("runs", "--json"), cnnrun("compare", "runs", "-o", "x.png")
    page = cnnrun("report", "runs", "-o", "x.html")
    codes = (listed.code, compared.code, page.code)
    assert codes == (0, 0, 0), listed.err + compared.err + page.err
    assert cnnrun("runs", "--sort", "accuracy").code == 0
    assert len(json.loads(listed.out)) == 3
    if files in DAMAGE.values():
        where = str(path.relative_to(tmp_path))
        assert f"{where}: damaged" in listed.err
        assert f"1 damaged run is left out: {where}" in compared.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("compare", "nowhere"), "nowhere: there is no such run or folder"),
        (("runs", "empty"), "no run below empty"),
        (("runs", "--sort", "acuracy"), "--sort: no run has 'acuracy'; did you mean 'accuracy'?"),
        (("runs", "--columns", "sed"), "--columns: no run has 'sed'; did you mean 'seed'?"),
        (("runs", "--filter", "optimizer.rl=1"), "no run has 'optimizer.rl'; did you mean"),
        (("runs", "--filter", "optimizer.lr"), "--filter optimizer.lr: write KEY=VALUE"),
        (("runs", "--filter", "seed=[1"), "--filter seed=[1"),
        (("runs", "--json", "--csv"), "choose one of --json and --csv"),
        (
            ("compare", "runs", "--measure", "acc"),
            "no finished run has the metric 'acc'; there are accuracy, loss",
        ),
        (("compare", "runs", "--measure", "acc"), "'--measure' is called '--metric' now"),
        (("compare", "runs", "--metric", "acuracy"), "did you mean 'accuracy'?"),
        (("compare", "unfinished"), "no finished run to compare: unfinished/"),
    ],
)
def test_what_can_not_be_done_is_told(
    cnnrun: Command, runs: Runs, arguments: tuple[str, ...], told: str
) -> None:
    runs.add(0, 0.5)
    Path("empty").mkdir()
    (Path("empty") / "config.yaml").write_text("model: mlp\n")  # an experiment's, no run's
    Runs(Path("unfinished")).add(0, 0.5, finished=False)
    ended = cnnrun(*arguments)
    assert ended.code in (1, 2)
    assert told in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_thousands_of_runs_are_listed_quickly_without_torch(runs: Runs) -> None:
    import shutil

    pattern = runs.add(0, 0.5)
    for k in range(2000):
        copy = runs.folder / "many" / f"20260101-000000-{k:06}"
        shutil.copytree(pattern, copy)
        config = (copy / "config.yaml").read_text().replace("seed: 0", f"seed: {k}")
        (copy / "config.yaml").write_text(config)
    started = time.process_time()
    found = find_runs([runs.folder])
    assert len(group_runs(found)) == 1
    assert len(found) == 2001
    # 0.3 s on the machine that this was written on.
    assert time.process_time() - started < 3
    code = (
        "import sys; sys.argv = ['cnnrun', 'runs', sys.argv[1]]\n"
        "from cnnrun.cli import main\n"
        "main()\n"
        "print([m for m in ('torch', 'matplotlib', 'scipy', 'numpy') if m in sys.modules])"
    )
    code = code.replace("main()\n", "try: main()\nexcept SystemExit: pass\n")
    ended = subprocess.run(
        [sys.executable, "-c", code, str(runs.folder)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("groups", [1, 2, 12, 45])
def test_the_plot_is_readable(runs: Runs, groups: int) -> None:
    for k in range(groups):
        for seed in range(3):
            lr = round(0.1 * (k + 1), 1)
            accuracy = 0.9 - 0.004 * k + 0.003 * seed * (-1) ** k
            log = [accuracy - 0.5 / e for e in range(1, 9)]
            runs.add(seed, accuracy, log=log, optimizer__lr=lr, model__hidden=[k] * (k % 12))
    figure = draw_comparison(compare(group_runs(find_runs([runs.folder]))))
    assert_readable(figure)
    assert figure.canvas.get_width_height()[0] <= 1280
    told = words(figure)
    assert "validation accuracy (%)" in told
    assert f"test accuracy of {groups} group{'s' * (groups > 1)}" in told
    assert any("5 more groups are not shown" in text for text in told) == (groups == 45)


def test_the_plot_shows_the_means_and_what_is_no_number(runs: Runs) -> None:
    for seed in range(2):
        runs.add(seed, 0.8 + 0.1 * seed, log=[0.2 + 0.2 * seed, 0.5])
        runs.add(seed, None, optimizer__lr=9.0, log=[0.1])
    figure = draw_comparison(compare(group_runs(find_runs([runs.folder]))))
    curves = figure.axes[1]
    assert curves.lines[0].get_ydata() == pytest.approx([30, 50])
    assert "some scores are NaN" in words(figure)
    assert_readable(figure)


def test_finished_runs_without_scores_are_told(cnnrun: Command) -> None:
    run = Path("one/x/1")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    (run / "summary.json").write_text('{"epochs": 1, "best": {}, "test": {}}')
    ended = cnnrun("compare", "one")
    assert (ended.code, "the finished runs have no scores" in ended.err) == (1, True), ended.err


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_list_fits_the_terminal(
    cnnrun: Command, runs: Runs, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    for seed in range(2):
        runs.add(seed, 0.5)
        runs.add(seed, 0.6, **{f"optimizer__a_long_setting_{k}": k for k in range(20)})
    monkeypatch.setenv("COLUMNS", str(width))
    lines = cnnrun("runs").out.splitlines()
    assert max(map(len, lines)) <= width
    head = lines[0].split()
    assert {"run", "validation_accuracy"} <= set(head)
    total = len(json.loads(cnnrun("runs", "--json").out)[0])
    assert lines[-1] == f"+{total - len(head)} columns: --columns KEY,KEY or all by --csv or --json"
    chosen = cnnrun("runs", "--columns", "run,time,state,name,test_accuracy,test_loss").out
    assert len(chosen.splitlines()[0].split()) == 6, "what was asked for is printed"


def test_a_sorted_list_of_different_losses_says_so(cnnrun: Command, runs: Runs) -> None:
    for k in range(2):
        runs.add(0, 0.5 + k / 10, loss={"name": "cross_entropy", "label_smoothing": k / 10})
    listed = cnnrun("runs", "--sort", "loss")
    assert "loss.label_smoothing differs" in listed.err
    assert "differs" not in cnnrun("runs", "--sort", "accuracy").err
