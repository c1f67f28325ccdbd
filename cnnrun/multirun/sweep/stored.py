"""Damaged or foreign storages are reported, and never used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from cnnrun.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_MOST_SLOTS = 10_000_000


class _Score(BaseModel):
    """What a trial records about each seed's run."""

    key: str
    run: str
    score: FiniteFloat


class _Attributes(BaseModel, strict=True):
    """What this package writes into a trial."""

    slot: Annotated[int, Field(ge=0, lt=_MOST_SLOTS)]
    process: str = ""
    retries: list[int] = []
    keys: list[str] = []
    settings: dict[str, Any] = {}
    failure: str = ""
    seeds: dict[int, _Score] = {}
    fixed_params: dict[str, Any] = {}


def require_whole(trial: FrozenTrial) -> None:
    """Raises ValueError if a trial's attributes are not what this package writes."""
    attributes = trial.user_attrs
    if "slot" not in attributes:  # not one of the sweep's
        return
    seeds = {int(k[5:]): v for k, v in attributes.items() if k.startswith("seed ")}
    if trial.state.name == "COMPLETE" and not seeds:
        raise ValueError(f"trial {trial.number} has ended, and no run of it has a score")
    fixed = trial.system_attrs.get("fixed_params", {})
    try:
        _Attributes.model_validate({**attributes, "seeds": seeds, "fixed_params": fixed})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"trial {trial.number}: {place}: {first['msg']}") from error


@contextmanager
def explain_damage(url: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Within the block, Optuna's errors from a damaged storage become `UserError`s.

    but: errors that the caller handles.

    Raises:
        UserError: it is damaged or can't be reached.
        UpdateFinishedTrialError: a trial was taken over meanwhile.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        yield
    except Exception as error:
        if isinstance(error, (UserError, OSError, MemoryError, UpdateFinishedTrialError, *but)):
            raise
        raise UserError(f"storage {shown(url)}: {_cause(error)}") from error


@contextmanager
def explain_optuna_errors(url: str) -> Iterator[None]:
    """Within the block, only errors of the storage itself become `UserError`s.

    Raises:
        UserError: it refused what it was asked for.
    """
    import optuna
    import sqlalchemy

    try:
        yield
    except (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise UserError(f"storage {shown(url)}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """The database's own message if there is one; Optuna repeats it at length."""
    database = getattr(error.__cause__, "orig", None) or getattr(error, "orig", None)
    words = str(database or error).strip().partition("\n")[0]
    kind = "" if database else f"damaged, or not a sweep's ({type(error).__name__}): "
    return f"{kind}{words:.300}"


def shown(url: str) -> str:
    """`url` without its password."""
    scheme, separator, rest = url.partition("://")
    account, at, place = rest.rpartition("@")
    user, colon, _ = account.partition(":")
    return f"{scheme}{separator}{user}{':***' if colon else ''}{at}{place}"
