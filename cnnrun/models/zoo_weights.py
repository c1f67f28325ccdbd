"""Pretrained weights of torchvision and timm: which exist, and what they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from torch import Tensor, nn

from cnnrun.errors import NetworkError, UserError, did_you_mean, did_you_mean_or_sizes
from cnnrun.runtime import console
from cnnrun.runtime.hub import asked_once
from cnnrun.runtime.paths import expanded

Numbers = Sequence[float]

LIBRARIES = ("torchvision", "timm")
_FILE_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")

_IMAGENET_SETS = {1000: "imagenet-1k", 11821: "imagenet-12k", 21841: "imagenet-22k"}


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights, and the preprocessing that they are scored with.

    weights: their name. classes: of the outputs; () where the library does not say. size: (height,
    width). resize, crop_fraction: how images get to that, as in the `dataset` section. mean, std:
    of each channel, in units of 0..1. smooth: whether images are resized bilinearly, as here.
    """

    weights: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    resize: Literal["crop", "squash", "pad"]
    crop_fraction: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    smooth: bool


def names_weights_file(weights: str, of_library: bool) -> bool:
    """Whether `weights` is meant as a file or a run, not as the name of a library's weights."""
    return not of_library or expanded(weights).exists() or weights.lower().endswith(_FILE_ENDINGS)


def pretrained(model: str, weights: str | None = None) -> Pretrained | None:
    """Facts about pretrained weights of `model`, e.g. torchvision/resnet18; downloads nothing.

    weights: their name; None is the library's choice.
    Returns: None where the library has none for this network.

    Raises:
        UserError: no such network or weights, or the library is not installed.
    """
    library, _, variant = model.partition("/")
    return (_of_torchvision if library == "torchvision" else _of_timm)(variant, weights)


def fetched(model: str, known: Pretrained) -> dict[str, Tensor]:
    """The weights themselves, the classifier included: downloaded once, then read from the cache.

    Raises:
        NetworkError: they can't be downloaded.
    """
    library, _, variant = model.partition("/")
    if library == "torchvision":
        chosen = torchvision_weights(variant, known.weights)
        return dict(torchvision_network(variant, chosen, {}).state_dict())
    timm = timm_with(variant)
    with asked_once() as silent:
        try:
            network = timm.create_model(timm_name(variant, known.weights), pretrained=True)
        except Exception as error:
            raise NetworkError(f"{model}: {not_fetched(error, silent)}") from error
    return dict(network.state_dict())


def _of_torchvision(variant: str, weights: str | None) -> Pretrained | None:
    import torchvision.models as library

    check_torchvision_has(variant)
    if weights is None and not len(library.get_model_weights(variant)):
        return None
    chosen = torchvision_weights(variant, weights or "DEFAULT")
    images = chosen.transforms()
    side, [enlarged] = images.crop_size[0], images.resize_size
    mean, std = moments_of(variant, chosen)
    return Pretrained(
        chosen.name,
        tuple(chosen.meta["categories"]),
        (side, side),
        "crop",
        side / enlarged,
        tuple(mean),
        tuple(std),
        images.interpolation.value == "bilinear",
    )


def _of_timm(variant: str, weights: str | None) -> Pretrained | None:
    timm = timm_with(variant)
    name = variant if weights is None else timm_name(variant, weights)
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.tag:
        return None
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    return Pretrained(
        config.tag,
        _timm_classes(timm, config),
        tuple(data["input_size"][1:]),
        {"squash": "squash", "border": "pad"}.get(data["crop_mode"], "crop"),  # type: ignore[arg-type]
        float(data["crop_pct"]),
        tuple(data["mean"]),
        tuple(data["std"]),
        data["interpolation"] == "bilinear",
    )


def _timm_classes(timm: ModuleType, config: Any) -> tuple[str, ...]:
    if config.label_names:
        return tuple(config.label_names)
    subset = _IMAGENET_SETS.get(config.num_classes)
    if subset is None:
        return ()
    names = timm.data.ImageNetInfo(subset).label_descriptions()
    # "tench, Tinca tinca": the first name is used, unless another class has it.
    first = [name.partition(",")[0] for name in names]
    return tuple(a if first.count(a) == 1 else b for a, b in zip(first, names, strict=True))


