"""Reports, opened in a real browser."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image
from selenium.webdriver.common.keys import Keys

from cnnrun.comparison import find_runs
from cnnrun.metrics import ACCURACY, LOSS, MSE, Metric
from cnnrun.multirun.sweep import sweep
from cnnrun.plots.drawing.curves import draw_curves
from cnnrun.report import board, many_runs, one_run
from cnnrun.report.charts import MOST_EPOCHS, Line, chart, shown_epochs
from cnnrun.report.confusion import MOST_CELLS, MOST_PAIRS, confusion
from cnnrun.report.figures import MOST_BYTES, plots
from cnnrun.report.page import (
    Section,
    code,
    curves,
    facts,
    image,
    isolated,
    page,
    render,
    sentences,
    table,
)
from cnnrun.report.parallel import parallel
from cnnrun.report.scale import Scale, round_numbers
from cnnrun.report.trials import importances
from tests.browser import Page, browser
from tests.comparison.test_compare import Runs
from tests.conftest import Command
from tests.small_run import small_run
from tests.sweeping import QuickSweep, train_quickly

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
                best = {**summary["best"], "validation_accuracy": score}
                told = {**summary, "test": test, "best": best}
                (run / "summary.json").write_text(json.dumps(told))
                lines = [json.dumps({**row, "validation_accuracy": score}) for row in rows]
                (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def assert_sound(opened: Page, file: Path) -> None:
    """No complaint, no request, every image decoded, every chart there to be seen."""
    opened.complaints()
    opened.requests()
    opened.open(file)
    assert opened.complaints() == []
    for address in opened.requests():
        assert address.startswith(("file:", "data:")), address
    assert opened.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    sizes = opened.run(
        "return [...document.querySelectorAll('main figure svg, main figure img, .plot canvas')]"
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
    return opened.texts(f"{table} tbody tr > :nth-child({number})")


@pytest.mark.slow
def test_a_runs_page(opened: Page, run_page: Path, small_run: Path) -> None:
    assert_sound(opened, run_page)
    summary = json.loads((small_run / "summary.json").read_text())
    text = opened.run("return document.body.innerText")
    assert f"{100 * summary['test']['accuracy']:.2f} %" in text
    assert f"{summary['parameters']:,}" in text
    assert "cnnrun train config.yaml" in text
    assert (small_run / "config.yaml").read_text().strip() in opened.texts("#config code")[0]
    assert opened.texts("h2") == [
        *("Summary", "Curves", "Confusion", "Classes", "Calibration", "Mistakes"),
        *("Config", "Environment", "Reproduce"),
    ]
    assert sum(map(int, column(opened, "#calibration", 2))) == 360
    assert f"{100 * summary['test']['ece']:.2f} %" in opened.texts("#calibration p")[0]
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
    chart = opened.run("return document.querySelector('.plot')")
    opened.run(
        "const over = arguments[0].querySelector('.u-over'), box = over.getBoundingClientRect();"
        "over.dispatchEvent(new MouseEvent('mousemove',"
        " {clientX: box.left + 9, clientY: box.top + 50, bubbles: true}))",
        chart,
    )
    tip = opened.run("return document.getElementById('tip').textContent")
    assert tip.splitlines()[0] == "epoch 1"
    assert tip.splitlines()[1] == f"\u2068train\u2069: {rows[0]['train_loss']:.4f}"
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
        *((f"li:nth-child({k + 1}) .sample line", "stroke", 3) for k in range(6)),
        *(("svg .tick", "fill", 4.5), ("caption", "color", 4.5)),
    ]:
        assert _contrast(opened.run(colour, selector, key), paper) >= least, selector
    opened.prefer("light")


# A colour as it is seen: whatever CSS writes, over the page's own.
_SEEN = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const seen = (colour, opacity) => {
  canvas.globalAlpha = 1;
  canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
  canvas.fillRect(0, 0, 1, 1);
  canvas.globalAlpha = opacity;
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return `rgb(${canvas.getImageData(0, 0, 1, 1).data.slice(0, 3).join(", ")})`;
};
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_counts_can_be_read_on_their_cells_and_all_lines_are_seen(
    opened: Page, tmp_path: Path, scheme: str
) -> None:
    matrix = confusion([[100, 0], [30, 70]], ["a", "b"])
    shades = confusion([[50, 50, 0], [99, 1, 0], [0, 0, 1]], ["a", "b", "c"])
    shares = [k / 10 for k in range(11)]
    lines = parallel(["lr"], [[str(k)] for k in range(11)], "accuracy", shares, 1, ACCURACY)
    file = tmp_path / "page.html"
    file.write_text(page("c", "c", [Section("Colours", matrix + shades + lines)]))
    opened.prefer(scheme)
    opened.open(file)
    script = (
        _SEEN
        + """
        return [...document.querySelectorAll("svg.confusion text.count")].map(text => {
          const cell = getComputedStyle(text.previousElementSibling);
          return [seen(getComputedStyle(text).fill, 1), seen(cell.fill, cell.fillOpacity)];
        })"""
    )
    cells = opened.run(script)
    assert len(cells) == 8
    assert min(_contrast(*pair) for pair in cells) >= 4.5
    assert len({cell for _, cell in cells}) >= 5, "shades differ"
    script = """
        return [...document.querySelectorAll(".trial")]
          .map(line => [seen(getComputedStyle(line).stroke, 1), seen("#0000", 1)])"""
    trials = opened.run(_SEEN + script)
    assert len({line for line, _ in trials}) == 11
    assert min(_contrast(*pair) for pair in trials) >= 3
    opened.prefer("light")


def test_many_runs(opened: Page, many: Path, cnnrun: Command) -> None:
    written = cnnrun("report", many)
    assert written.code == 0, written.err
    file = Path(written.out.strip())
    assert file == many / "report.html"
    assert_sound(opened, file)
    assert "eta squared" in opened.texts("#importance")[0]
    numbers = opened.texts("#curves details tbody tr")
    assert numbers[0].startswith("1")
    assert "±" in numbers[0]
    assert len(opened.texts(".runs tbody tr")) == 12
    chart = opened.run("return document.querySelector('.plot')")
    chart.send_keys(Keys.END)
    tip = opened.run("return document.getElementById('tip').textContent").splitlines()
    assert tip[0] == "epoch 2"
    assert all(re.fullmatch(r".+: [\d.]+ ± [\d.]+ %", line) for line in tip[1:]), tip
    chart.send_keys(Keys.ESCAPE)
    assert len(opened.texts("#groups tbody tr")) == 6
    assert len(opened.texts("svg.parallel polyline")) == 6
    importance = dict(
        zip(column(opened, "#importance", 1), column(opened, "#importance", 2), strict=True)
    )
    shares = {key: float(text.removesuffix(" %")) for key, text in importance.items()}
    assert shares["optimizer.lr"] > 80 > 20 > shares["dataset.batch_size"]
    title = "[...document.querySelectorAll('.runs th button')]"
    opened.run(f"{title}.find(b => b.textContent === 'validation accuracy').click()")
    scores = [float(text.removesuffix(" %")) for text in column(opened, ".runs", 7)]
    assert scores == sorted(scores)
    assert (
        "is better than" in opened.texts("#findings")[0]
        or "No difference" in opened.texts("#findings")[0]
    )


@pytest.fixture(scope="module")
def sweep_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Eight trials of a grid, trained by the stub: the score is 1 - lr, and lr = 2 fails."""
    folder = tmp_path_factory.mktemp("sweep")
    tiny = folder / "tiny.yaml"
    tiny.write_text("dataset: digits\nmodel: mlp\noptimizer: sgd\n")
    grid = "grid: {optimizer.lr: [0.1234567, 0.3, 0.6, 2.0], dataset.batch_size: [32, 64]}\n"
    with pytest.MonkeyPatch.context() as patch:
        train_quickly(patch)
        patch.setenv("STARTS", str(folder / "starts"))
        patch.chdir(folder)
        quick = QuickSweep(folder, tiny, grid)
        sweep.start(quick.file, [], sweep.LaunchOptions(workers=2, quiet=True))
        yield quick.sweep_folder


