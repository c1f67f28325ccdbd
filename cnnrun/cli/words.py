"""Commands and options by other tools' names: `cnnrun fit`, `--epochs 3`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperGroup

from cnnrun.errors import ConfigError, did_you_mean

# What a section is when a file does not say it: whose keys an option may have meant.
_USUAL = {
    "task": "classify",
    "dataset": "digits",
    "model": "cnn",
    "initializer": "default",
    "loss": "cross_entropy",
    "optimizer": "sgd",
    "schedule": "constant",
}


class Group(TyperGroup):
    """The commands; a word that is none of them is answered with the one that it means."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise ConfigError(_unknown_command(args[0], known))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Typer brings its own copy of click, or uses the installed one, by its version.
            if type(error).__name__ != "NoSuchOption":
                raise
            name: str = error.option_name  # type: ignore[attr-defined]
            near = getattr(error, "possibilities", None) or []
            raise ConfigError(_unknown_option(name, near)) from error


def _unknown_command(word: str, known: Iterable[str]) -> str:
    from cnnrun.config.words import lookup

    found = lookup("command", word)
    hint = f"; did you mean `{found.note}`?" if found else did_you_mean(word, known)
    return f"there is no command '{word}'{hint}; `cnnrun -h` lists them"


def _unknown_option(option: str, near: Iterable[str]) -> str:
    from cnnrun.config.words import lookup

    word = option.lstrip("-")
    told = f"there is no option {option}"
    if found := lookup("option", word):
        note = f" ({found.note})" if found.note else ""
        return f"{told}; write {found.here[0]}{note}"
    if key := _setting(word.replace("-", "_")):
        return f"{told}; a setting is written {key}=VALUE, after the file"
    if hint := did_you_mean(option, near):
        return told + hint
    return f"{told}; `cnnrun COMMAND -h` lists them, and settings are written KEY=VALUE"


def _setting(word: str) -> str | None:
    """The key of an experiment that `--word` means."""
    from cnnrun.config.experiment import experiment_model
    from cnnrun.config.places import sections_with
    from cnnrun.config.words import lookup

    model = experiment_model()
    if word in model.model_fields:
        return word
    if sections := sections_with(word, dict(_USUAL), model):
        return f"{sections[0]}.{word}"
    found = lookup("key", word)
    return found.here[0] if found and found.here else None
