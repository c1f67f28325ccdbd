"""Every command in the documentation runs, its configs are valid, its pages up to date."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision.models import ResNet18_Weights, resnet18

from cnnrun.config.document import read
from cnnrun.config.experiment import from_dict
from cnnrun.registry import KINDS
from docs_build import DOCS, generated_pages
from tests.conftest import REPOSITORY, Command
from tests.docs.pages import PAGES, alike, all_blocks, blocks, commands, name_of, set_up
from tests.docs.session import type_in

# ```bash blocks are not run: page, what the block begins with, why.
NOT_RUN = {
    ("README.md", "make install"): "needs the network",
    ("README.md", "cnnrun train photos.yaml"): "downloads weights; run below with stand-ins",
    ("docs/howto/fine_tuning.md", "cnnrun train photos.yaml"): "downloads weights; the same line",
    ("CONTRIBUTING.md", "make install-dev"): "is what runs this test",
    ("docs/howto/report.md", "cnnrun report runs --serve"): "serves until Ctrl-C",
    ("docs/howto/report.md", "ssh -L"): "needs another machine",
    ("docs/howto/multi_gpu.md", "#!/bin/bash"): "needs Slurm",
    ("docs/howto/sweeps.md", "cnnrun sweep --join"): "needs a PostgreSQL server and other machines",
    ("docs/howto/sweeps.md", "#!/bin/bash"): "needs Slurm",
    ("docs/howto/sweeps.md", "pip install 'cnnrun[ray]'"): "needs Ray",
    ("docs/howto/sweeps.md", "pip install 'cnnrun[slurm]'"): "needs Slurm",
    ("docs/howto/multi_gpu.md", "torchrun --nproc"): "needs GPUs",
    ("docs/howto/multi_gpu.md", "torchrun --nnodes"): "needs several machines",
    ("docs/ideas/style_transfer.md", "cnnrun train"): "needs the weights of a VGG, 548 MB",
    ("docs/ideas/initialization.md", "cnnrun study"): "needs MNIST and minutes",
    ("docs/ideas/mlp_vs_cnn.md", "cnnrun study"): "needs MNIST and minutes",
    ("docs/ideas/augmentation.md", "cnnrun study"): "needs MNIST and minutes",
    ("docs/ideas/transfer.md", "cnnrun study"): "needs MNIST and minutes",
}
SESSIONS = [page for page in PAGES if any(b.language == "console" for b in blocks(page))]
# What a newcomer reads, in this order, in one folder.
FIRST = [REPOSITORY / "README.md", DOCS / "tutorial.md"]


def _do_what_it_shows(page: Path, folder: Path, quick_path: Path) -> None:
    """Type the page's commands, in order, in one shell, in a folder that has its own files."""
    set_up(page, folder)
    consoles = [block for block in blocks(page) if block.language == "console"]
    typed = [command for block in consoles for command in commands(block)]
    ended = type_in([command.text for command in typed], folder, quick_path)
    assert len(ended) == len(typed)
    for command, (code, output) in zip(typed, ended, strict=True):
        fails = bool(command.shown) and command.shown[-1].startswith("error:")
        assert bool(code) == fails, f"$ {command.text}\n{output}"
        printed = iter([alike(line) for line in output.splitlines()])
        for line in command.shown:
            if line.strip() != "...":
                assert alike(line) in printed, f"$ {command.text}\n{line}\n--\n{output}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in SESSIONS if p not in FIRST], ids=name_of)
def test_commands_do_what_the_page_shows(page: Path, quick_path: Path, tmp_path: Path) -> None:
    _do_what_it_shows(page, tmp_path, quick_path)


@pytest.mark.slow
def test_the_readme_and_then_the_tutorial_work_in_one_folder(
    quick_path: Path, tmp_path: Path
) -> None:
    """What the first left behind is next to the second's own; nothing of it is needed there."""
    for page in FIRST:
        _do_what_it_shows(page, tmp_path, quick_path)
        for path in tmp_path.iterdir():
            if path.is_dir() and path.name != "runs":
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()


def test_a_changed_output_would_be_noticed(quick_path: Path, tmp_path: Path) -> None:
    [(code, output)] = type_in(["cnnrun list model mlp | head -1"], tmp_path, quick_path)
    assert (code, output) == (0, "model mlp\n")
    assert type_in(["cnnrun train absent.yaml"], tmp_path, quick_path)[0][0] == 2
    assert alike("epoch  3/20  loss 0.0332  best") == alike("epoch 13/20  loss 1e-05")
    assert alike("test accuracy 98 %") != alike("test loss 98 %")


