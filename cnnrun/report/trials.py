"""What a sweep's storage adds to the report of its runs: every trial, and parameter importances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnrun.comparison.groups import short, written
from cnnrun.errors import UserError
from cnnrun.metrics import Metric
from cnnrun.report.page import Section, code, sentences, table

if TYPE_CHECKING:
    from cnnrun.multirun.sweep.results import Results, TrialResult
    from cnnrun.multirun.sweep.sweep import SweepStatus


def sweep_status(
    folder: Path, plugins: Sequence[str], storage: str | None
) -> tuple[SweepStatus | None, str]:
    """The sweep in `folder`, or None and why it can't be read ("" where it is no sweep)."""
    if not (folder / "sweep.yaml").is_file():
        return None, ""
    try:
        from cnnrun.multirun.sweep.sweep import status

        return status(folder, plugins, storage), ""
    except Exception as error:
        # No Optuna, a storage out of reach, a damaged file: the runs themselves are still there.
        # Only messages of cnnrun's own surely hold no password of a storage.
        why = error if isinstance(error, UserError) else type(error).__name__
        return None, f"The sweep's trials could not be read, only its runs: {why}"


def trials(results: Results) -> Section:
    """Every trial with its settings, its score over seeds and its state, the best first."""
    plan = results.plan
    keys = list(dict.fromkeys(key for trial in results.trials for key in trial.settings))
    metric = plan.metric
    head = ["trial", f"validation {metric.display_name}", "± (seeds)", "seeds", "state"]
    rows = [
        [
            trial.trial,
            (trial.mean, metric.text(trial.mean)),
            (trial.deviation, _spread(metric, trial)),
            (len(trial.scores), f"{len(trial.scores)} of {len(plan.seeds)}"),
            trial.state,
            *(setting(trial.settings, key) for key in keys),
        ]
        for trial in results.trials
    ]
    failed = [f"Trial {t.trial} failed: {t.message}" for t in results.trials if t.message]
    body = table(
        "Trials, best first; ± is the standard deviation between seeds",
        [*head, *map(short, keys)],
        rows,
    )
    if results.best:
        body += sentences([f"The best, trial {results.best.trial}, is trained again by"])
        body += code(plan.repeat_command(results.best.settings), "the command")
    return Section("Trials", body + sentences(failed, "warning"))


def _spread(metric: Metric, trial: TrialResult) -> str:
    return "-" if trial.deviation is None else metric.gap(trial.deviation, unit=False)


def setting(settings: dict[str, Any], key: str) -> Any:
    """A cell: a number in four digits, sorted by all of them."""
    value = settings.get(key)
    if key not in settings:
        return (None, "-")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return written(value)
    return (value, f"{value:.4g}" if isinstance(value, float) else str(value))


def importances(found: SweepStatus) -> tuple[dict[str, float], str]:
    """Each setting's fraction of the variance and the method; {} if impossible.

    By fANOVA (Hutter et al. 2014): a random forest of the finished trials gives the variance that
    each setting explains alone.
    """
    finished = found.results.count("finished")
    try:
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        # Named, since Optuna's default is another one in each of its major versions.
        shares = get_param_importances(found.study, evaluator=FanovaImportanceEvaluator(seed=0))
    except Exception:
        # Too few trials, or settings that never varied: Optuna raises what its parts raise.
        return {}, ""
    how = f"fANOVA (Hutter et al. 2014) of {finished} finished trials, by Optuna"
    return {key: float(share) for key, share in shares.items()}, how