@pytest.mark.slow
def test_a_sweeps_page_has_every_trial_and_optunas_importance(
    opened: Page, sweep_folder: Path, cnnrun: Command, tmp_path: Path
) -> None:
    file = tmp_path / "new folder" / "sweep.html"
    written = cnnrun("report", sweep_folder, "-o", file)
    assert written.code == 0, written.err
    assert_sound(opened, file)
    states = column(opened, "#trials", 5)
    assert states == ["finished"] * 6 + ["failed"] * 2
    assert column(opened, "#trials", 2)[0] == "87.65 %"
    assert [text for text in column(opened, "#trials", 6) if text == "0.1235"], "four digits"
    warnings = opened.texts("#trials .warning")
    assert len(warnings) == 2
    assert "failed: seed 0: the loss is not a number" in warnings[0]
    assert "optimizer.lr=0.1234567" in opened.texts("#trials code")[0], "but all in the command"
    assert "fANOVA (Hutter et al. 2014) of 6 finished trials" in opened.texts("#importance")[0]
    names, shares = (column(opened, "#importance", k) for k in (1, 2))
    assert names[0] == "optimizer.lr"
    assert float(shares[0].removesuffix(" %")) > 90
    # What has no score is last, whichever way the others are sorted.
    title = opened.run("return document.querySelectorAll('#trials th button')[1]")
    for best in ("40.00 %", "87.65 %"):
        title.click()
        scores = column(opened, "#trials", 2)
        assert scores[0] == best
        assert scores[-2:] == ["-", "-"]


