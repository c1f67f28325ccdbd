"""Describing a network from one forward pass on zeros."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cnnrun.models.description.field_tracking import follow
from cnnrun.models.description.layer_table import Block, Description, Layer, Shape
from cnnrun.models.description.receptive_field import (
    Field,
    FieldsOfTensors,
    tensors_in,
    whole_image,
)
from cnnrun.models.locally_connected import LocallyConnected2d

WINDOWS = (nn.Conv2d, LocallyConnected2d, nn.MaxPool2d, nn.AvgPool2d)


def describe(model: nn.Module, input_shape: tuple[int, int, int]) -> Description:
    """Every layer of `model` as it is used on an image of `input_shape` (C, H, W).

    One forward pass on zeros, in eval mode, on the model's device; the model, its modes and torch's
    random state are restored. Layers are the modules without children, and those
    that have parameters or multiply themselves, such as attention.

    Raises: whatever the model raises for images of that shape.
    """
    watch = _Watch(model)
    parameter = next(model.parameters(), None)
    image = torch.zeros(1, *input_shape)
    if parameter is not None:
        image = image.to(parameter.device, parameter.dtype)
    watch.fields[image] = whole_image(*input_shape[1:])
    with _undisturbed(model), watch.hooks(), watch:
        model(image)
    parameters = list(model.parameters())
    return Description(
        model=type(model).__name__,
        input_shape=tuple(input_shape),
        layers=tuple(watch.layers()),
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
    )


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients; modes, random numbers and torch's settings restored at the end."""
    modes = {module: module.training for module in model.modules()}
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        # Attention as its elementary products, which can be intercepted.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), torch.random.fork_rng(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for module, training in modes.items():
            module.training = training


@dataclass
class _Use:
    """One call of a module."""

    name: str
    module: nn.Module
    input_shape: Shape
    around: list[_Use]
    multiply_adds: int = 0
    output_shape: Shape = ()
    field: Field | None = None
    parameters: int = 0


@dataclass(eq=False)
class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Intercepts every call of a module and every operation within."""

    model: nn.Module
    fields: FieldsOfTensors = field(default_factory=FieldsOfTensors)
    # Calls that have not ended, the innermost last, and those that have.
    open: list[_Use] = field(default_factory=list)
    uses: list[_Use] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        count = flop_registry.get(func.overloadpacket)
        if count is not None and self.open:
            # torch counts a multiplication and an addition as two.
            self.open[-1].multiply_adds += count(*args, **kwargs, out_val=result) // 2
        follow(self.fields, func, args, kwargs, result)
        return result

    @contextmanager
    def hooks(self) -> Iterator[None]:
        handles: list[Any] = []
        try:
            for name, module in self.model.named_modules():
                handles.append(
                    module.register_forward_pre_hook(self._enter(name), with_kwargs=True)
                )
                handles.append(module.register_forward_hook(self._end))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Any:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            shape = _shape_of([args, kwargs])
            self.open.append(_Use(name, module, shape, around=self.open[1:]))

        return enter

    def _end(self, module: nn.Module, args: Any, result: Any) -> None:
        use = self.open.pop()
        use.output_shape = _shape_of(result)
        outputs = tensors_in([result])
        if outputs:
            if _hides_its_window(module):
                self.fields[outputs[0]] = self._through(module, tensors_in([args])[0], outputs[0])
            if outputs[0] in self.fields:
                use.field = self.fields[outputs[0]]
        self.uses.append(use)

    def _through(self, module: nn.Module, maps: Tensor, result: Tensor) -> Field | None:
        """The field of a window layer's output for `maps`, from its settings."""
        before = self.fields[maps]
        if before is None or not all(axis.exact and axis.fills(maps.shape) for axis in before):
            return None
        window = _window(module)
        axes = [
            axis.through_window(result.shape[i - 2], *(window[key][i] for key in window))
            for i, axis in enumerate(before)
        ]
        return axes[0], axes[1]

    def layers(self) -> Iterator[Layer]:
        """The rows, once the model has run."""
        self._count_parameters()
        for use in self.uses:
            is_leaf = not any(True for _ in use.module.children())
            if is_leaf or use.parameters or use.multiply_adds:
                yield _layer(use)

    def _count_parameters(self) -> None:
        """Give each parameter to the first call of its module, or of the module around it.

        Attention uses its projections' parameters without calling them.
        """
        first: dict[str, _Use] = {}
        for use in self.uses:
            first.setdefault(use.name, use)
        for name, parameter in self.model.named_parameters():
            owner = name.rpartition(".")[0]
            while owner not in first:
                owner = owner.rpartition(".")[0]
            first[owner].parameters += parameter.numel()


