"""Runs of one experiment under several seeds, and how such groups differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cnnrun.comparison.runs import RunRecord
from cnnrun.config.identity import identity


@dataclass(frozen=True)
class Group:
    """Runs whose configs only differ in the seed."""

    config: dict[str, Any]  # all that they have in common
    runs: list[RunRecord]  # the finished ones
    left_out: list[RunRecord] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)  # how it differs from other groups
    label: str = "all runs"  # the same, shortened
    brief: str = "all runs"  # shorter still: `lr=0.1`, if no other key ends like this
    name: str = ""  # the name in a study; other groups are called A, B ... by rank

    @property
    def task(self) -> str:
        return (self.runs or self.left_out)[0].task


def group_runs(runs: Iterable[RunRecord], ignore: Collection[str] = ()) -> list[Group]:
    """Groups in the order of their first runs. Damaged runs have no config, so no group.

    ignore: keys (`dataset.root`) and sections (`dataset`) whose differences don't count.
    """
    groups: dict[tuple[tuple[str, str], ...], Group] = {}
    for run in runs:
        if run.state == "damaged":
            continue
        config = compared_settings(run, ignore)
        same = tuple(sorted((key, repr(value)) for key, value in config.items()))
        group = groups.setdefault(same, Group(config, [], []))
        (group.runs if run.state == "finished" else group.left_out).append(run)
    return with_distinct_labels(list(groups.values()))


def with_distinct_labels(groups: Sequence[Group]) -> list[Group]:
    """The same groups, with settings and labels that distinguish them."""
    configs = [group.config for group in groups]
    keys = differing_keys(configs)
    shown = informative_keys(keys, configs)
    last = [_last_word(key) for key in shown]
    briefly = {k: w if last.count(w) == 1 else short(k) for k, w in zip(shown, last, strict=True)}
    return [
        replace(
            group,
            settings={key: group.config[key] for key in keys if key in group.config},
            label=_label(group.config, {key: short(key) for key in shown}),
            brief=_label(group.config, briefly),
        )
        for group in groups
    ]


def _label(config: Mapping[str, Any], names: Mapping[str, str]) -> str:
    known = (f"{name}={written(config[key])}" for key, name in names.items() if key in config)
    return ", ".join(known) or "all runs"


def _last_word(key: str) -> str:
    return short(key).rpartition(".")[2]


def compared_settings(run: RunRecord, ignore: Collection[str] = ()) -> dict[str, Any]:
    """The settings by which runs are grouped: all that distinguish runs, except the seed.

    With `code.NAME`, the content of each of the user's own code files.
    """
    left_out = ("seed", *ignore)
    sections = tuple(f"{key}." for key in left_out)
    code = {f"code.{name.removesuffix('.py')}": content for name, content in run.code.items()}
    return {
        key: value
        for key, value in (identity(run.settings) | code).items()
        if key not in left_out and not key.startswith(sections)
    }


def differing_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values differ, or that some lack."""
    values: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for one in settings:
        for key, value in one.items():
            values.setdefault(key, set()).add(repr(value))
            counts[key] = counts.get(key, 0) + 1
    return [key for key in values if len(values[key]) > 1 or counts[key] < len(settings)]


def informative_keys(keys: Iterable[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of differing keys, those that say more than the name of their component.

    Next to `model=cnn` and `model=mlp`, `model.hidden` is what every mlp here has: left out.
    """
    return [key for key in keys if not _follows_from_name(key, settings)]


def _follows_from_name(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    if key.endswith(".name") or all(key in one for one in settings):
        return False
    return any(_follows_from(parent, key, settings) for parent in _parents(key))


def _follows_from(parent: str, key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    by_name: dict[str, set[str]] = {}
    for one in settings:
        component = repr(_component(parent, one))
        by_name.setdefault(component, set()).add(repr(one[key]) if key in one else "missing")
    return len(by_name) > 1 and all(len(values) == 1 for values in by_name.values())


def _parents(key: str) -> list[str]:
    return [key[:cut] for cut, letter in enumerate(key) if letter == "."]


def _component(place: str, settings: Mapping[str, Any]) -> Any:
    return settings.get(f"{place}.name", settings.get(place))


def keys_of_versions(groups: Sequence[Group]) -> list[str]:
    """Keys that some groups lack under the same component: another version wrote those configs."""
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    return [key for key in keys if _is_of_a_version(key, groups)]


def _is_of_a_version(key: str, groups: Sequence[Group]) -> bool:
    having = [group for group in groups if key in group.settings]
    lacking = [group for group in groups if key not in group.settings]
    parents = _parents(key)
    for group in lacking:
        other_component = all(
            any(_component(p, group.settings) != _component(p, one.settings) for p in parents)
            for one in having
        )
        below = any(one == key or one.startswith(f"{key}.") for one in group.settings)
        above = any(p in group.settings and p not in having[0].settings for p in parents)
        if not (other_component or below or above):
            return True
    return False


def short(key: str) -> str:
    """`model.name` as written on the command line: `model`."""
    return key.removesuffix(".name")


def written(value: Any) -> str:
    """A setting's value in one line, as typed on the command line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