def check_torchvision_has(variant: str) -> None:
    """Refuse what is not a classification network of torchvision.

    Raises:
        UserError: with the nearest name.
    """
    import torchvision.models as library

    names = library.list_models(module=library)
    if variant not in names:
        if variant in library.list_models():
            raise UserError(
                f"torchvision/{variant} is not a plain image classifier (it detects, segments, "
                "reads video or is quantized), and only classifiers can be used; for masks use "
                "unet, whose encoder can be any of these"
            )
        raise UserError(
            f"torchvision has no model '{variant}'{did_you_mean_or_sizes(variant, names)}"
        )


def torchvision_weights(variant: str, name: str) -> Any:
    """The member `name` of torchvision's enum for `variant`.

    Raises:
        UserError: there is none.
    """
    import torchvision.models as library

    members = library.get_model_weights(variant).__members__
    if name not in members:
        raise UserError(
            f"torchvision/{variant} has no weights '{name}'"
            f"{did_you_mean(name, members) or _known(list(members))}"
        )
    return members[name]


def moments_of(variant: str, weights: Any) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of each channel for the network's inputs.

    Two networks of torchvision convert images from ImageNet's normalization to 0.5 and 0.5
    themselves, unless built without weights, as for a checkpoint: they get such images.
    """
    if variant in ("googlenet", "inception_v3"):
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    images = weights.transforms()
    return images.mean, images.std


def torchvision_network(variant: str, weights: Any, options: dict[str, Any]) -> nn.Module:
    """The network with its trained weights and its own head; see `moments_of` for its inputs.

    options: of its constructor.

    Raises:
        NetworkError: the weights can't be fetched.
    """
    import torchvision.models as library

    progress = console.stderr.isatty()
    model: nn.Module
    try:
        if "image_size" not in options and "input_size" not in options:
            model = library.get_model(variant, weights=weights, progress=progress)
            return _as_without_weights(model)
        state = weights.get_state_dict(progress=progress, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise _unreachable(variant, weights, error) from error
    model = library.get_model(variant, **options)
    if "image_size" in options:
        from torchvision.models.vision_transformer import interpolate_embeddings

        state = interpolate_embeddings(options["image_size"], patch_size(variant), state)
    model.load_state_dict(state)
    return model


def _as_without_weights(model: nn.Module) -> nn.Module:
    """As googlenet and inception_v3 are built without weights: with weights come classifiers
    halfway, and a conversion of the images."""
    for name, child in list(model.named_children()):
        if name.lower().startswith("aux") and child is not None:
            setattr(model, name, None)
            model.aux_logits = False  # type: ignore[assignment]
    if getattr(model, "transform_input", False):
        model.transform_input = False  # type: ignore[assignment]
    return model


def patch_size(variant: str) -> int:
    """16 of vit_b_16."""
    return int(variant.rpartition("_")[2])


def timm_with(variant: str) -> ModuleType:
    """The library timm.

    Raises:
        UserError: it is not installed, or has no such network.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError("timm is not installed: pip install 'cnnrun[timm]'") from error
    if not timm.is_model(variant):
        raise UserError(
            f"timm has no model '{variant}'{did_you_mean_or_sizes(variant, timm.list_models())}"
        )
    return timm


def timm_name(variant: str, weights: str) -> str:
    """timm's name of a network with these weights: `DEFAULT`, or a tag such as `a1_in1k`.

    Raises:
        UserError: it has none of that tag.
    """
    import timm

    name = f"{variant}.{weights}"
    if weights == "DEFAULT":
        return variant
    tagged = timm.list_pretrained(f"{variant}.*")
    if name not in tagged:
        tags = [each.partition(".")[2] for each in tagged]
        hint = did_you_mean(weights, tags) or _known(tags)
        raise UserError(f"timm/{variant} has no weights '{weights}'{hint}")
    return name


def _unreachable(variant: str, weights: Any, error: Exception) -> NetworkError:
    # The download goes to a temporary file, so nothing broken is left in the cache.
    return NetworkError(f"torchvision/{variant}: {not_fetched(error)} from {weights.url}")


def not_fetched(error: Exception, silent: str = "") -> str:
    """Why weights could not be downloaded. silent: why the hub does not answer."""
    words = " ".join(str(error).split()).partition(". ")[0]
    reason = silent or getattr(error, "reason", None) or words or type(error).__name__
    return f"could not fetch the trained weights ({reason})"


def _known(names: list[str]) -> str:
    return f"; it has {', '.join(names)}" if names else "; it has none"