def _hides_its_window(module: nn.Module) -> bool:
    """Whether it slides its window by copying pixels, which the operations do not show."""
    circular = isinstance(module, nn.Conv2d) and module.padding_mode == "circular"
    return circular or isinstance(module, LocallyConnected2d)


def _shape_of(values: Any) -> Shape:
    """The shape, without the batch, of the first tensor in `values`."""
    tensors = tensors_in(values)
    return tuple(tensors[0].shape[1:]) if tensors else ()


def _layer(use: _Use) -> Layer:
    window = _window(use.module) if isinstance(use.module, WINDOWS) else {}
    seen = use.field
    exact = seen is not None and all(axis.exact for axis in seen)
    jumps = (seen[0].jump, seen[1].jump) if seen and exact else (0, 0)
    groups = getattr(use.module, "groups", None)
    elements = torch.Size(use.output_shape).numel()
    return Layer(
        name=use.name or "(model)",
        kind=type(use.module).__name__,
        kernel=window.get("kernel"),
        stride=window.get("stride"),
        padding=window.get("padding"),
        dilation=window.get("dilation"),
        groups=groups if isinstance(use.module, nn.Conv2d) else None,
        input_shape=use.input_shape,
        output_shape=use.output_shape,
        arithmetic=_arithmetic(use, window),
        receptive_field=(seen[0].size, seen[1].size) if seen and exact else None,
        jump=jumps if all(jumps) else None,
        field_start=(seen[0].low, seen[1].low) if seen and exact else None,
        parameters=use.parameters,
        multiply_adds=use.multiply_adds,
        memory=4 * elements,
        blocks=tuple(
            Block(outer.name, type(outer.module).__name__, outer.output_shape)
            for outer in use.around
            if not isinstance(outer.module, nn.Sequential)
        ),
    )


def _window(module: Any) -> dict[str, tuple[int, int]]:
    """kernel, stride, padding and dilation of a window layer, in this order."""
    padding = module.padding
    kernel, dilation = _pair(module.kernel_size), _pair(getattr(module, "dilation", 1))
    if padding == "same":
        padding = [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    return {
        "kernel": kernel,
        "stride": _pair(module.stride),
        "padding": _pair(0 if padding == "valid" else padding),
        "dilation": dilation,
    }


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _arithmetic(use: _Use, window: dict[str, tuple[int, int]]) -> str:
    """The formula of the output's size; empty if it doesn't change or there is none."""
    module, before, after = use.module, use.input_shape, use.output_shape
    if window:
        up = getattr(module, "ceil_mode", False)
        texts = [
            _window_arithmetic(before[i - 2], after[i - 2], [w[i] for w in window.values()], up)
            for i in range(2)
        ]
        return texts[0] if texts[0] == texts[1] else ", ".join(texts)
    if isinstance(module, nn.Flatten):
        return f"{'*'.join(map(str, before))} = {after[-1]}"
    if isinstance(module, nn.Linear):
        return f"{before[-1]} -> {after[-1]}"
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return f"{before[-2]} x {before[-1]} -> {after[-2]} x {after[-1]}"
    return ""


def _window_arithmetic(before: int, after: int, window: list[int], up: bool) -> str:
    kernel, stride, padding, dilation = window
    reach = f"{dilation}*({kernel} - 1) - 1" if dilation > 1 else f"{kernel}"
    padded = f"{before} + 2*{padding}" if padding else f"{before}"
    fits = (before + 2 * padding - dilation * (kernel - 1) - 1) % stride == 0
    if fits:
        return f"({padded} - {reach})/{stride} + 1 = {after}"
    return f"{'ceil' if up else 'floor'}(({padded} - {reach})/{stride}) + 1 = {after}"
