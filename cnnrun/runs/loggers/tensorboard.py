"""TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnnrun.config.document import flattened
from cnnrun.registry import loggers
from cnnrun.runs.loggers.logger import Logger, Row, numbers, require


@loggers.register("tensorboard")
class TensorBoard(Logger):
    """Event files in each run directory: `tensorboard --logdir runs` (`cnnrun[tensorboard]`)."""

    def __init__(self, *, folder: str = "tensorboard") -> None:
        """folder: Folder inside the run directory."""
        require("tensorboard", "tensorboard")
        self.folder = folder

    def start(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.config = run, config
        # Purges what was written for epochs that are trained again.
        done = known.get("epochs")
        self.writer = SummaryWriter(
            run / self.folder, purge_step=None if done is None else done + 1
        )
        return {}

    def epoch(self, row: Row) -> None:
        for name, value in numbers(row).items():
            split, _, metric = name.partition("_")
            # A metric's `train` and `validation` are shown together.
            tag = f"{metric}/{split}" if split in ("train", "validation") else name
            self.writer.add_scalar(tag, value, row["epoch"])
        self.writer.flush()

    def plot(self, name: str, file: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        self.writer.add_image(name, pixels, dataformats="HWC")

    def end(self, summary: dict[str, Any]) -> None:
        scores = numbers(summary.get("test") or {})
        if scores:
            settings = {
                key: value if isinstance(value, (bool, str, int, float)) else str(value)
                for key, value in flattened(self.config).items()
            }
            measured = {f"test/{name}": value for name, value in scores.items()}
            self.writer.add_hparams(settings, measured, run_name=".")
        self.writer.close()
