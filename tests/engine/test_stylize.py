"""Style transfer: its loss against a direct computation, its image, its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from cnnrun.components.losses.neural_style import NeuralStyle, Style, gram_matrix, roughness
from cnnrun.components.losses.vgg_features import VGGFeatures, layer_names
from cnnrun.components.tasks.stylize import Stylize
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.images.one_image import read_image, resized
from cnnrun.errors import UserError
from cnnrun.models.image import TrainedImage
from cnnrun.runner import finishing
from cnnrun.runner.finishing import rising
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import CONFIGS, Command

SMALL = ("loss.weights=random", "dataset.longest=32", "dataset.steps=2", "training.epochs=4",
         "optimizer.max_iter=5", "loss.style_layers={relu1_1: 1, relu2_1: 1}",
         "loss.content_layers={relu2_2: 1}")  # fmt: skip


def _loss(**options: object) -> NeuralStyle:
    styles = options.pop("styles", [Style(file="sample:flower.jpg")])
    layers = {"content_layers": {"relu2_2": 1.0}, "style_layers": {"relu1_1": 1.0, "relu2_1": 0.5}}
    return NeuralStyle(**{"styles": styles, "weights": "random", **layers, **options})  # type: ignore[arg-type]


def test_gram_matrix_and_its_gradient_against_loops_and_finite_differences() -> None:
    maps = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    guide = torch.rand(1, 1, 4, 5, dtype=torch.float64)
    for given in (None, guide):
        ours = gram_matrix(maps, given)
        total = 20.0 if given is None else float(given.sum())
        for i in range(3):
            for j in range(3):
                expected = sum(
                    maps[0, i, y, x]
                    * maps[0, j, y, x]
                    * (1 if given is None else given[0, 0, y, x])
                    for y in range(4)
                    for x in range(5)
                )
                torch.testing.assert_close(ours[i, j], expected / total / 3)
    assert torch.autograd.gradcheck(lambda x: gram_matrix(x).square().mean(), maps)
    assert torch.autograd.gradcheck(lambda x: gram_matrix(x, guide).square().mean(), maps)
    assert torch.autograd.gradcheck(roughness, maps)


def test_the_loss_is_that_of_the_paper_computed_directly() -> None:
    loss = _loss(content_weight=2.0, style_weight=3.0, smoothness=4.0)
    content, image = torch.rand(1, 3, 24, 32), torch.rand(1, 3, 24, 32)
    ours = loss.parts(image, content)
    seen, of_content = loss.features(image), loss.features(content)
    flower = resized(read_image("sample:flower.jpg", longest=32), 21, 32)
    of_style = loss.features(flower[None])
    expected_content = 2 * (seen["relu2_2"] - of_content["relu2_2"]).square().mean()
    torch.testing.assert_close(ours[0], expected_content)
    expected = torch.zeros(())
    for layer, weight in (("relu1_1", 1.0), ("relu2_1", 0.5)):
        grams = []
        for maps in (seen[layer], of_style[layer]):
            channels = maps.shape[1]
            grams.append(torch.einsum("ncyx,ndyx->cd", maps, maps) / maps[0].numel())
            assert grams[-1].shape == (channels, channels)
        expected = expected + weight * (grams[0] - grams[1]).square().mean()
    torch.testing.assert_close(ours[1], 3 * expected, rtol=2e-3, atol=1e-6)
    torch.testing.assert_close(loss(image, content), ours.sum()[None])


def test_a_style_image_against_itself_has_no_style_loss() -> None:
    loss = _loss()
    flower = read_image("sample:flower.jpg", longest=48)
    [flower] = [resized(flower, 32, 48)[None]]
    loss.images = [flower[0]]
    content, style, _ = loss.parts(flower, flower)
    assert style == 0
    assert content == 0


@pytest.mark.slow
def test_extraction_stops_at_the_deepest_layer_and_names_are_torchvisions() -> None:
    from torchvision.models import vgg19

    names = layer_names("vgg19")
    assert [n for n in names if n.startswith("pool")] == [f"pool{k}" for k in range(1, 6)]
    features = VGGFeatures("vgg19", ["relu2_1", "relu1_1"], "max")
    assert features.names[-1] == "relu2_1"
    whole = vgg19(weights=None).features
    assert len(whole) == len(names)
    for name, layer in zip(names, whole, strict=True):
        kind = {"C": "conv", "R": "relu", "M": "pool"}[type(layer).__name__[0]]
        assert name.startswith(kind)
    with pytest.raises(UserError, match="has no layer 'relu2_3'; there are relu1_1, relu1_2"):
        VGGFeatures("vgg19", ["relu2_3"], "max")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [pytest.param(".pth", marks=pytest.mark.slow), ".safetensors"])
def test_weights_of_a_file_are_those_that_torchvision_would_use(
    tmp_path: Path, suffix: str
) -> None:
    from safetensors.torch import save_file
    from torchvision.models import vgg16

    torch.manual_seed(1)
    whole = vgg16(weights=None)
    file = tmp_path / f"vgg16{suffix}"
    if suffix == ".pth":
        torch.save(whole.state_dict(), file)
    else:
        save_file(whole.state_dict(), file)
    loss = _loss(network="vgg16", weights=str(file))
    image = torch.rand(1, 3, 16, 16)
    features = loss.features
    expected = whole.features[: len(features.names)]((image - features.mean) / features.std)
    torch.testing.assert_close(features(image)["relu2_2"], expected)
    with pytest.raises(UserError, match=r"is not torchvision's vgg19|does not fit vgg19"):
        _loss(network="vgg19", weights=str(file), content_layers={"relu3_4": 1.0})


def test_masks_say_where_a_style_goes(tmp_path: Path) -> None:
    left = np.zeros((10, 20), dtype=np.uint8)
    left[:, :10] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    loss = _loss(
        styles=[Style(file="sample:flower.jpg", mask=str(tmp_path / "left.png"))],
        content_weight=0.0, smoothness=0.0,
    )  # fmt: skip
    image = torch.rand(1, 3, 32, 64, requires_grad=True)
    loss(image, image.detach()).sum().backward()
    assert image.grad is not None
    moved = image.grad.abs().sum(1)[0]
    assert moved[:, :24].sum() > 0
    assert moved[:, 44:].sum() == 0
    Image.fromarray(0 * left).save(tmp_path / "black.png")
    with pytest.raises(UserError, match="is black all over"):
        _loss(styles=[Style(file="sample:flower.jpg", mask=str(tmp_path / "black.png"))])


def test_colors_of_the_content_are_kept() -> None:
    content = torch.rand(1, 3, 12, 16) * 0.4 + 0.3
    model = TrainedImage((3, 12, 16), stages=1, colors="content")
    assert model.enter(0, content)
    torch.testing.assert_close(model(content), content)
    with torch.no_grad():
        model.levels[0].add_(0.1)
    # In YIQ, I and Q are differences of channels.
    before, after = content, model(content)
    for a, b in ((0, 1), (1, 2)):
        torch.testing.assert_close(after[:, a] - after[:, b], before[:, a] - before[:, b])


def test_stages_go_from_coarse_to_fine() -> None:
    content = torch.rand(1, 3, 40, 24)
    model = TrainedImage((3, 40, 24), stages=3)
    sizes = []
    for stage in range(3):
        assert model.enter(stage, content)
        assert not model.enter(stage, content)
        sizes.append(tuple(model(content).shape[2:]))
        assert [p.requires_grad for p in model.levels] == [k == stage for k in range(3)]
    assert sizes == [(10, 6), (20, 12), (40, 24)]


@pytest.mark.slow
def test_a_run_ends_with_an_image_and_resumes_to_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]],
) -> None:
    # Step 5 is in the middle of the first epoch of the second size.
    whole, cut = killed_and_resumed(5, CONFIGS / "stylize.yaml", *SMALL)
    for name in ("result.png", "style.png", "curves.png", "progress/epoch_0004.png"):
        assert (whole / "plots" / name).is_file()
    with Image.open(whole / "plots" / "result.png") as result:
        assert (result.mode, result.size) == ("RGB", (32, 21))
    for line in (whole / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        parts = [row[f"train_{name}"] for name in ("content", "style", "smoothness")]
        assert sum(parts) == pytest.approx(row["train_loss"], rel=1e-4)
    pixels = [(path / "plots" / "result.png").read_bytes() for path in (whole, cut)]
    assert pixels[0] == pixels[1]
    # Every size was painted, the second too, not only enlarged.
    levels = Checkpoint.load(whole / "checkpoints" / "last.pt").model
    small, large = levels["levels.0"], levels["levels.1"]
    enlarged = F.interpolate(small, large.shape[2:], mode="bilinear", antialias=True).clamp(0, 1)
    assert (large - enlarged).abs().mean() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["{name: adam, lr: 0.02}", "{name: lbfgs, max_iter: 3}"])
@pytest.mark.parametrize("step", [5, 7])
def test_a_run_goes_on_within_any_size(
    killed_and_resumed: Callable[..., tuple[Path, Path]],
    cnnrun: Command,
    optimizer: str,
    step: int,
) -> None:
    """Saved after steps 4, the end of the first size, and 6, in the middle of the second."""
    whole, cut = killed_and_resumed(
        step, CONFIGS / "stylize.yaml", *SMALL[:4], *SMALL[5:], f"optimizer={optimizer}",
        "training.draw=false",
    )  # fmt: skip
    ours, wanted = (Checkpoint.load(run / "checkpoints" / "last.pt").model for run in (cut, whole))
    assert all(torch.equal(ours[key], wanted[key]) for key in wanted)
    longer = cnnrun("train", "--resume", whole, "training.epochs=5", "-q")
    assert longer.code == 0, longer.err


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lbfgs", "{name: adam, lr: 0.02}"])
def test_the_loss_of_two_photos_falls_by_ten(cnnrun: Command, optimizer: str) -> None:
    """china.jpg in the style of flower.jpg at 64 pixels, through a network of random weights."""
    ended = cnnrun("train", CONFIGS / "stylize.yaml", "-q", "loss.weights=random",
                   "dataset.longest=64", "model.stages=1", "training.epochs=4",
                   f"optimizer={optimizer}", "dataset.steps=40" if "adam" in optimizer else
                   "dataset.steps=3")  # fmt: skip
    assert ended.code == 0, ended.err
    run = Path(ended.out.strip())
    content = read_image("sample:china.jpg", longest=64)[None]
    loss = NeuralStyle(styles=[Style(file="sample:flower.jpg")], weights="random")
    with torch.no_grad():
        first = loss(content, content).item()
        result = read_image(str(run / "plots" / "result.png"))[None]
        last = loss(result, content).item()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert last < first / 10
    assert rows[-1]["train_loss"] < first / 10
    assert 0 <= result.min() <= result.max() <= 1
    assert result.isfinite().all()


def test_a_photo_larger_than_memory_is_taken_smaller(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnrun.data.sources.image.free_bytes", lambda: 8_000_000)
    Image.new("RGB", (600, 400)).save(tmp_path / "big.png")
    ended = cnnrun("check", CONFIGS / "stylize.yaml", *SMALL, "dataset.file=big.png",
                   "dataset.longest=600")  # fmt: skip
    assert ended.code == 0, ended.err
    assert "600 x 400 pixels would take about 0.96 GB, and 0.0 GB are free" in ended.err
    assert "taken at 46 x 31" in ended.err
    assert "dataset.longest sets the size" in ended.err


def test_a_thin_image_and_a_style_larger_than_it(cnnrun: Command, tmp_path: Path) -> None:
    Image.new("RGB", (4000, 10)).save(tmp_path / "thin.png")
    ended = cnnrun("check", CONFIGS / "stylize.yaml", *SMALL, "dataset.file=thin.png",
                   "dataset.longest=500")  # fmt: skip
    assert ended.code == 0, ended.err
    assert "3 x 1 x 500" in ended.out


# `cnnrun` in a process that gets 1.2 GB more than it has.
LIMITED = """\
import resource
from pathlib import Path
from cnnrun.cli import main

pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + 1_200_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
main()
"""


@pytest.mark.slow
def test_a_photo_straight_from_a_camera_does_not_end_the_process(
    shell: Command, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4000, 6000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "big.jpg", quality=30)
    Image.fromarray(noise[:64, :64]).save(tmp_path / "style.png")
    (tmp_path / "limited.py").write_text(LIMITED)
    ended = shell(
        f"python limited.py train {CONFIGS}/stylize.yaml -q loss.weights=random "
        "dataset.file=big.jpg dataset.longest=6000 'loss.styles=[{file: style.png}]' "
        "dataset.steps=1 optimizer.max_iter=1 training.epochs=1 model.stages=1"
    )
    assert ended.code == 0, ended.err
    assert "6000 x 4000 pixels would take about 96 GB" in ended.err


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16"])
def test_images_of_any_mode_are_content_and_style(
    cnnrun: Command, tmp_path: Path, mode: str
) -> None:
    values = np.linspace(0, 255, 20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)
    image = Image.fromarray(values)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    file = tmp_path / ("one.jpg" if mode == "CMYK" else "one.png")
    image.save(file)
    ended = cnnrun("check", CONFIGS / "stylize.yaml", *SMALL, f"dataset.file={file}",
                   f"loss.styles=[{{file: {file}}}]")  # fmt: skip
    assert ended.code == 0, ended.err
    assert "3 x 20 x 30" in ended.out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["dataset.file=nowhere.jpg"], "nowhere.jpg: No such file or directory"),
        (["dataset.file=sample:rome.jpg"], "no sample image 'rome.jpg'; there are china.jpg"),
        (["loss.styles=[{file: gone.png}]"], "gone.png: No such file or directory"),
        (["loss.content_layers={relu9_1: 1}"], "vgg19 has no layer 'relu9_1'"),
        (["model={name: mlp}"], "task stylize trains an image"),
        (["loss=mse"], "task stylize needs the loss neural_style"),
        (["loss.weights=none.pth"], "none.pth: there is no such file"),
    ],
)
def test_what_does_not_fit_style_transfer_is_told(
    cnnrun: Command, changes: list[str], told: str
) -> None:
    ended = cnnrun("check", CONFIGS / "stylize.yaml", *SMALL, *changes)
    assert ended.code in (1, 2)
    assert told in ended.err
    assert "bug" not in ended.err


def test_without_a_network_the_weights_file_is_named(shell: Command, tmp_path: Path) -> None:
    proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
             "TORCH_HOME": str(tmp_path / "cache")}  # fmt: skip
    ended = shell(f"cnnrun check {CONFIGS}/stylize.yaml dataset.longest=32", **proxy)
    assert ended.code == 1
    assert "the file of vgg19 could not be downloaded" in ended.err
    assert "name it as `weights: FILE`" in ended.err
    assert "Traceback" not in ended.err
    assert not list((tmp_path / "cache").rglob("*.pth"))


def test_an_image_whose_loss_only_rises_is_not_called_the_best_in_silence(
    cnnrun: Command,
) -> None:
    usual = ("train", CONFIGS / "stylize.yaml", *SMALL[:4], *SMALL[5:], "model.stages=1",
             "training.draw=false", "device=cpu")  # fmt: skip
    steep = cnnrun(*usual, "optimizer={name: sgd, lr: 1e3}", "-q")
    assert steep.code == 0, steep.err
    assert "the training loss rose from" in steep.err
    assert "without a validation split the last epoch is kept all the same" in steep.err
    gentle = cnnrun(*usual, "optimizer={name: adam, lr: 0.02}", "-q")
    assert (gentle.code, "the training loss rose" in gentle.err) == (0, False), gentle.err


@pytest.mark.parametrize(("stages", "epochs"), [(2, 1), (3, 2), (6, 5)])
def test_fewer_epochs_than_sizes_are_refused(cnnrun: Command, stages: int, epochs: int) -> None:
    """The image would end at another size than was asked for."""
    ended = cnnrun("train", CONFIGS / "stylize.yaml", *SMALL, f"model.stages={stages}",
                   f"training.epochs={epochs}", "-q")  # fmt: skip
    assert ended.code == 2
    assert "training.epochs" in ended.err
    assert f"{epochs} can't go through the {stages} sizes" in ended.err


@pytest.mark.parametrize(("stages", "epochs"), [(1, 3), (2, 4), (2, 5), (3, 3), (3, 7), (4, 9)])
def test_losses_of_one_size_are_compared(stages: int, epochs: int) -> None:
    """The coarse image's losses are others, mostly smaller ones."""
    task, sizes = Stylize(), []
    model = TrainedImage((3, 40, 24), stages=stages)
    split = Split(torch.zeros(1, 3, 40, 24, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    for epoch in range(epochs):
        task.start_epoch(model, Dataset(("x",), split, split), epoch, epochs)
        sizes.append(model.current)
    assert task.loss_since(model, epochs) == sizes.index(stages - 1) + 1


def test_a_loss_that_grows_with_the_image_has_not_risen(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def noted(rows: list[dict[str, Any]]) -> str:
        asked.append([row["epoch"] for row in rows])
        return rising(rows)

    monkeypatch.setattr(finishing, "rising", noted)
    two = ("train", CONFIGS / "stylize.yaml", *SMALL[:4], *SMALL[5:], "training.draw=false",
           "device=cpu", "-q", "optimizer={name: adam, lr: 0.02}", "model.stages=2")  # fmt: skip
    ended = cnnrun(*two)
    assert (ended.code, "rose" in ended.err) == (0, False), ended.err
    run = ended.out.strip()
    assert cnnrun("train", "--resume", run, "loss.style_weight=1e7", "training.epochs=6").code == 0
    assert asked == [[3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("losses", "rises"),
    [
        ([1.0, 2.0, 3.0], True), ([3.0, 2.0, 1.0], False), ([9.0, 1.0, 6.0], True),
        ([9.0, 1.0, 3.0], False), ([1.0], False), ([], False), ([None, 2.0], False),
        ([1.0, 1.001], False), ([0.5, 0.5, 0.5], False), ([-3.0, -1.0], True),
    ],
)  # fmt: skip
def test_when_a_loss_has_risen(losses: list[float | None], rises: bool) -> None:
    rows = [{"epoch": number + 1, "train_loss": loss} for number, loss in enumerate(losses)]
    assert bool(rising(rows)) is rises