def test_the_importance_is_what_optuna_says_itself(sweep_folder: Path) -> None:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    found = sweep.status(sweep_folder)
    shares, options = importances(found)
    assert "by Optuna" in options
    assert shares == get_param_importances(found.study, evaluator=FanovaImportanceEvaluator(seed=0))
    assert found.results.count("finished") == 6


def test_a_report_changes_nothing_in_the_sweep(sweep_folder: Path) -> None:
    def state() -> list[tuple[int, str, object]]:
        trials = sweep.status(sweep_folder).study.trials
        return [(t.number, t.state.name, t.user_attrs) for t in trials]

    before, files = state(), sorted(sweep_folder.rglob("*"))
    many_runs.report(find_runs([sweep_folder]), "sweep", sweep_folder)
    assert state() == before
    assert sorted(sweep_folder.rglob("*")) == files


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("remove", "no trial has started (no sweep.db in it)"),
        ("overwrite", "could not be read, only its runs"),
        ("change", "no trial of this sweep is in sqlite"),
    ],
)
def test_a_sweep_without_its_storage_is_told_by_its_runs(
    sweep_folder: Path, tmp_path: Path, damage: str, told: str
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep_folder, folder)
    if damage == "remove":
        (folder / "sweep.db").unlink()
    elif damage == "overwrite":
        (folder / "sweep.db").write_bytes(b"damaged")
    else:
        text = (folder / "sweep.yaml").read_text()
        (folder / "sweep.yaml").write_text(text.replace("0.3", "0.4"))
    html = many_runs.report(find_runs([folder]), "sweep", folder)
    assert told in html
    assert "eta squared" in html


def test_runs_with_names_of_their_own_are_called_so(many: Path, tmp_path: Path) -> None:
    shutil.copytree(many, tmp_path / "named")
    for file in tmp_path.glob("named/*/*/config.yaml"):
        _, lr, batch, _ = file.parent.name.split("-")
        file.write_text(file.read_text().replace("name: small", f"name: lr{lr}_batch{batch}"))
    html = many_runs.report(find_runs([tmp_path / "named"]), "named", tmp_path)
    assert "lr0.01_batch16 is better than" in html or "between lr0.01_batch" in html
    assert '"group":"A"' not in html


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_no_width_of_screen_makes_the_page_scroll_sideways(
    opened: Page, run_page: Path, width: int
) -> None:
    opened.resize(width, 900)
    opened.open(run_page)
    assert opened.run("return innerWidth") == width
    assert opened.run("return document.documentElement.scrollWidth") <= width
    opened.resize(1200, 900)


