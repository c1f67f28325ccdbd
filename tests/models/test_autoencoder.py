"""Reconstruction: losses, noise, models, scores, and what codes are worth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.components.image_metrics import psnr, ssim
from cnnrun.data.pixel_targets import Noise, PixelPipeline
from cnnrun.models.autoencoder import ConvAutoencoder, VariationalAutoencoder
from cnnrun.registry import losses
from tests.conftest import CONFIGS, Command, thorough_only

AUTOENCODER = """\
task: {name: reconstruct, probe_labels: 50, probe_seeds: 2}
dataset: {name: digits, batch_size: 64}
model: {name: conv_autoencoder, code: 8, channels: [8, 16]}
optimizer: {name: adam, lr: 0.005}
device: cpu
training: {epochs: 2, draw: false}
"""


@pytest.fixture
def autoencoder(tmp_path: Path) -> Path:
    file = tmp_path / "autoencoder.yaml"
    file.write_text(AUTOENCODER)
    return file


def _images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_and_psnr_are_those_of_torchmetrics(channels: int) -> None:
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    a = _images(4, channels, 40, 32)
    b = (a + 0.2 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    # torchmetrics also counts windows over a reflected border; the paper's lie in the image.
    _, likeness = structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = likeness[..., 5:-5, 5:-5].flatten(1).mean(1)
    torch.testing.assert_close(ssim(a, b), expected, rtol=1e-4, atol=1e-5)
    squared = (a - b).square().flatten(1).mean(1)
    for k in range(4):
        one = peak_signal_noise_ratio(a[k : k + 1], b[k : k + 1], data_range=1.0)
        assert psnr(squared)[k].item() == pytest.approx(one.item(), abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(3, 20), st.integers(3, 20), st.integers(0, 2**31))
def test_ssim_is_symmetric_and_1_for_equal_images(
    channels: int, height: int, width: int, seed: int
) -> None:
    a, b = _images(2, channels, height, width, seed=seed).split(1)
    torch.testing.assert_close(ssim(a, b), ssim(b, a))
    torch.testing.assert_close(ssim(a, a), torch.ones(1))
    assert ssim(a, b) < 1


@pytest.mark.parametrize("name", ["bce", "mse", "l1", "ssim"])
def test_pixel_losses_are_least_where_images_are_equal_and_have_gradients(name: str) -> None:
    loss = losses.build(losses.get(name).schema()(), num_classes=2, class_counts=torch.ones(2))
    target = 0.1 + 0.8 * _images(3, 1, 12, 12)
    other = (0.1 + 0.8 * _images(3, 1, 12, 12, seed=1)).requires_grad_()
    values = loss(other, target)
    assert values.shape == (3,)
    assert (values > loss(target, target)).all()
    values.sum().backward()
    assert other.grad is not None
    assert other.grad.abs().sum() > 0
    if name == "bce":
        expected = F.binary_cross_entropy(other, target, reduction="none").flatten(1).mean(1)
        torch.testing.assert_close(values, expected)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(3, 33),
    st.integers(3, 33),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from(["transposed", "nearest"]),
    st.booleans(),
)
@pytest.mark.slow
def test_what_comes_back_has_the_size_of_what_went_in(
    height: int, width: int, channels: list[int], upsampling: str, batch_norm: bool
) -> None:
    keys = {"channels": channels, "upsampling": upsampling, "batch_norm": batch_norm, "code": 5}
    images = torch.randn(2, 3, height, width)
    for model in (ConvAutoencoder((3, height, width), **keys), VariationalAutoencoder(
        (3, height, width), **keys)):  # fmt: skip
        back = model(images)
        assert back.pixels.shape == images.shape
        assert back.code.shape == (2, 5)
        assert 0 <= back.pixels.min() <= back.pixels.max() <= 1


def test_the_penalty_of_a_vae_is_the_divergence_that_torch_computes() -> None:
    from torch.distributions import Normal, kl_divergence

    model = VariationalAutoencoder((1, 8, 8), code=3, beta=2.0).eval()
    images = torch.randn(5, 1, 8, 8)
    mean, log_variance = model.encoder(images).chunk(2, dim=1)
    unit = Normal(torch.zeros(3), torch.ones(3))
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), unit).sum(1)
    torch.testing.assert_close(model(images).penalty, 2.0 * expected / 64)


@pytest.mark.slow
def test_a_linear_autoencoder_finds_the_plane_of_pca(tmp_path: Path, cnnrun: Command) -> None:
    """Baldi and Hornik 1989: at its best it is as good as PCA, and never better."""
    from sklearn.decomposition import PCA

    from cnnrun.data.sources.digits import digits

    file = tmp_path / "linear.yaml"
    file.write_text(AUTOENCODER)
    run = Path(
        cnnrun("train", file, "-q", "model={name: linear_autoencoder, code: 4}",
               "training.epochs=120", "schedule=cosine", "optimizer.lr=0.01",
               "dataset.validation=0").out.strip()
    )  # fmt: skip
    ours = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["train_mse"]
    data = digits().train
    pixels = torch.as_tensor(data.images[torch.arange(len(data))]).flatten(1).numpy() / 255
    pca = PCA(4).fit(pixels)
    best = np.square(pca.inverse_transform(pca.transform(pixels)) - pixels).mean()
    assert best * 0.999 < ours < best * 1.02


@pytest.mark.parametrize("kind", ["gaussian", "masking"])
def test_noise_is_in_the_inputs_alone_and_the_same_for_any_batch_size(kind: str) -> None:
    pipeline = PixelPipeline([], [0.5], [0.5], interpolation="nearest",
                             device=torch.device("cpu"), num_classes=2)  # fmt: skip
    pipeline.noise = Noise(kind, 0.3)  # type: ignore[arg-type]
    images = torch.randint(0, 256, (10, 1, 8, 8), dtype=torch.uint8)
    labels = torch.zeros(10, dtype=torch.int64)
    inputs, targets = pipeline(images, labels, None)
    torch.testing.assert_close(targets, images / 255)
    assert not torch.equal(inputs, pipeline.normalize(images))
    for size in (1, 3):
        parts = [
            pipeline(a, b, None)
            for a, b in zip(images.split(size), labels.split(size), strict=True)
        ]
        assert torch.equal(torch.cat([part[0] for part in parts]), inputs)
    first, second = (pipeline(images, labels, torch.Generator().manual_seed(k))[0] for k in (1, 2))
    assert not torch.equal(first, second)
    black = (pipeline.denormalize(first) < 1e-6).float().mean() - (images == 0).float().mean()
    if kind == "masking":
        assert 0.2 < black < 0.4


@pytest.mark.slow
def test_a_run_of_an_autoencoder_from_training_to_outliers(
    cnnrun: Command, autoencoder: Path
) -> None:
    ended = cnnrun("train", autoencoder, "--json", "training.epochs=5", "training.draw=true")
    assert ended.code == 0, ended.err
    summary = json.loads(ended.out)
    run = Path(summary["run"])
    assert set(summary["test"]) == {"mse", "psnr", "ssim", "loss"}
    for name in ("reconstructions", "latent", "walks", "curves", "samples"):
        assert (run / "plots" / f"{name}.png").stat().st_size > 2000
    whole = json.loads(cnnrun("eval", run, "--json", "--outliers", 5).out)
    assert whole["mse"] == summary["test"]["mse"]
    assert [row["mse"] for row in whole["outliers"]] == sorted(
        (row["mse"] for row in whole["outliers"]), reverse=True
    )
    assert Path(whole["plot"]).is_file()
    per_class = sum(row["mse"] * row["support"] for row in whole["per_class"]) / whole["samples"]
    assert per_class == pytest.approx(whole["mse"], rel=1e-5)
    assert whole["compression"] == {"numbers": 8.0, "bytes": 2.0}
    assert whole["usefulness"]["pca"]["size"] == 8
    for features in ("code", "pca", "pixels"):
        assert 0.3 < whole["usefulness"][features]["linear"] <= 1
    for size in (1, 7):
        again = json.loads(cnnrun("eval", run, "--json", "--batch-size", size).out)
        assert again["mse"] == pytest.approx(whole["mse"], rel=1e-5)
    text = cnnrun("eval", run).out
    assert "PSNR" in text
    assert "100 labelled" not in text  # this experiment asks for 50
    assert "50 labelled training images (mean of 2 draws)" in text


@pytest.mark.slow
def test_a_killed_vae_ends_like_one_never_stopped(
    autoencoder: Path, killed_and_resumed: Callable[..., tuple[Path, Path]]
) -> None:
    changes = ("model={name: vae, code: 2, channels: [4]}", "task.noise=0.2", "loss=bce",
               "training.ema=0.9", "training.draw=false")  # fmt: skip
    a, b = (
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)
        for run in killed_and_resumed(30, autoencoder, *changes)
    )
    for part in ("model", "raw"):
        for key, value in a[part].items():
            assert torch.equal(value, b[part][key]), key


def test_the_encoder_of_a_run_serves_a_classifier(cnnrun: Command, autoencoder: Path) -> None:
    run = Path(cnnrun("train", autoencoder, "-q").out.strip())
    classifier = autoencoder.with_name("classifier.yaml")
    classifier.write_text(
        "dataset: {name: digits, batch_size: 64}\n"
        "model: {name: encoder_classifier, code: 8, channels: [8, 16]}\n"
        f"transfer: {{weights: {run}, freeze: features}}\n"
        "optimizer: {name: adam, lr: 0.01}\n"
        "training: {epochs: 3, draw: false}\n"
    )
    ended = cnnrun("train", classifier, "-q")
    assert ended.code == 0, ended.err
    weights = [
        torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["model"]
        for folder in (run, Path(ended.out.strip()))
    ]
    shared = [key for key in weights[0] if key.startswith("encoder.")]
    assert shared
    for key in shared:
        assert torch.equal(weights[0][key], weights[1][key])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["model={name: mlp, hidden: [8]}"], "task: task reconstruct needs an autoencoder"),
        (["loss=cross_entropy"], "this loss compares labels or masks, not pixels"),
        (["training.monitor=accuracy"], "training.monitor: 'accuracy' is not measured"),
        (["task.noise=2"], "task.noise"),
    ],
)
def test_what_does_not_fit_an_autoencoder_is_told(
    cnnrun: Command, autoencoder: Path, changes: list[str], told: str
) -> None:
    ended = cnnrun("train", autoencoder, *changes)
    assert ended.code == 2
    assert told in ended.err
    assert "autoencoder.yaml" in ended.err or "command line" in ended.err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("loss=ssim", "this loss compares pixels, not labels"),
        ("model=vae", "an autoencoder does not classify"),
        ("model=image", "it classifies nothing"),
    ],
)
def test_what_does_not_classify_is_told(
    cnnrun: Command, tiny: Path, change: str, told: str
) -> None:
    ended = cnnrun("check", tiny, change, "dataset.channels=rgb")
    assert (ended.code, told in ended.err) == (2, True), ended.err


def test_plots_and_outliers_of_a_classifier_are_refused(cnnrun: Command, tiny: Path) -> None:
    run = cnnrun("train", tiny, "-q", "training.epochs=1").out.strip()
    assert "needs an autoencoder" in cnnrun("viz", "reconstructions", run).err
    ended = cnnrun("eval", run, "--outliers", 3)
    assert (ended.code, "needs an autoencoder" in ended.err) == (2, True)


@thorough_only
@pytest.mark.mnist
@pytest.mark.slow
def test_a_code_of_32_numbers_beats_pca_and_its_probe_beats_pixels(
    cnnrun: Command, mnist_root: Path
) -> None:
    run = cnnrun("train", CONFIGS / "mnist_autoencoder.yaml", "-q", f"dataset.root={mnist_root}")
    found = json.loads(cnnrun("eval", run.out.strip(), "--json").out)["usefulness"]
    assert (found["labels"], found["seeds"], found["code"]["size"]) == (100, 5, 32)
    assert found["code"]["mse"] < 0.6 * found["pca"]["mse"]
    assert found["code"]["linear"] > found["pixels"]["linear"]


def test_the_shipped_autoencoders_are_valid() -> None:
    from cnnrun.config.experiment import load

    names = [file.stem for file in CONFIGS.glob("*.yaml") if "reconstruct" in file.read_text()]
    assert {"mnist_autoencoder", "mnist_denoising", "mnist_vae"} <= set(names)
    for name in names:
        assert load(CONFIGS / f"{name}.yaml").task.name == "reconstruct"
