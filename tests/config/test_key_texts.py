"""What each key means is said for itself, in one sentence; its type as a person reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

import pytest
from pydantic import BaseModel

from cnnrun.config.experiment import Experiment, Training
from cnnrun.config.json_schema import experiment_schema
from cnnrun.config.key_docs import field_texts, parameter_texts
from cnnrun.config.listing import describe, type_text
from cnnrun.config.template import new_experiment
from cnnrun.data.normalize import MeanStd
from cnnrun.data.options import DatasetOptions
from cnnrun.models.transfer import Transfer
from cnnrun.multirun.study.spec import Study
from cnnrun.multirun.sweep.space import Range
from cnnrun.multirun.sweep.spec import OptunaSearch, RandomSearch, Sweep
from cnnrun.registry import KINDS
from tests.conftest import Command

OPTIONS: list[type[BaseModel]] = [
    *(Experiment, Training, Transfer, DatasetOptions, MeanStd),
    *(Sweep, RandomSearch, OptunaSearch, Range, Study),
]
# `a, b or c`, with limits; never how Python writes an annotation.
_RANGE = r"(?: [<>]=? [\d.e+-]+)*"
_NAMED = r"a list of these|an? [a-z]+"
_ONE = rf"(?:(?:list of |mapping of (?:str|int){_RANGE} to )*[\w-]+{_RANGE}|{_NAMED})"
_TYPE = rf"{_ONE}(?:(?:, | or ){_ONE})*"


def _keys() -> Iterator[tuple[str, str, str, str]]:
    """Owner, key, text and type, of every key there is."""
    for options in OPTIONS:
        texts = field_texts(options)
        for key, field in options.model_fields.items():
            if (options, key) != (DatasetOptions, "name"):
                yield options.__name__, key, texts.get(key, ""), type_text(field)
    for kind, registry in KINDS.items():
        for entry in registry.entries():
            for parameter in describe(entry)["parameters"]:
                where = f"{kind} {entry.name}"
                yield where, parameter["name"], parameter["description"], parameter["type"]


@cache
def keys() -> list[tuple[str, str, str, str]]:
    """Found when a test asks: it takes seconds, and every process collects every test."""
    return list(_keys())


@pytest.mark.slow
def test_every_key_has_one_sentence() -> None:
    assert len(keys()) > 1000
    wrong = [
        (owner, key, text)
        for owner, key, text, _ in keys()
        if not re.fullmatch(r"[A-Z0-9`].*[.*]", text) or re.search(r"(?<!al)\. [A-Z`]", text)
    ]
    assert wrong == []


def test_no_text_serves_two_keys() -> None:
    """Of one owner; and what says the same elsewhere is a key of the same name."""
    owners: dict[tuple[str, str], set[str]] = {}
    names: dict[str, set[str]] = {}
    for owner, key, text, _ in keys():
        owners.setdefault((owner, text), set()).add(key)
        names.setdefault(text, set()).add(key)
    assert [(k, v) for k, v in owners.items() if len(v) > 1] == []
    assert [(k, v) for k, v in names.items() if len(v) > 1] == []


def test_no_type_is_an_annotation_or_a_pattern() -> None:
    wrong = {
        (owner, key): found for owner, key, _, found in keys() if not re.fullmatch(_TYPE, found)
    }
    assert wrong == {}


@pytest.mark.slow
def test_descriptions_are_seen_everywhere(cnnrun: Command) -> None:
    text = "Fraction of the last step that the next one keeps, e.g. 0.9."
    assert parameter_texts(KINDS["optimizer"].get("sgd"))["momentum"] == text
    assert text in cnnrun("list", "optimizer", "sgd").out
    assert text in new_experiment("x", overrides=["optimizer={name: sgd}"])
    sgd = experiment_schema()["$defs"]["optimizer.sgd"]
    assert sgd["properties"]["momentum"]["description"] == text
    shown = json.loads(cnnrun("list", "optimizer", "sgd", "--json").out)
    parameters = shown["optimizer"][0]["parameters"]
    assert text in [p["description"] for p in parameters]


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_component_is_shown_with_its_own_keys_first(kind: str) -> None:
    for entry in KINDS[kind].entries():
        shown = [p["name"] for p in describe(entry)["parameters"]]
        assert shown[: len(entry.parameters)] == list(entry.parameters)
