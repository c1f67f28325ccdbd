"""What a sweep varies: lists of values for a grid, or ranges to draw from."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from cnnrun.multirun.settings import Settings, to_text
from cnnrun.registry import Options

if TYPE_CHECKING:
    import optuna

Bounds = Annotated[list[float], Field(min_length=2, max_length=2)]
WholeBounds = Annotated[list[int], Field(min_length=2, max_length=2)]


class Range(Options):
    """Values to draw from: exactly one of the four. A bare list is a `choice`."""

    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    """One of these values."""
    uniform: Bounds | None = None
    """A float between two bounds."""
    log_uniform: Bounds | None = None
    """A float between two bounds, uniform on a log scale."""
    int: WholeBounds | None = None
    """An int between two bounds, both included."""

    @model_validator(mode="after")
    def _one_in_order(self) -> Range:
        given = [kind for kind, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(f"write exactly one of {', '.join(Range.model_fields)}")
        bounds = self.uniform or self.log_uniform or self.int
        if bounds and bounds[0] >= bounds[1]:
            raise ValueError(f"{given[0]}: the first number must be less than the second")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError("log_uniform: the numbers must be above 0")
        return self

    def draw(self, generator: random.Random) -> Any:
        """One value; numbers are rounded to four significant digits."""
        if self.choice:
            return generator.choice(self.choice)
        if self.int:
            return generator.randint(*self.int)
        if self.uniform:
            low, high = self.uniform
            value = generator.uniform(low, high)
        else:
            assert self.log_uniform
            low, high = self.log_uniform
            value = math.exp(generator.uniform(math.log(low), math.log(high)))
        return min(max(float(f"{value:.4g}"), low), high)

    def extremes(self) -> list[Any]:
        """Values to validate: every choice, or both ends."""
        return list(self.choice or self.int or self.uniform or self.log_uniform or [])

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """The value that `trial` has or gets for `key`."""
        if self.choice:
            # Optuna's categories are plain scalars; lists and mappings go by their text.
            texts = {_category(value): value for value in self.choice}
            return texts[trial.suggest_categorical(key, list(texts))]
        if self.int:
            return trial.suggest_int(key, *self.int)
        low, high = self.uniform or self.log_uniform or [0.0, 1.0]
        return trial.suggest_float(key, low, high, log=self.log_uniform is not None)


def _category(value: Any) -> Any:
    return to_text(value) if isinstance(value, list | dict) else value


def parameters(settings: Settings) -> dict[str, Any]:
    """`settings` as Optuna's parameters."""
    return {key: _category(value) for key, value in settings.items()}


def _as_range(value: Any) -> Any:
    return {"choice": value} if isinstance(value, list) else value


Space = Annotated[dict[str, Annotated[Range, BeforeValidator(_as_range)]], Field(min_length=1)]
Grid = Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]


def grid_points(grid: Mapping[str, list[Any]]) -> list[Settings]:
    """Every combination, the last key varying fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def random_points(space: Mapping[str, Range], count: int, seed: int) -> list[Settings]:
    """Up to `count` different points, fewer if a space of choices has no more.

    The first n are the same for every `count`, so a sweep can be extended.
    """
    points: dict[str, Settings] = {}
    for point in itertools.islice(_draws(space, seed), 100 * count):
        points.setdefault(to_text(point), point)
        if len(points) == count:
            break
    return list(points.values())


def _draws(space: Mapping[str, Range], seed: int) -> Iterator[Settings]:
    generator = random.Random(seed)
    while True:
        yield {key: domain.draw(generator) for key, domain in space.items()}
