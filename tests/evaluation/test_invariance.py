"""Images that are moved: at test time, to see what accuracy is left; and once, as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode

from cnnrun.config.experiment import load
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.displacement import displaced
from cnnrun.engine.build_data import build_dataset
from cnnrun.evaluation.invariance import AMOUNTS, UNTOUCHED, Curve, move
from tests.conftest import Command
from tests.small_run import small_run

__all__ = ["small_run"]

IMAGES = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)


class TestMove:
    @pytest.mark.parametrize("change", list(AMOUNTS))
    def test_nothing_changes_at_the_untouched_amount(self, change: str) -> None:
        moved = move(IMAGES, change, UNTOUCHED[change])
        torch.testing.assert_close(moved, IMAGES / 255)

    def test_torchvision_turns_and_scales_alike(self) -> None:
        smooth = TF.gaussian_blur(IMAGES.float() / 255, [9, 9], [3.0, 3.0])
        for change, angle, scale in (("rotation", 30.0, 1.0), ("scale", 0.0, 1.5)):
            # Its angle turns clockwise, ours the other way.
            options = {"translate": [0, 0], "shear": [0.0], "scale": scale}
            expected = TF.affine(
                smooth, angle=-angle, interpolation=InterpolationMode.BILINEAR, **options
            )
            found = move(smooth, change, angle or scale)
            torch.testing.assert_close(
                found[..., 8:20, 8:20], expected[..., 8:20, 8:20], atol=0.01, rtol=0
            )

    def test_a_quarter_to_the_right(self) -> None:
        moved = move(IMAGES, "shift", 0.25)
        torch.testing.assert_close(moved[..., 7:], IMAGES[..., :-7] / 255)
        assert not moved[..., :6].any()


def test_a_drop_is_below_the_untouched_accuracy() -> None:
    flat = Curve("scale", (0.5, 1, 1.5), np.array([0.9, 0.9, 0.9]))
    steep = Curve("scale", (0.5, 1, 1.5), np.array([0.3, 0.9, 0.6]))
    assert flat.drop == pytest.approx(0)
    assert steep.drop == pytest.approx(0.3)
    assert steep.to_dict() == {"0.5": 0.3, "1": 0.9, "1.5": 0.6}


@pytest.mark.slow
def test_viz_draws_it_and_refuses_what_does_not_classify(
    cnnrun: Command, small_run: Path, tmp_path: Path
) -> None:
    drawn = cnnrun("viz", "invariance", small_run, "-o", "out.png", "-p", "count=50")
    assert drawn.code == 0, drawn.err
    assert (tmp_path / "out.png").is_file()
    (tmp_path / "auto.yaml").write_text(
        "dataset: {name: digits}\ntask: reconstruct\nmodel: {name: linear_autoencoder, code: 4}\n"
        "training: {epochs: 1, draw: false}\ndevice: cpu\n"
    )
    run = cnnrun("train", "auto.yaml", "-q").out.strip()
    refused = cnnrun("viz", "invariance", run)
    assert refused.code == 1
    assert "this plot needs a classifier" in refused.err


class TestDisplace:
    def dataset(self, size: int = 12) -> Dataset:
        """Images with a single white pixel in the middle of nine."""
        images = torch.zeros((40, 1, size, size), dtype=torch.uint8)
        images[..., size // 2, size // 2] = 255
        split = Split(images, torch.arange(40) % 2)
        return Dataset(("a", "b"), split, split, split)

    @given(st.floats(0, 0.4))
    def test_a_pixel_moves_by_its_share_at_most(self, share: float) -> None:
        moved = displaced(self.dataset(), share)
        for split in (moved.train, moved.test, moved.validation):
            assert split is not None
            _, _, rows, columns = split.images[torch.arange(40)].nonzero().unbind(1)
            assert len(rows) == 40  # it stays in the image, and stays one pixel
            for places in (rows, columns):
                assert int((places - 6).abs().max()) <= round(share * 12)
        assert torch.equal(moved.train.labels, self.dataset().train.labels)

    def test_splits_and_images_move_apart_and_always_alike(self) -> None:
        first, second = displaced(self.dataset(), 0.3), displaced(self.dataset(), 0.3)
        assert torch.equal(first.train.images, second.train.images)
        assert not torch.equal(first.train.images, first.test.images)
        assert len(torch.unique(first.train.images.flatten(1), dim=0)) > 10

    def test_in_an_experiment(self, tiny: Path) -> None:
        plain = build_dataset(load(tiny))
        moved = build_dataset(load(tiny, ["dataset.displace=0.25"]))
        other = build_dataset(load(tiny, ["dataset.displace=0.25", "seed=3"]))
        assert not torch.equal(plain.test.images, moved.test.images)
        assert torch.equal(moved.test.images, other.test.images)
        assert torch.equal(moved.test.labels, plain.test.labels)

    def test_images_that_are_decoded_when_used(self, cnnrun: Command, tmp_path: Path) -> None:
        from PIL import Image

        for name in ("train/a", "train/b", "test/a", "test/b"):
            (tmp_path / "own" / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8)).save(tmp_path / "own" / name / f"{number}.png")
        refused = cnnrun(
            "check", "digits_cnn", "dataset={name: folder, root: own, size: 8, displace: 0.1}"
        )
        assert refused.code == 2, refused.err
        assert "displace: only images in memory can be moved" in refused.err
