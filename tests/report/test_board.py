"""The board of a report: curves to zoom and smooth, runs to choose, filter and compare."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cnnrun.comparison import find_runs
from cnnrun.report import board, many_runs
from tests.browser import Page, browser
from tests.comparison.test_compare import Runs
from tests.report.test_report import assert_sound

ROWS = [
    {"epoch": k + 1, "lr": 0.1, "train_loss": 2 / (k + 1), "validation_loss": 1.0, **more}
    for k, more in enumerate([{"validation_accuracy": v} for v in (0.1, 0.5, 0.3, 0.9, 0.7)])
]


@pytest.fixture(scope="module")
def opened() -> Iterator[Page]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two learning rates and two seeds of one, with logs of five epochs."""
    made = Runs(tmp_path_factory.mktemp("board") / "runs")
    for seed, lr in ((0, 0.1), (1, 0.1), (0, 0.5)):
        run = made.add(seed, 0.7, optimizer={"name": "sgd", "lr": lr})
        lines = [json.dumps(row) + "\n" for row in ROWS]
        (run / "metrics.jsonl").write_text("".join(lines))
    return made.folder


@pytest.fixture
def shown(opened: Page, runs: Path, tmp_path: Path) -> Page:
    file = tmp_path / "page.html"
    file.write_text(many_runs.report(find_runs([runs]), "runs", runs))
    assert_sound(opened, file)
    return opened


def _x_axes(page: Page) -> list[list[float]]:
    """The epochs between which the board's charts lie, as their fields say."""
    found = "return [...document.querySelectorAll('.curves .zoom input')].map(e => Number(e.value))"
    values: list[float] = page.run(found)
    return [values[k : k + 2] for k in range(0, len(values), 2)]


def _tip(page: Page) -> list[str]:
    return page.texts("#tip")[0].translate({0x2068: None, 0x2069: None}).splitlines()


@pytest.mark.slow
def test_curves_are_zoomed_by_fields_keys_and_the_pointer(shown: Page) -> None:
    assert _x_axes(shown) == [[1, 5]]
    field = shown.run("return document.querySelector('.curves .zoom input')")
    shown.run("arguments[0].value = 3; arguments[0].dispatchEvent(new Event('change'))", field)
    assert _x_axes(shown) == [[3, 5]]
    shown.run("document.querySelector('.curves .zoom button').click()")
    assert _x_axes(shown) == [[1, 5]]
    chart = shown.run("return document.querySelector('.curves .plot')")
    chart.send_keys(Keys.END)
    chart.send_keys("+")
    assert _x_axes(shown) == [[4, 5]]
    chart.send_keys("0")
    assert _x_axes(shown) == [[1, 5]]
    over = chart.find_element(By.CSS_SELECTOR, ".u-over")
    half = over.size["width"] // 2
    drag = ActionChains(shown.driver).move_to_element_with_offset(over, 2 - half, 0)
    drag.click_and_hold().move_by_offset(half - 2, 0).release().perform()
    assert _x_axes(shown) == [[1, 3]]
    ActionChains(shown.driver).double_click(over).perform()
    assert _x_axes(shown) == [[1, 5]]


def test_smoothing_keeps_the_weights_of_what_has_come(shown: Page) -> None:
    shown.run(
        "const e = document.querySelector('.smoothing');"
        "e.value = 0.5; e.dispatchEvent(new Event('input'))"
    )
    chart = shown.run("return document.querySelector('.curves .plot')")
    told = []
    for key in (Keys.HOME, Keys.ARROW_RIGHT):
        chart.send_keys(key)
        told.append(_tip(shown)[1])
    second = (0.25 * 10 + 0.5 * 50) / 0.75
    assert [text.split(": ")[1] for text in told] == ["10.00 %", f"{second:.2f} %"]


@pytest.mark.slow
def test_runs_are_filtered_chosen_and_compared(shown: Page) -> None:
    assert shown.texts(".configs tbody td") == ["0.1", "0.5"], "one run of each group"
    assert shown.texts(".legend")[-1] == "lr=0.1lr=0.5"
    box = shown.run("return document.querySelector('.filter')")
    box.send_keys("LR=0.1 seed=1")
    visible = (
        "return [...document.querySelectorAll('.runs tbody tr')].filter(r => !r.hidden).length"
    )
    assert shown.run(visible) == 1
    assert shown.texts(".count") == ["1 of 3 runs, 2 selected"]
    shown.run("document.querySelector('.all').click()")
    shown.run("return new Promise(requestAnimationFrame)")
    assert shown.texts(".count") == ["1 of 3 runs, 3 selected"]
    assert len(shown.texts(".curves .chart:first-child .legend li")) == 3


