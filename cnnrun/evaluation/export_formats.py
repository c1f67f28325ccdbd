"""How a network is written in each format, and run again by the format's own reader."""

from __future__ import annotations

import copy
import importlib.util
import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.runtime.strict_json import to_json

Metadata = dict[str, str]
Runner = Callable[[Tensor], list[npt.NDArray[Any]]]


@dataclass(frozen=True)
class Kind:
    """A format.

    write: (network, example of its input, file, metadata). open: gives what runs the file; the
        network is there for formats that hold no more than weights.
    """

    ending: str
    write: Callable[[nn.Module, Tensor, Path, Metadata], None]
    open: Callable[[nn.Module, Path], Runner]


def as_arrays(answer: Any) -> list[npt.NDArray[Any]]:
    """A network's output, one tensor or several, as arrays."""
    tensors = [answer] if isinstance(answer, Tensor) else list(answer)
    return [tensor.detach().numpy() for tensor in tensors]


def _exported(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The network's graph for any number of images."""
    try:
        return torch.export.export(
            network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"torch can't export this network's graph: {reason}") from error


def _write_onnx(network: nn.Module, example: Tensor, file: Path, metadata: Metadata) -> None:
    if missing := [n for n in ("onnx", "onnxscript", "onnxruntime") if not _installed(n)]:
        raise UserError(f"onnx needs {', '.join(missing)}: pip install 'cnnrun[onnx]'")
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    outputs = as_arrays(network(example))
    with redirect_stdout(StringIO()):  # the exporter reports its progress there
        program = torch.onnx.export(
            _exported(network, example),
            (example,),
            input_names=["images"],
            output_names=["logits"] if len(outputs) == 1 else ["pixels", "code"],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _open_onnx(_network: nn.Module, file: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: list(session.run(None, {"images": images.numpy()}))


def _write_torch_export(
    network: nn.Module, example: Tensor, file: Path, metadata: Metadata
) -> None:
    torch.export.save(
        _exported(network, example), file, extra_files={"cnnrun.json": to_json(metadata)}
    )


def _open_torch_export(_network: nn.Module, file: Path) -> Runner:
    run = torch.export.load(file).module()
    return lambda images: as_arrays(run(images))


def _write_torchscript(network: nn.Module, example: Tensor, file: Path, metadata: Metadata) -> None:
    try:
        traced = torch.jit.trace(network, (example,))  # type: ignore[no-untyped-call]
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"torch can't trace this network: {reason}") from error
    torch.jit.save(traced, file, _extra_files={"cnnrun.json": to_json(metadata)})


def _open_torchscript(_network: nn.Module, file: Path) -> Runner:
    run = torch.jit.load(file)  # type: ignore[no-untyped-call]
    return lambda images: as_arrays(run(images))


def _write_safetensors(
    network: nn.Module,
    example: Tensor,  # noqa: ARG001
    file: Path,
    metadata: Metadata,
) -> None:
    from safetensors.torch import save_file

    weights = network.get_submodule("model").state_dict()
    # Shared weights are written under each name: the format doesn't support sharing.
    save_file({key: value.clone() for key, value in weights.items()}, file, metadata)


def _open_safetensors(network: nn.Module, file: Path) -> Runner:
    from cnnrun.runtime.weights import load_weights, read_weights

    other = copy.deepcopy(network)
    load_weights(other.get_submodule("model"), read_weights(file))
    return lambda images: as_arrays(other(images))


FORMATS = {
    "onnx": Kind(".onnx", _write_onnx, _open_onnx),
    "safetensors": Kind(".safetensors", _write_safetensors, _open_safetensors),
    "torch-export": Kind(".pt2", _write_torch_export, _open_torch_export),
    "torchscript": Kind(".torchscript.pt", _write_torchscript, _open_torchscript),
}
