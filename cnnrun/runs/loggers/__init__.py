"""Loggers: each is a class in a file, `@loggers.register("name")`.

`metrics.jsonl` and `summary.json` are always written; loggers get the same and write it for other
tools. `forwarding.py` calls them, and training continues if one fails.
"""

from cnnrun.runs.loggers import csv_file, mlflow, tensorboard, wandb

__all__ = ["csv_file", "mlflow", "tensorboard", "wandb"]
