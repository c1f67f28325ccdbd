"""A logger of your own: cnnrun train digits_cnn 'loggers=[chat]' --plugin examples/my_logger.py"""

from pathlib import Path
from typing import Any

from cnnrun.plugin import Logger, Row, loggers


@loggers.register("chat")
class Chat(Logger):
    """Adds a line per epoch to a text file."""

    def __init__(self, *, file: str = "chat.txt") -> None:
        self.file = Path(file)

    def start(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Called before training, and again when the run is resumed."""
        self.name = run.name
        return {}

    def epoch(self, row: Row) -> None:
        """Called after each epoch with its line of `metrics.jsonl`."""
        with self.file.open("a") as lines:
            lines.write(f"{self.name}: epoch {row['epoch']}, loss {row['train_loss']:.3f}\n")
