"""The signatures of torch's classes as YAML keys, so that only torch defines their parameters.

Tuples become lists, numbers that may be tensors are numbers, and what YAML can't express is left
out.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field

from cnnrun.errors import UserError

_PLAIN = (int, float, bool, str, type(None))
_LISTS = (list, tuple, Iterable, Sequence)
# `lr (float, Tensor, optional): learning rate (default: 2e-3)`, as torch's docstrings have it.
_DESCRIBED = re.compile(r"(\w+)(?: \(.*?\))?\s*: *(.*)")


def factory_like(
    target: Callable[..., Any],
    made: Callable[..., Any],
    *,
    given: Sequence[str] = (),
    leave_out: Container[str] = (),
    types: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
    summary: str = "",
) -> Callable[..., Any]:
    """`made` with the signature of torch's `target`, as YAML keys.

    given: parameters that cnnrun supplies. leave_out: names that are not YAML keys. types,
    defaults: instead of those in torch's signature. summary: instead of its docstring's first line.

    Raises:
        UserError: torch requires a parameter that YAML can't express.
    """
    types, defaults = types or {}, defaults or {}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in given
    ]
    for parameter in _parameters(target)[1:]:
        if parameter.name in leave_out:
            continue
        kind = types.get(parameter.name) or yaml_type(_evaluated(parameter, target))
        default = defaults.get(parameter.name, parameter.default)
        if kind is None:
            if default is inspect.Parameter.empty:
                raise UserError(f"needs `{parameter.name}`, which YAML can't give")
            continue
        parameters.append(
            inspect.Parameter(
                parameter.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_plain_value(default, kind),
                annotation=kind,
            )
        )

    def factory(**values: Any) -> Any:
        return made(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    factory.__doc__ = _doc(target, [p.name for p in parameters[len(given) :]], summary)
    vars(factory)["__signature__"] = inspect.Signature(parameters)
    return factory


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function, or of a class's `__init__`; cnnrun supplies the first.

    A constructor that only forwards its arguments, like that of `nn.Sigmoid`, has none.
    """
    function = target.__init__ if inspect.isclass(target) else target
    found = list(inspect.signature(function).parameters.values())
    return [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _evaluated(parameter: inspect.Parameter, target: Callable[..., Any]) -> Any:
    """A parameter's type; its default's where torch has no annotation, or only a type variable."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        names = {**vars(typing), **vars(inspect.getmodule(target)), "Iterable": Iterable}
        try:
            annotation = eval(annotation, names)
        except NameError:
            return None
    return type(parameter.default) if annotation is parameter.empty else annotation


def yaml_type(annotation: Any) -> Any:
    """The type of a YAML value for one of torch's parameters; None where YAML has none."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN or origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        kinds = [kind for part in inner if (kind := yaml_type(part)) is not None]
        useful = any(kind is not type(None) for kind in kinds)
        return Union.__getitem__(tuple(kinds)) if useful else None
    if origin not in _LISTS:
        return None
    each = [yaml_type(part) for part in inner if part is not Ellipsis]
    if not each or None in each:
        return None
    items: Any = list.__class_getitem__(Union.__getitem__(tuple(each)))
    if origin is not tuple or Ellipsis in inner:
        return items
    return Annotated[items, Field(min_length=len(inner), max_length=len(inner))]


def _plain_value(value: Any, kind: Any) -> Any:
    """A default as a YAML value of its key's type: torch writes 0 where it means 0.0."""
    if isinstance(value, tuple):
        as_floats = _holds_floats(kind)
        return [float(v) if isinstance(v, int) and as_floats else v for v in value]
    number = isinstance(value, int) and not isinstance(value, bool)
    if number and (kind is float or float in get_args(kind)):
        return float(value)
    return value


def _holds_floats(kind: Any) -> bool:
    return kind is float or any(map(_holds_floats, get_args(kind)))


def _doc(target: Callable[..., Any], names: Sequence[str], summary: str) -> str:
    """A docstring like those of cnnrun's components: a sentence, then a line for each key."""
    doc = inspect.getdoc(target) or ""
    texts: dict[str, str] = {}
    last = ""
    for line in doc.splitlines():
        if (match := _DESCRIBED.match(line.strip())) and match[1] in names:
            last = match[1]
            texts[last] = match[2]
        elif line.startswith(" " * 5) and last:
            texts[last] += f" {line.strip()}"
        else:
            last = ""
    first = summary or _sentence(doc.partition("\n\n")[0])
    lines = [f"{name}: {_sentence(texts[name])}" for name in names if texts.get(name)]
    return "\n\n".join([first, "\n".join(lines)])


def _sentence(text: str) -> str:
    """The first sentence of torch's description, without default, markup and formulas."""
    plain = re.sub(r"\(default:.*?\)|Default:.*", "", " ".join(text.split()))
    plain = re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``", r"\1\2", plain)
    plain = re.split(r"(?<=\w) ?\. ", plain)[0].replace(" )", "").rstrip(" .,;:")
    return f"{plain[:1].upper()}{plain[1:]}." if plain else ""
