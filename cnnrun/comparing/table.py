"""Runs as rows of a table."""

from __future__ import annotations

from typing import Any

from cnnrun.comparing.comparison import differing, show
from cnnrun.comparing.finished import Run, measures_of
from cnnrun.errors import ConfigError, did_you_mean


def rows_of(runs: list[Run], conditions: list[str], sort: str | None) -> list[dict[str, Any]]:
    """A row for each run: path, state, seed, epochs, its score and the settings that differ.

    conditions: `key=value`, of settings or columns; a run must meet all.

    Raises:
        ConfigError: no such key or column.
    """
    measures = measures_of(runs)
    keys = differing(runs)
    rows = [_row(run, measures[:1], keys) for run in runs]
    for condition in conditions:
        key, equals, value = condition.partition("=")
        known = {name for run in runs for name in run.settings} | set(rows[0])
        if not equals or key not in known:
            raise ConfigError(f"--filter {condition}: expected KEY=VALUE{did_you_mean(key, known)}")
        kept = [
            (run, row)
            for run, row in zip(runs, rows, strict=True)
            if str({**run.settings, **row}.get(key)) == value
        ]
        runs, rows = [run for run, _ in kept], [row for _, row in kept]
        if not rows:
            return []
    if sort is not None:
        if sort not in rows[0]:
            raise ConfigError(f"--sort: there is no column '{sort}'{did_you_mean(sort, rows[0])}")
        rows.sort(key=lambda row: (row[sort] is not None, _order(row[sort])))
    return rows


def _row(run: Run, measures: list[str], keys: list[str]) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "state": run.state,
        "seed": run.settings.get("seed"),
        "epochs": run.rows[-1]["epoch"] if run.rows else 0,
        **{measure: run.score(measure) for measure in measures},
        **{key: run.compared.get(key) for key in keys},
    }


def _order(value: Any) -> Any:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (0, value, "") if numeric else (1, 0.0, str(value))


def as_text(rows: list[dict[str, Any]]) -> str:
    """Columns of the rows under their names."""
    if not rows:
        return "no run meets the conditions"
    shown = [{key: _cell(key, value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in shown)) for key in rows[0]}
    lines = ["  ".join(f"{key:{width}}" for key, width in widths.items())]
    lines += ["  ".join(f"{row[key]:{width}}" for key, width in widths.items()) for row in shown]
    return "\n".join(line.rstrip() for line in lines)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    return show(key, value) if isinstance(value, float) else str(value)