def test_commands_that_are_not_run_are_known() -> None:
    found = {(name_of(block.page), block.text.partition("\n")[0]) for block in all_blocks("bash")}
    for page, first in found:
        assert any(page == p and first.startswith(begins) for p, begins in NOT_RUN), (page, first)
    for page, begins in NOT_RUN:
        assert any(page == p and first.startswith(begins) for p, first in found), (page, begins)
    assert not all_blocks("sh")
    hidden = [b for b in all_blocks("text") if any(x.startswith("$ ") for x in b.text.split("\n"))]
    assert not hidden


@pytest.fixture
def stand_in_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights under the name of those that torchvision would download."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(resnet18().state_dict(), tmp_path / "torch" / "hub" / "checkpoints" / file)


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in_weights")
def test_the_line_that_fine_tunes_works(quick_path: Path, tmp_path: Path) -> None:
    """The README's own line, on the photos of its first recipe, at a smaller size."""
    recipes = [b for b in all_blocks("bash") if b.text.startswith("cnnrun train photos")]
    assert {name_of(block.page) for block in recipes} == {"README.md", "docs/howto/fine_tuning.md"}
    assert len({block.text for block in recipes}) == 1
    set_up(recipes[0].page, tmp_path)
    line = recipes[0].text.replace("dataset.size=224", "dataset.size=32 training.epochs=1 -q")
    assert line != recipes[0].text
    draw = "python examples/make_photos.py"
    begin = "cnnrun new photos --dataset folder dataset.root=photos"
    for code, output in type_in([draw, begin, line.strip()], tmp_path, quick_path):
        assert code == 0, output


def test_no_page_guesses_which_run_is_meant() -> None:
    """`RUN=$(cnnrun train ... -q)` is one run; `ls` lists all that are there."""
    for page in PAGES:
        assert "ls -d" not in page.read_text(encoding="utf-8"), page


WHOLE = [block for block in all_blocks("yaml") if block.title]
PARTS = [block for block in all_blocks("yaml") if not block.title]


@pytest.mark.parametrize("block", WHOLE, ids=lambda b: f"{name_of(b.page)}-{b.title}")
def test_whole_configs_pass_check(block: Any, quick_path: Path, tmp_path: Path) -> None:
    """By `cnnrun check`, with the other files of the page; sweeps by `--dry-run`."""
    set_up(block.page, tmp_path)
    before = ["python examples/make_photos.py"] if "root: photos" in block.text else []
    command = f"cnnrun check {block.title}"
    values = yaml.safe_load(block.text)
    if "base" in values:
        kind = "study" if "variants" in values else "sweep"
        command = f"cnnrun {kind} --dry-run {block.title}"
    *_, (code, output) = type_in([*before, command], tmp_path, quick_path)
    assert code == 0, output


@pytest.mark.parametrize("block", PARTS, ids=lambda b: f"{name_of(b.page)}-{b.text[:20]!r}")
def test_parts_of_configs_are_valid(block: Any, tmp_path: Path) -> None:
    """On a config that is valid without them."""
    file = tmp_path / "part.yaml"
    file.write_text(block.text)
    part = read(file).values
    part.pop("plugins", None)
    assert part
    begun = {"name": "x", "dataset": "digits", "model": "cnn"}
    from_dict({**begun, **part}, "the page")


def test_generated_pages_are_up_to_date() -> None:
    """`make docs` writes them."""
    for name, text in generated_pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run `make docs`"


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-d",
        str(tmp_path / "site"),
    ]
    ended = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for loads in ('src="http', "src=http", 'rel="stylesheet" href="http', "@import"):
            assert loads not in text, page
    index = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text())
    assert any(d["location"].startswith("reference/config.html") for d in index["docs"])


def test_images_are_small_and_shown() -> None:
    images = [file for file in (DOCS / "images").rglob("*") if file.is_file()]
    assert len(images) > 20
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for image in images:
        assert image.stat().st_size < 150_000, image.name
        assert f"/{image.relative_to(DOCS / 'images').as_posix()}" in text, image.name


def test_the_gallery_shows_every_plot() -> None:
    for plot in KINDS["plot"].names():
        assert (DOCS / "images" / "gallery" / f"{plot}.png").is_file(), "make images"


def test_every_command_is_in_the_docs(cnnrun: Command) -> None:
    text = "".join(b.text for b in all_blocks("console"))
    listed = cnnrun("--help").out.partition("Commands:")[2].partition("Examples:")[0].splitlines()
    names = [line.split()[0] for line in listed if line[:2] == "  " and line[2:3].strip()]
    assert len(names) > 12
    assert [name for name in names if f"cnnrun {name}" not in text] == []