def test_columns_and_curves_are_chosen(shown: Page) -> None:
    before = shown.texts(".curves figcaption")
    assert before == ["validation accuracy", "validation loss", "train loss"]
    pick = "[...document.querySelectorAll('.{} label')].find(l => l.textContent.trim() === '{}')"
    for place, name in (("charts-shown", "learning rate"), ("columns", "state")):
        shown.run(f"{pick.format(place, name)}.querySelector('input').click()")
        shown.run("return new Promise(requestAnimationFrame)")
    assert shown.texts(".curves figcaption") == [*before, "learning rate"]
    assert "state" not in shown.texts(".runs th button")


def test_each_task_has_its_own_curves_metrics_and_scores(opened: Page, tmp_path: Path) -> None:
    made = Runs(tmp_path / "mixed")
    scores = {
        "classify": {"accuracy": 0.875},
        "multilabel": {"map": 0.5, "exact": 0.25},
        "regress": {"r2": 0.5, "mae": 12.5, "rmse": 20.0},
        "segment": {"miou": 0.25, "pixel_accuracy": 0.75},
    }
    for task, test in scores.items():
        run = made.add(0, None, task={"name": task}, test={**test, "loss": 1.0})
        # Of label sets, the mean average precision is not measured at each epoch.
        logged = {"macro_f1_half": 0.5} if task == "multilabel" else test
        row = {f"validation_{key}": value for key, value in logged.items()}
        (run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, **row}) + "\n")
    file = tmp_path / "page.html"
    file.write_text(many_runs.report(find_runs([made.folder]), "mixed", made.folder))
    assert_sound(opened, file)
    assert sorted(opened.texts(".curves h3")) == sorted(scores)
    drawn = opened.texts(".curves figcaption")
    for title in ("accuracy", "macro F1 at 0.5", "R2", "mIoU"):
        assert f"validation {title}" in drawn
    heads = opened.texts(".runs th button")
    place = heads.index("test mIoU") + 2
    cells = opened.texts(f".runs tbody tr > :nth-child({place})")
    assert sorted(cells) == ["-", "-", "-", "0.2500"]


def test_losses_that_are_not_the_same_have_charts_of_their_own(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    found = find_runs([folder])
    assert set(board.losses_of(found).values()) == set()
    file = found[0].path / "config.yaml"
    file.write_text(file.read_text() + "loss: {name: focal, gamma: 2.0}\n")
    assert "loss=focal" in board.losses_of(find_runs([folder]))[found[0].path]


def test_images_by_epoch_are_within_the_page(opened: Page, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    found = find_runs([folder])
    progress = found[0].path / "plots" / "progress"
    progress.mkdir(parents=True)
    for epoch in (1, 2, 10):
        Image.new("RGB", (40, 30), (epoch, 0, 0)).save(progress / f"epoch_{epoch:04}.png")
    (progress / "epoch_0011.png").symlink_to(found[0].path / "config.yaml")
    file = tmp_path / "page.html"
    file.write_text(many_runs.report(found, "images", folder))
    assert_sound(opened, file)
    assert opened.texts(".epoch-told") == ["epoch 10"]
    opened.run(
        "const e = document.querySelector('.epoch');"
        "e.value = 0; e.dispatchEvent(new Event('input'))"
    )
    assert opened.texts(".gallery figcaption")[0].endswith("epoch 1")
    assert opened.run("return document.querySelector('.gallery img').src").startswith("data:image")


def test_a_page_holds_as_many_numbers_as_it_bears(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_runs([runs])
    whole = board.held(found, {}, found)
    assert [one["log"]["epoch"] for one in whole["runs"]] == [[1, 2, 3, 4, 5]] * 3
    monkeypatch.setattr(board, "MOST_NUMBERS", 60)  # of three logs of five columns
    part = board.held(found, {}, found)
    assert [one["log"]["epoch"] for one in part["runs"]] == [[1, 3, 5]] * 3