def test_a_long_path_makes_no_page_scroll_sideways(opened: Page, tmp_path: Path) -> None:
    path = "/home/somebody/" + "a_folder_with_a_long_name/" * 9
    caption = "what the numbers of this table say, and how they were found"
    body = sentences([f"cannot read {path}"], "warning") + table(caption, ["n"], [[1]])
    file = tmp_path / "page.html"
    file.write_text(page("long", f"A run ({path})", [Section("One", body), Section("Two", body)]))
    opened.resize(390, 900)
    opened.open(file)
    assert opened.run("return document.documentElement.scrollWidth") <= 390
    shares = opened.run(
        "return [...document.querySelectorAll('caption')].map(e => e.getBoundingClientRect())"
        ".map(b => [b.width / innerWidth, b.right])"
    )
    assert min(width for width, _ in shares) > 0.7, "a caption is not as narrow as its table"
    assert max(right for _, right in shares) <= 390
    opened.resize(1200, 900)


def test_on_paper_all_is_there_and_no_word_is_broken(
    opened: Page, many: Path, tmp_path: Path
) -> None:
    file = tmp_path / "many.html"
    file.write_text(many_runs.report(find_runs([many]), "many", many))
    opened.resize(720, 1000)
    opened.open(file)
    opened.on("print")
    styles = "[...document.querySelectorAll('.wide, pre')].map(e => getComputedStyle(e))"
    assert set(opened.run(f"return {styles}.map(s => s.overflowY + s.maxHeight)")) == {
        "visiblenone"
    }
    heights = opened.run(
        "return [...document.querySelectorAll('.plot')].map(e =>"
        " [e.clientHeight, e.querySelector('canvas').clientHeight, e.clientWidth])"
    )
    assert all(abs(plot - canvas) <= 6 for plot, canvas, _ in heights)
    assert max(width for *_, width in heights) < 360, "two charts side by side"
    broken = opened.run(
        """
        const range = document.createRange(), found = [];
        const cells = document.querySelectorAll("th button, td:not(.runs td:last-child) bdi");
        for (const cell of cells) {
          for (const word of cell.textContent.matchAll(/\\S+/g)) {
            range.setStart(cell.firstChild, word.index);
            range.setEnd(cell.firstChild, word.index + word[0].length);
            if (range.getClientRects().length > 1) found.push(word[0]);
          }
        }
        return found"""
    )
    assert broken == []
    opened.on("")
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
    assert "No scores of single classes" in opened.texts("#classes .warning")[0]
    assert "environment.json is missing" in opened.texts("#environment")[0]


