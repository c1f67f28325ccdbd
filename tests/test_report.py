"""Reports, opened in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from cnnrun.comparing import find_runs
from cnnrun.report import many_runs, one_run
from cnnrun.report.confusion import confusion
from cnnrun.report.line_chart import Line, line_chart
from cnnrun.report.page import Section, page
from cnnrun.report.parallel import parallel
from cnnrun.report.scale import Scale, round_numbers
from tests.browser import Page, browser
from tests.conftest import Command
from tests.small_run import small_run

__all__ = ["small_run"]


@pytest.fixture(scope="module")
def opened() -> Iterator[Page]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def run_page(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "run.html"
    file.write_text(one_run.report(find_runs([small_run])[0]))
    return file


@pytest.fixture(scope="module")
def many(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve runs: two settings with three values each, two seeds; invented scores."""
    folder = tmp_path_factory.mktemp("many")
    config = (small_run / "config.yaml").read_text()
    summary = json.loads((small_run / "summary.json").read_text())
    rows = [json.loads(line) for line in (small_run / "metrics.jsonl").read_text().splitlines()]
    random = np.random.default_rng(0)
    for lr in (0.001, 0.01, 0.1):
        for batch in (16, 64):
            for seed in (0, 1):
                run = folder / "small" / f"run-{lr}-{batch}-{seed}"
                run.mkdir(parents=True)
                score = 0.9 - abs(np.log10(lr) + 2) / 5 + 0.01 * random.normal()
                changed = re.sub(r"lr: [\d.]+", f"lr: {lr}", config)
                changed = changed.replace("batch_size: 64", f"batch_size: {batch}")
                (run / "config.yaml").write_text(changed.replace("seed: 0", f"seed: {seed}"))
                test = {**summary["test"], "accuracy": score}
                (run / "summary.json").write_text(json.dumps({**summary, "test": test}))
                lines = [json.dumps({**row, "validation_accuracy": score}) for row in rows]
                (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def assert_sound(opened: Page, file: Path) -> None:
    """No complaint, no request, every picture decoded, every chart there to be seen."""
    opened.complaints()
    opened.requests()
    opened.open(file)
    assert opened.complaints() == []
    for address in opened.requests():
        assert address.startswith(("file:", "data:")), address
    assert opened.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    sizes = opened.run(
        "return [...document.querySelectorAll('main figure svg, main figure img')]"
        ".filter(e => !e.closest('ul.legend'))"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])"
    )
    assert sizes
    assert min(min(size) for size in sizes) > 20
    assert opened.run("return document.body.scrollWidth <= innerWidth")
    ids = opened.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    levels = opened.run("return [...document.querySelectorAll('h1,h2,h3')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert file.stat().st_size < 5e6


def column(opened: Page, table: str, number: int) -> list[str]:
    return opened.texts(f"{table} tbody td:nth-child({number})")


def test_a_runs_page(opened: Page, run_page: Path, small_run: Path) -> None:
    assert_sound(opened, run_page)
    summary = json.loads((small_run / "summary.json").read_text())
    text = opened.run("return document.body.innerText")
    assert f"{100 * summary['test']['accuracy']:.2f} %" in text
    assert f"{summary['parameters']:,}" in text
    assert "cnnrun train config.yaml" in text
    assert (small_run / "config.yaml").read_text().strip() in opened.texts("#config code")[0]
    assert opened.texts("h2") == [
        *("Summary", "Curves", "Confusion", "Classes", "Mistakes"),
        *("Config", "Environment", "Reproduce"),
    ]
    counts = sum(int(text) for text in opened.texts("svg.confusion text.count"))
    assert counts == 360
    assert len(opened.texts("ul.mistakes li")) > 0


def test_tables_are_sorted_by_a_click_and_by_the_keyboard(opened: Page, run_page: Path) -> None:
    opened.open(run_page)
    first = column(opened, "#classes", 3)
    opened.run("document.querySelectorAll('#classes th button')[2].click()")
    up = column(opened, "#classes", 3)
    assert up == sorted(first, key=float) != first
    title = "document.querySelectorAll('#classes th')[2]"
    assert opened.run(f"return {title}.getAttribute('aria-sort')") == "ascending"
    button = opened.run(f"return {title}.firstElementChild")
    button.send_keys(Keys.ENTER)
    assert opened.run(f"return {title}.getAttribute('aria-sort')") == "descending"
    values = [float(text) for text in column(opened, "#classes", 3)]
    assert values == sorted(values, reverse=True)
    opened.run("document.querySelectorAll('#classes th button')[0].click()")
    assert opened.run(f"return {title}.getAttribute('aria-sort')") is None
    assert column(opened, "#classes", 1) == sorted(column(opened, "#classes", 1))


def test_charts_tell_their_values_to_the_pointer_and_the_keys(
    opened: Page, run_page: Path, small_run: Path
) -> None:
    opened.open(run_page)
    rows = [json.loads(line) for line in (small_run / "metrics.jsonl").read_text().splitlines()]
    chart = opened.run("return document.querySelector('svg[data-chart]')")
    opened.run(
        "const box = arguments[0].getBoundingClientRect();"
        "arguments[0].dispatchEvent(new PointerEvent('pointermove',"
        " {clientX: box.left + 70, clientY: box.top + 50}))",
        chart,
    )
    tip = opened.run("return document.getElementById('tip').textContent")
    assert tip.splitlines()[0] == "epoch 1"
    value = float(tip.splitlines()[1].removeprefix("train: "))
    assert value == pytest.approx(rows[0]["train_loss"], rel=1e-4)
    opened.run("arguments[0].focus()", chart)
    chart.send_keys(Keys.END)
    assert "epoch 2" in opened.run("return document.getElementById('tip').textContent")
    chart.send_keys(Keys.ARROW_LEFT)
    assert "epoch 1" in opened.run("return document.getElementById('tip').textContent")
    chart.send_keys(Keys.ESCAPE)
    assert opened.run("return document.getElementById('tip').hidden")


def _contrast(one: str, other: str) -> float:
    """By WCAG 2 of two colours as the browser writes them, `rgb(1, 2, 3)`."""

    def luminance(colour: str) -> float:
        values = [int(text) / 255 for text in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(opened: Page, many: Path, tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "many.html"
    file.write_text(many_runs.report(find_runs([many]), "many", many))
    opened.prefer(scheme)
    opened.open(file)
    colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    paper = opened.run(colour, "body", "backgroundColor")
    assert (paper == "rgb(23, 24, 26)") == (scheme == "dark")
    for selector, key, least in [
        *(("body", "color", 7), (".lead", "color", 4.5), ("nav a", "color", 4.5)),
        *((f".line.c{k}", "stroke", 3) for k in range(6)),
        *(("svg .tick", "fill", 4.5), ("caption", "color", 4.5)),
    ]:
        assert _contrast(opened.run(colour, selector, key), paper) >= least, selector
    opened.prefer("light")


def test_many_runs(opened: Page, many: Path, cnnrun: Command) -> None:
    written = cnnrun("report", many)
    assert written.code == 0, written.err
    file = Path(written.out.strip())
    assert file == many / "report.html"
    assert_sound(opened, file)
    assert len(opened.texts("#runs tbody tr")) == 12
    assert len(opened.texts("#groups tbody tr")) == 6
    assert len(opened.texts("svg.parallel polyline")) == 6
    importance = dict(
        zip(column(opened, "#importance", 1), column(opened, "#importance", 2), strict=True)
    )
    shares = {key: float(text.removesuffix(" %")) for key, text in importance.items()}
    assert shares["optimizer.lr"] > 80 > 20 > shares["dataset.batch_size"]
    opened.run("document.querySelectorAll('#runs th button')[4].click()")
    scores = [float(text.removesuffix(" %")) for text in column(opened, "#runs", 5)]
    assert scores == sorted(scores)
    assert (
        "is better than" in opened.texts("#findings")[0]
        or "No difference" in opened.texts("#findings")[0]
    )


def test_a_sweeps_importance_is_optunas(many: Path, tmp_path: Path) -> None:
    import optuna

    folder = tmp_path / "sweep"
    shutil.copytree(many, folder)
    study = optuna.create_study(storage=f"sqlite:///{folder / 'sweep.db'}", study_name="sweep")
    space = {
        "optimizer.lr": optuna.distributions.FloatDistribution(0.001, 0.1),
        "dataset.batch_size": optuna.distributions.IntDistribution(16, 64),
    }
    for k in range(12):
        parameters = {"optimizer.lr": 0.001 + 0.008 * k, "dataset.batch_size": 16 + k % 3}
        study.add_trial(
            optuna.trial.create_trial(params=parameters, distributions=space, value=0.1 * k)
        )
    html = many_runs.report(find_runs([folder]), "sweep", folder)
    assert "fANOVA (Hutter et al. 2014), by Optuna" in html
    share = re.search(r'optimizer\.lr</td><td class="number" data-value="([\d.]+)"', html)
    assert share
    assert float(share[1]) > 0.6
    (folder / "sweep.db").write_bytes(b"damaged")
    assert "eta squared" in many_runs.report(find_runs([folder]), "sweep", folder)


def test_runs_with_names_of_their_own_are_called_so(many: Path, tmp_path: Path) -> None:
    shutil.copytree(many, tmp_path / "named")
    for file in tmp_path.glob("named/*/*/config.yaml"):
        _, lr, batch, _ = file.parent.name.split("-")
        file.write_text(file.read_text().replace("name: small", f"name: lr{lr}_batch{batch}"))
    html = many_runs.report(find_runs([tmp_path / "named"]), "named", tmp_path)
    assert "lr0.01_batch16 is better than" in html or "between lr0.01_batch" in html
    assert "<td>A</td>" not in html


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_no_width_of_screen_makes_the_page_scroll_sideways(
    opened: Page, run_page: Path, width: int
) -> None:
    opened.resize(width, 900)
    opened.open(run_page)
    assert opened.run("return innerWidth") == width
    assert opened.run("return document.documentElement.scrollWidth") <= width
    opened.resize(1200, 900)


def test_data_that_are_gone_are_told_in_the_page(
    opened: Page, small_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "checkpoints/best.pt").write_bytes(b"damaged")
    (run / "environment.json").unlink()
    file = tmp_path / "page.html"
    file.write_text(one_run.report(find_runs([run])[0]))
    assert_sound(opened, file)
    assert "Nothing about single classes and pictures" in opened.texts("#classes .warning")[0]
    assert "environment.json is not there" in opened.texts("#environment")[0]


def test_a_run_that_has_not_begun_its_first_epoch(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(small_run / "config.yaml", tmp_path)
    html = one_run.report(find_runs([tmp_path])[0])
    assert "No epoch has ended yet" in html
    assert "cnnrun train --resume" in html


def test_names_from_elsewhere_are_text(opened: Page, tmp_path: Path) -> None:
    evil = '<img src=x onerror="document.title=1">&"\'</script>'
    matrix = confusion([[1, 2], [0, 3]], [evil, "b"])
    chart = line_chart(evil, [1, 2], [Line(evil, [1.0, 2.0])])
    lines = parallel([evil], [[evil], ["1"]], "accuracy", [0.1, 0.2], 1)
    file = tmp_path / "evil.html"
    file.write_text(page(evil, evil, [Section("A", matrix + chart + lines)]))
    assert_sound(opened, file)
    assert opened.texts("h1") == [evil]
    assert opened.run("return document.images.length") == 0


@pytest.mark.parametrize("count", [2, 10, 100])
def test_confusion_of_few_and_many_classes(opened: Page, tmp_path: Path, count: int) -> None:
    matrix = np.random.default_rng(0).integers(0, 9, (count, count))
    names = [f"class number {k}" for k in range(count)]
    file = tmp_path / "page.html"
    file.write_text(page("c", "c", [Section("Confusion", confusion(matrix.tolist(), names))]))
    assert_sound(opened, file)
    cells = opened.texts("svg.confusion rect title")
    assert len(cells) == np.count_nonzero(matrix)
    assert f"class number 1 taken for class number 0: {matrix[1, 0]} of {matrix[1].sum()}" in cells
    outside = opened.run(
        "const svg = document.querySelector('svg.confusion').getBoundingClientRect();"
        "return [...document.querySelectorAll('svg.confusion text')]"
        ".map(e => e.getBoundingClientRect())"
        ".filter(b => b.left < svg.left - 1 || b.top < svg.top - 1 || b.bottom > svg.bottom + 1)"
        ".length"
    )
    assert outside == 0


class TestScale:
    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [
            (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
            (93.1, 96.2, [94, 95, 96]),
            (-3e-5, 9e-5, [-2e-5, 0, 2e-5, 4e-5, 6e-5, 8e-5]),
            (5, 5, [5]),
        ],
    )
    def test_round_numbers(self, low: float, high: float, expected: list[float]) -> None:
        assert round_numbers(low, high) == pytest.approx(expected)

    def test_logarithms(self) -> None:
        scale = Scale(1e-4, 1, 100, 0, log=True)
        assert scale(1e-2) == 50
        assert scale.ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])

    def test_a_chart_leaves_out_what_is_no_number(self) -> None:
        chart = line_chart("loss", [1, 2, 3, 4], [Line("a", [1.0, None, float("nan"), 2.0])])
        assert chart.count("<polyline") == 2
        assert "null" in chart
        assert "no numbers to draw" in line_chart("loss", [1], [Line("a", [None])])
