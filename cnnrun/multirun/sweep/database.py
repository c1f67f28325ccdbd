"""The database that holds Optuna's studies: opened, or only looked at."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cnnrun.errors import UserError
from cnnrun.multirun.sweep.stored import explain_damage, shown

if TYPE_CHECKING:
    import optuna

HEARTBEAT_SECONDS = 30
# After this long without a heartbeat a trial is lost, and another process takes it.
GRACE_SECONDS = 150


def open_storage(url: str, create: bool = True) -> optuna.storages.RDBStorage:
    """The database at `url`, made ready for trials.

    create: whether to create missing tables; otherwise the database must be Optuna's, and any other
        is not changed.

    Raises:
        UserError: Optuna is not installed, or the database can't be reached or is not Optuna's.
    """
    require_optuna()
    import sqlalchemy
    from optuna.storages import RDBStorage

    if not create and not _holds_studies(url):
        raise UserError(f"{shown(url)}: it holds no sweeps (it is not a database of Optuna's)")
    wait = {"timeout": 60} if url.startswith("sqlite") else {"connect_timeout": 20}
    # Another process is creating the same tables at this moment.
    races = (sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.IntegrityError)
    for attempt in range(10):
        try:
            with explain_damage(url, but=(*races, ImportError)):
                return RDBStorage(
                    driver_named(url),
                    heartbeat_interval=HEARTBEAT_SECONDS,
                    grace_period=GRACE_SECONDS,
                    engine_kwargs={"connect_args": wait, "pool_pre_ping": True},
                    skip_table_creation=not create,
                )
        except races:
            if attempt == 9:
                raise
            time.sleep(0.3)
        except ImportError as error:
            raise UserError(
                f"storage {shown(url)}: {error}; pip install 'cnnrun[optuna]'"
            ) from error
    raise AssertionError


def study_names(url: str) -> list[str]:
    """The studies in the storage at `url`; none if it does not exist yet. Writes nothing.

    Raises:
        UserError: it can't be reached.
    """
    require_optuna()
    import optuna

    if not _holds_studies(url):
        return []
    storage = open_storage(url, create=False)
    with explain_damage(url):
        # SQLite keeps anything in a column of texts.
        return [str(name) for name in optuna.get_all_study_names(storage)]


def read_only(file: Path) -> str:
    """The address of an SQLite file, opened read-only."""
    return f"sqlite:///file:{quote(str(file.resolve()))}?mode=ro&uri=true"


def _holds_studies(url: str) -> bool:
    """Whether Optuna has made the database at `url`; nothing is written there, nor made.

    Raises:
        UserError: it can't be reached.
    """
    import sqlalchemy

    address = sqlalchemy.engine.make_url(driver_named(url))
    if address.drivername.startswith("sqlite") and not address.query.get("uri"):
        if not Path(address.database or "").is_file():
            return False
        address = sqlalchemy.engine.make_url(read_only(Path(address.database or "")))
    try:
        engine = sqlalchemy.create_engine(address)
        with engine.connect() as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names())
        engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:
        cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise UserError(f"storage {shown(url)}: {cause}") from error
    return {"studies", "trials", "version_info", "alembic_version"} <= tables


def require_optuna() -> None:
    """Have Optuna ready, without its log.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("sweeps need Optuna: pip install 'cnnrun[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # `TrialQueue` sends the heartbeats itself.
    warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")


def driver_named(url: str) -> str:
    """SQLAlchemy's default driver for PostgreSQL changed in 2.1; psycopg2 serves all versions."""
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql+psycopg2"
    return f"{scheme}{separator}{rest}"