def test_a_run_that_has_not_begun_its_first_epoch(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(small_run / "config.yaml", tmp_path)
    html = one_run.report(find_runs([tmp_path])[0])
    assert "No epoch has finished yet" in html
    assert "cnnrun train --resume" in html


def test_runs_that_can_not_be_compared_are_listed(
    opened: Page, small_run: Path, cnnrun: Command, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shutil.copytree(small_run, tmp_path / "cut" / name)
        (tmp_path / "cut" / name / "summary.json").unlink()
    written = cnnrun("report", tmp_path / "cut")
    assert written.code == 0, written.err
    opened.open(Path(written.out.strip()))
    assert "no finished run to compare" in opened.texts("#problems .warning")[0]
    assert column(opened, ".runs", 4) == ["interrupted", "interrupted"]
    assert column(opened, ".runs", 5) == ["2 of 2", "2 of 2"]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.yaml", b"\xff\xfe: [", "This run can"),
        ("summary.json", b"[1]", "This run can"),
        ("summary.json", b'{"test": [], "best": 3, "seconds": "long"}', "This run can"),
        ("metrics.jsonl", b'{"epoch": "x", "train_loss": "high", "lr": []}\n{}\n', "The log"),
        ("environment.json", b"[3]", "environment.json is missing"),
    ],
)
def test_a_damaged_file_costs_the_page_only_what_was_in_it(
    small_run: Path, tmp_path: Path, file: str, content: bytes, told: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "checkpoints/best.pt").unlink()
    (run / file).write_bytes(content)
    assert told in one_run.report(find_runs([run])[0])


def test_where_the_page_can_not_be_written(small_run: Path, cnnrun: Command) -> None:
    folder = cnnrun("report", small_run, "-o", small_run)
    assert folder.code == 1
    assert "is a folder; name the HTML file to write" in folder.err
    below = cnnrun("report", small_run, "-o", small_run / "config.yaml" / "new" / "page.html")
    assert "can't make its folder (Not a directory)" in below.err


@pytest.mark.slow
def test_thousands_of_epochs_make_no_large_page(
    opened: Page, small_run: Path, many: Path, tmp_path: Path
) -> None:
    """Every so many of them are shown, the last one among them."""
    assert shown_epochs(4) == [1, 2, 3, 4]
    folder = tmp_path / "long"
    shutil.copytree(many, folder)
    row = json.loads((small_run / "metrics.jsonl").read_text().splitlines()[0])
    log = "".join(
        json.dumps({**row, "epoch": k + 1, "validation_loss": 1 / (k + 1)}) + "\n"
        for k in range(5000)
    )
    for file in folder.rglob("metrics.jsonl"):
        file.write_text(log)
    runs = find_runs([folder])
    file = tmp_path / "page.html"
    file.write_text(one_run.report(runs[0]))
    assert_sound(opened, file)
    epochs = [int(text) for text in column(opened, "#curves details", 1)]
    assert len(epochs) <= MOST_EPOCHS
    assert epochs[-1] == 5000
    assert float(column(opened, "#curves details", 6)[-1]) == 1 / 5000
    file.write_text(many_runs.report(runs, "long", folder))
    assert_sound(opened, file)
    assert column(opened, "#curves details", 1)[-1] == "5000"


@pytest.mark.slow
def test_plots_are_as_many_as_a_page_bears(opened: Page, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), dtype=np.uint8)
    for k in range(4):
        Image.fromarray(noise).save(tmp_path / f"photo{k}.png", compress_level=0)
    Image.fromarray(noise[:40, :40]).save(tmp_path / "small.png")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "small.png").read_bytes()[:900])
    shown = plots(sorted(tmp_path.glob("*.png")))
    file = tmp_path / "page.html"
    file.write_text(page("p", "p", [Section("Plots", shown)]))
    assert_sound(opened, file)
    assert 1 < opened.run("return document.images.length") < 6
    assert file.stat().st_size < 4 / 3 * MOST_BYTES + 20_000
    damaged, beyond = opened.texts("p.warning")
    assert "damaged.png" in damaged
    assert "photo3.png" in beyond


def test_names_from_elsewhere_are_text(opened: Page, tmp_path: Path) -> None:
    evil = '<img src=x onerror="document.title=1">&"\'</script>'
    matrix = confusion([[1, 2], [0, 3]], [evil, "b"])
    pixel = io.BytesIO()
    Image.new("RGB", (30, 30)).save(pixel, "PNG")
    png = pixel.getvalue()
    mistake = {"number": 0, **dict.fromkeys(("true", "said", "sure", "caption"), evil), "png": png}
    parts = [
        matrix,
        curves([chart(evil, [1, 2], [Line(evil, [1.0, 2.0])])], sentences([evil], evil)),
        parallel([evil], [[evil], ["1"]], evil, [0.1, 0.2], 1, ACCURACY),
        table(evil, [evil], [[evil]]),
        facts([(evil, evil)]),
        code(evil, evil),
        image(png, evil, evil),
        render("mistakes.html", mistakes=[mistake]),
        board.body({"runs": [], "chosen": [], "gone": [], "tasks": {}, "keys": [evil]}),
    ]
    file = tmp_path / "evil.html"
    file.write_text(page(evil, evil, [Section(evil, Markup().join(parts))], nonce=evil))
    assert_sound(opened, file)
    assert opened.texts("h1") == [evil]
    assert opened.texts("code") == opened.texts("dd") == opened.texts("tbody th")[-1:] == [evil]
    assert opened.run("return [...document.images].filter(i => !i.src.startsWith('data:'))") == []
    assert opened.run("return document.querySelectorAll('[onerror]').length") == 0


