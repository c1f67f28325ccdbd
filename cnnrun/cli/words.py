"""Commands and options by other tools' names: `cnnrun fit`, `--epochs 3`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperGroup

from cnnrun.errors import ConfigError, did_you_mean

# What a section is by default: whose keys an option may have meant.
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
    """The commands; an unknown word is answered with the command it means."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise ConfigError(_unknown_command(args[0], known))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Summaries whole, on several lines where one is too short; click would cut them."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, found.get_short_help_str(1000))
                    for name, found in commands.items()
                    if found
                ]
            )

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
    message = f"there is no option {option}"
    if found := lookup("option", word):
        note = f" ({found.note})" if found.note else ""
        return f"{message}; write {found.here[0]}{note}"
    if "." in word:
        return f"{message}; a setting is written {word}=VALUE, without dashes, after the file"
    longer = [name for name in near if name.startswith(option)]
    setting = _setting(word.replace("-", "_"))
    # `--fold` is rather `--folds` of this command than a key of a section.
    if setting and not ("." in setting and longer):
        return message + setting
    if hint := did_you_mean(option, longer or near):
        return message + hint
    return f"{message}; `cnnrun COMMAND -h` lists them, and settings are written KEY=VALUE"


def _setting(word: str) -> str:
    """The setting that `--word` means, or ""."""
    from cnnrun.config.experiment import experiment_model
    from cnnrun.config.places import keys_elsewhere
    from cnnrun.config.words import lookup_in_sections, lookup_key

    model = experiment_model()
    places = [(word,)] if word in model.model_fields else keys_elsewhere(word, dict(_USUAL), model)
    if places:
        return f"; a setting is written {'.'.join(map(str, places[0]))}=VALUE, after the file"
    found = lookup_key("", word) or lookup_in_sections("", word)
    if found is None or not found.here:
        return ""
    note = f" ({found.note.replace('{value}', 'VALUE')})" if found.note else ""
    return f"; a setting is written {found.here[0]}=VALUE, after the file{note}"
