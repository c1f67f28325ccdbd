"""What a run was computed from, by its directory: config, own code, data, version.

`environment.json` has it under `identity`, written when the run starts. Runs of older versions have
none and are judged by their configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cnnrun.config.component_names import nested_of
from cnnrun.config.document import read
from cnnrun.config.experiment import Experiment, Training
from cnnrun.config.identity import key_of, role, settings_part
from cnnrun.config.own_code import changed, code_of
from cnnrun.config.renamed import present
from cnnrun.errors import UserError
from cnnrun.models.transfer import Transfer
from cnnrun.registry import KINDS
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.paths import expanded
from cnnrun.version import RESULTS


def record(experiment: Experiment, fingerprint: str, auto_speed: bool = False) -> dict[str, Any]:
    """What a starting run records besides its config.

    fingerprint: of the data. auto_speed: whether `training.auto_speed` chose its levers.
    """
    return {
        "code": code_of(experiment.to_dict()),
        "data": fingerprint,
        "results": RESULTS,
        **({"auto_speed": True} if auto_speed else {}),
    }


def recorded(run: RunDirectory) -> dict[str, Any]:
    """What `record` returned when the run started; {} if unknown."""
    return run.read_identity()


def key_of_run(run: RunDirectory) -> str:
    """`key_of` the run; equal to that of any experiment that computes the same.

    Raises:
        ConfigError: its config can't be read.
    """
    values, held = _with_later_keys(read(run.config).values), recorded(run)
    training = values.get("training")
    if held.get("auto_speed") and isinstance(training, dict):
        values = {**values, "training": {**training, "auto_speed": True}}
    return key_of(values, _code(held))


def _with_later_keys(values: dict[str, Any]) -> dict[str, Any]:
    """A config, completed by defaults of keys that are newer than it.

    So a run of an earlier version equals one of today's with the same settings.
    """
    return {key: _completed(key, value) for key, value in values.items()}


def _completed(kind: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    options = {"training": Training, "transfer": Transfer}.get(kind)
    name = present(f"{kind}.name", value.get("name"))
    known = options().model_dump() if options else _defaults(kind, str(name))
    value = {**known, **value}
    if kind in KINDS:
        nested = nested_of(KINDS[kind], name)
        value |= {key: one.normal(value[key]) for key, one in nested.items() if key in value}
    if isinstance(augment := value.get("augment"), list):
        value["augment"] = [_completed("augmentation", item) for item in augment]
    return value


@lru_cache(maxsize=256)
def _defaults(kind: str, name: str) -> dict[str, Any]:
    """A component's defaults, as in a config."""
    try:
        entry = KINDS[kind].get(name)
    except (KeyError, UserError):
        return {}  # from a plug-in, or another version
    return entry.schema().model_construct(name=name).model_dump(exclude={"name"})


def unlike(run: RunDirectory, code: Mapping[str, str], fingerprint: str = "") -> str:
    """Why a run with the same settings was computed from something else; "" if it was not.

    code: the user's own, now. fingerprint: of the data now; "" if unknown.
    """
    if why := unlike_record(recorded(run), code, fingerprint):
        return why
    on_the_way = {change["key"] for change in run.read_changes() if _distinguishes(change["key"])}
    if on_the_way:
        return f"it was changed on the way ({', '.join(sorted(on_the_way))})"
    return ""


def unlike_record(held: Mapping[str, Any], code: Mapping[str, str], fingerprint: str = "") -> str:
    """As `unlike`, for what `recorded` returned."""
    if held.get("results", RESULTS) != RESULTS:
        return "another version of cnnrun trained it"
    if words := changed(_code(held), code):
        return f"code has changed since: {', '.join(words)}"
    if fingerprint and held.get("data") and held["data"] != fingerprint:
        return "the data have changed since"
    return ""


def _code(held: Mapping[str, Any]) -> dict[str, str] | None:
    code = held.get("code")
    return code if isinstance(code, dict) else None


def _distinguishes(key: str) -> bool:
    try:
        return role(key).distinguishes
    except KeyError:
        return True


def runs_with_settings_of(experiment: Experiment) -> list[RunDirectory]:
    """The runs below the experiment's output folder with its settings, newest first.

    `unlike` says whether their code and data are the same as well.
    """
    wanted = settings_part(key_of(experiment.to_dict()))
    folder = expanded(experiment.output) / experiment.name
    found = []
    for file in sorted(folder.glob("*/config.yaml"), reverse=True):
        run = RunDirectory(file.parent)
        try:
            if settings_part(key_of_run(run)) == wanted:
                found.append(run)
        except UserError:
            continue  # a foreign or damaged one: ignored
    return found