def test_names_that_are_read_from_right_to_left_turn_nothing_around(
    opened: Page, tmp_path: Path
) -> None:
    first, second = "قطة صغيرة", "חתול 12"
    told = sentences([Markup("<bdi>{}</bdi> classified as <bdi>{}</bdi>").format(first, second)])
    lines = [Line(first, [1.0, 2.0]), Line(second, [2.0, 1.0])]
    drawn = curves([chart("loss", [1, 2], lines, LOSS)], Markup())
    file = tmp_path / "names.html"
    cells = table("t", ["class", "number"], [[first, 1], [second, 2]])
    file.write_text(page(first, "lead", [Section("Names", told + drawn + cells)]), "utf-8")
    assert_sound(opened, file)
    assert opened.texts("h1 bdi") == [first]
    assert opened.texts("tbody bdi") == opened.texts("ul.legend bdi") == [first, second]
    places = opened.run(
        "return [...document.querySelectorAll('#names > p bdi')]"
        ".map(e => e.getBoundingClientRect().left)"
    )
    assert places == sorted(places), "the true class comes first, as in the words"
    label = opened.run("return document.querySelector('.plot').ariaLabel")
    assert "ends at 2.0000" in label
    assert isolated(f"\u2068{first}\u2069") == f"\u2068{first}\u2069"


def test_a_charts_numbers_are_written_as_the_metrics(opened: Page, tmp_path: Path) -> None:
    charts = [
        chart("accuracy", [1], [Line("a", [92.2])], ACCURACY),
        chart("mse", [1], [Line("a", [0.0123456])], MSE),
        chart("loss", [1], [Line("a", [3e-7])], LOSS),
        chart("loss", [1], [Line("a", [3e39])], LOSS),
        chart("learning rate", [1], [Line("a", [0.001])]),
    ]
    file = tmp_path / "numbers.html"
    file.write_text(page("n", "n", [Section("n", curves(charts, Markup()))]))
    opened.open(file)
    shown = []
    for plot in opened.run("return [...document.querySelectorAll('.plot')]"):
        plot.send_keys(Keys.HOME)
        shown.append(opened.texts("#tip")[0].split(": ")[1])
    assert shown == ["92.20 %", "0.01235", "3e-7", "3e+39", "0.001"]


@pytest.mark.parametrize(
    ("metric", "values", "is_log"),
    [
        (LOSS, [2.0, 0.1], True),
        (LOSS, [2.0, 0.3], False),
        (LOSS, [2.0, 0.0], False),
        (MSE, [0.1, 0.001], True),
        (ACCURACY, [5.0, 95.0], False),
    ],
)
def test_plots_and_pages_have_the_same_logarithmic_axes(
    opened: Page, tmp_path: Path, metric: Metric, values: list[float], is_log: bool
) -> None:
    assert (metric.wants_log_axis([values[0], math.nan, values[1]])) == is_log
    line = Line("train", [values[0], None, values[1]])
    file = tmp_path / "page.html"
    drawn = curves([chart(metric.name, [1, 2, 3], [line], metric)], Markup())
    file.write_text(page("c", "c", [Section("Curves", drawn)]))
    opened.open(file)
    spec = "JSON.parse(document.querySelector('.chart').dataset.chart)"
    assert opened.run(f"return looks.wantsLog({spec})") == is_log
    shares = [value / metric.scale for value in values]
    figure = draw_curves([1, 2], {metric.name: {"train": shares}}, [0.1, 0.1], None, "t")
    assert figure.axes[1].get_yscale() == ("log" if is_log else "linear")


