"""A checkpoint may come from someone else: it never chooses which code is run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError
from cnnrun.registry import as_mapping


def refuse_foreign_code(
    file: Path, stored: dict[str, Any], plugins: Iterable[str], overrides: Iterable[str] | None
) -> None:
    """Refuse a checkpoint whose config names code that the command line does not name as well.

    stored: the config. overrides: changes to it; None where its data are not opened.

    Raises:
        UserError: with the options that would say so.
    """
    named = {Path(name).resolve() for name in plugins}
    wanted = stored.get("plugins")
    needed = [
        f"--plugin {name}"
        for name in (wanted if isinstance(wanted, list) else [])
        if Path(str(name)).resolve() not in named
    ]
    dataset = as_mapping(stored.get("dataset"))
    if (
        overrides is not None
        and isinstance(dataset, dict)
        and dataset.get("name") == "own"
        and not any(o.startswith(("dataset=", "dataset.target=")) for o in overrides)
    ):
        needed.append(f"dataset.target={dataset.get('target')}")
    if needed:
        raise UserError(
            f"{file} was trained with code of its own; if you trust it, say so: {' '.join(needed)}"
        )
