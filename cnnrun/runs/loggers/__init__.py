"""Where else a run's log goes: a logger is a class in a file, `@loggers.register("name")`.

`metrics.jsonl` and `summary.json` are always written; loggers are told the same and write it for
other tools. `reporting.py` calls them, and keeps training going when one fails.
"""

from cnnrun.runs.loggers import csv_file, mlflow, tensorboard, wandb

__all__ = ["csv_file", "mlflow", "tensorboard", "wandb"]