@pytest.mark.parametrize("count", [2, 10, 100, 200])
def test_confusion_of_few_and_many_classes(opened: Page, tmp_path: Path, count: int) -> None:
    matrix = np.random.default_rng(0).integers(0, 9, (count, count))
    names = [f"class number {k}" for k in range(count)]
    file = tmp_path / "page.html"
    file.write_text(page("c", "c", [Section("Confusion", confusion(matrix.tolist(), names))]))
    assert_sound(opened, file)
    cells = opened.texts("svg.confusion rect title")
    assert len(cells) == min(np.count_nonzero(matrix), MOST_CELLS)
    if count < 200:
        told = f"class number 1 classified as class number 0: {matrix[1, 0]} of {matrix[1].sum()}"
        assert told in [text.translate(dict.fromkeys((0x2068, 0x2069))) for text in cells]
    outside = opened.run(
        "const svg = document.querySelector('svg.confusion').getBoundingClientRect();"
        "return [...document.querySelectorAll('svg.confusion text')]"
        ".map(e => e.getBoundingClientRect())"
        ".filter(b => b.left < svg.left - 1 || b.top < svg.top - 1 || b.bottom > svg.bottom + 1)"
        ".length"
    )
    assert outside == 0
    rows = opened.run(
        "return [...document.querySelectorAll('svg.confusion text[text-anchor=end]')]"
        ".map(e => e.getBoundingClientRect().top)"
    )
    assert min(b - a for a, b in pairwise(rows)) >= 13, "names do not overlap"
    counts = [int(text) for text in column(opened, "#confusion", 3)]
    off = np.sort(matrix[~np.eye(count, dtype=bool)])[::-1]
    assert counts == [n for n in off[:MOST_PAIRS].tolist() if n]


def test_a_thousand_classes_are_a_table_of_their_largest_errors() -> None:
    matrix = np.diag(np.full(1000, 50))
    matrix[3, 7] = 12
    html = confusion(matrix.tolist(), [f"n{k}" for k in range(1000)])
    assert "A matrix of 1,000 classes is not drawn" in html
    assert "<svg" not in html
    assert re.search("n3.*n7.*>12<.*19.4 %", html)


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


def test_a_chart_leaves_out_what_is_no_number(opened: Page, tmp_path: Path) -> None:
    gaps = chart("loss", [1, 2, 3, 4], [Line("a", [1.0, None, float("nan"), 2.0])])
    none = chart("nothing", [1], [Line("a", [None])])
    file = tmp_path / "page.html"
    file.write_text(page("c", "c", [Section("c", curves([gaps, none], Markup()))]))
    opened.complaints()
    opened.open(file)
    assert opened.complaints() == []
    assert opened.texts(".chart.empty .plot") == ["No numbers to draw."]
    plot = opened.run("return document.querySelector('.plot')")
    told = []
    for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.END):
        plot.send_keys(key)
        told.append(opened.texts("#tip")[0].splitlines()[1])
    assert told == [f"\u2068a\u2069: {text}" for text in ("1", "no number", "2")]


@pytest.mark.parametrize("order", [1, -1])
def test_a_trial_has_one_name_and_one_rank_on_the_whole_page(
    sweep_folder: Path, order: int
) -> None:
    """In whatever order the runs are found, and also where trials have equal scores."""
    html = many_runs.report(find_runs([sweep_folder])[::order], "sweep", sweep_folder)
    html = html.replace("<bdi>", "").replace("</bdi>", "")
    groups, trials = (html.split(f'<section id="{name}"')[1] for name in ("groups", "trials"))
    first_cells = [re.findall(r"<tr><th[^>]*>([^<]*)</th>", part) for part in (groups, trials)]
    names = [name for name in first_cells[0] if name.startswith("trial ")]
    ranked = [number for number in first_cells[1] if number.isdecimal()]
    assert names
    assert [name.removeprefix("trial ") for name in names] == ranked[: len(names)]
    assert "best first by validation accuracy" in html


def test_each_task_is_shown_with_its_own_scores(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "mixed")
    runs.add(0, 0.875)
    mse = {"mse": 0.0123, "psnr": 19.5, "ssim": 0.5, "loss": 0.1}
    runs.add(0, None, task={"name": "reconstruct"}, test=mse)
    html = many_runs.report(find_runs([tmp_path]), "mixed", tmp_path)
    for text in ("Findings of classify", "Findings of reconstruct", "87.50 %", "0.01230"):
        assert text in html
    assert "Not compared" not in html
    tasks = re.findall(r'"task":"(\w+)","group":"A"', html)
    assert sorted(tasks) == ["classify", "reconstruct"], "each task has a group A"
