"""What a run was computed from, as its directory says: config, code of one's own, data, version.

`environment.json` has it under `identity`, written when the run starts. Runs of older versions have
none, and are taken for what their configs say.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

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
    """What a run that starts notes of itself beside its config.

    fingerprint: of the data. auto_speed: whether `training.auto_speed` chose for it.
    """
    return {
        "code": code_of(experiment.to_dict()),
        "data": fingerprint,
        "results": RESULTS,
        **({"auto_speed": True} if auto_speed else {}),
    }


def recorded(run: RunDirectory) -> dict[str, Any]:
    """What `record` gave when the run started; {} where it is not known."""
    return run.read_identity()


def key_of_run(run: RunDirectory) -> str:
    """`key_of` the run; equal to that of an experiment that would compute the same.

    Raises:
        ConfigError: its config can't be read.
    """
    values, held = _with_later_keys(read(run.config).values), recorded(run)
    training = values.get("training")
    if held.get("auto_speed") and isinstance(training, dict):
        values = {**values, "training": {**training, "auto_speed": True}}
    return key_of(values, _code(held))


def _with_later_keys(values: dict[str, Any]) -> dict[str, Any]:
    """A config with the defaults of keys that there were not yet when it was written.

    So a run of an earlier version is the same as one of today's with the same settings.
    """
    return {key: _completed(key, value) for key, value in values.items()}


def _completed(kind: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    options = {"training": Training, "transfer": Transfer}.get(kind)
    name = present(f"{kind}.name", value.get("name"))
    known = options().model_dump() if options else _defaults(kind, str(name))
    value = {**known, **value}
    if isinstance(augment := value.get("augment"), list):
        value["augment"] = [_completed("augmentation", item) for item in augment]
    return value


@lru_cache(maxsize=256)
def _defaults(kind: str, name: str) -> dict[str, Any]:
    """What a component's keys are where nobody sets them, as a config has them."""
    try:
        entry = KINDS[kind].get(name)
    except (KeyError, UserError):
        return {}  # of a plug-in, or of another version
    return entry.schema().model_construct(name=name).model_dump(exclude={"name"})


def unlike(run: RunDirectory, code: Mapping[str, str], fingerprint: str = "") -> str:
    """In words, why a run of the same settings is another one all the same; "" where it is not.

    code: of one's own, as it is now. fingerprint: of the data as they are now; "" where not known.
    """
    if why := unlike_record(recorded(run), code, fingerprint):
        return why
    on_the_way = {change["key"] for change in run.read_changes() if _distinguishes(change["key"])}
    if on_the_way:
        return f"it was changed on the way ({', '.join(sorted(on_the_way))})"
    return ""


def unlike_record(held: Mapping[str, Any], code: Mapping[str, str], fingerprint: str = "") -> str:
    """As `unlike`, of what `recorded` gave."""
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
    """The runs below the experiment's output folder with its settings, the newest first.

    Whether they were computed from the same code and data as well, `unlike` tells.
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
            continue  # a stranger's, or damaged: no obstacle
    return found
