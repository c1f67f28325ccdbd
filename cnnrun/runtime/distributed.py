"""Many processes, one training run: what `torchrun -m cnnrun train ...` starts.

Every process has the whole data set and takes its part of each batch; gradients are averaged, so
the batch of the config is the batch of all processes together. The first process alone writes.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from cnnrun.errors import UserError
from cnnrun.runtime.launched import World as World
from cnnrun.runtime.launched import check_meeting_place, met
from cnnrun.runtime.launched import world as world


def was_restarted() -> bool:
    """Whether torchrun has restarted these processes after one of them failed."""
    return _attempt() > 0


def _attempt() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Within the block the processes can communicate: by NCCL between GPUs, else by gloo.

    Raises:
        UserError: another process ended.
        ConfigError: the environment does not say where they meet.
    """
    here = world()
    if here.size == 1 or dist.is_initialized():
        yield here
        return
    check_meeting_place(here)
    met.append(here)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # If torchrun keeps its store over a restart, it holds the addresses of dead processes.
    store, rank, size = next(rendezvous("env://"))
    store = PrefixStore(f"attempt {_attempt()}", store)
    # Decisions, such as stopping, are made on the CPU and wait for no GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield here
        dist.barrier()  # while the first one tests and draws, the others stay reachable
    except RuntimeError as error:
        if "closed by peer" in str(error) or "Connection reset" in str(error):
            raise UserError(f"process {here.rank} of {here.size}: another one ended") from error
        raise
    finally:
        gc.collect()  # whatever still refers to the group would destroy it again at exit
        dist.destroy_process_group()


def local_slice(first: int, last: int, here: World) -> tuple[int, int]:
    """This process's part of the samples `first` to `last` (exclusive)."""
    count = last - first
    return first + count * here.rank // here.size, first + count * (here.rank + 1) // here.size


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of `values` over all processes; a collective call."""
    if world().size == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def any_process(flags: list[bool]) -> list[bool]:
    """For each flag whether it is set in any process; a collective call."""
    if world().size == 1:
        return flags
    found = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


def broadcast_from_main(text: str) -> str:
    """The first process's `text`; a collective call."""
    if world().size == 1:
        return text
    shared = [text]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def synchronize_norms(model: nn.Module) -> None:
    """Let batch normalization in `model` use the whole batch of all processes (GPUs only).

    The modules are replaced; parameters and statistics stay.
    """
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """`model`, wrapped to average gradients over all processes.

    Call it again when other parameters train, after the last wrapper has been dropped.
    """
    if world().size == 1 or not any(p.requires_grad for p in model.parameters()):
        return model
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device.index] if device.type == "cuda" else None
    )


@torch.no_grad()
def broadcast_buffers(model: nn.Module) -> None:
    """Give all processes the buffers of the first, such as batch statistics."""
    if world().size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


@torch.no_grad()
def average_gradients(model: nn.Module) -> None:
    """Make each gradient its mean over all processes; a collective call.

    A process without one takes the others' mean, or its weight would go another way. What none has
    stays None, so that an optimizer leaves that weight alone.
    """
    training = [p for p in model.parameters() if p.requires_grad]
    there = any_process([p.grad is not None for p in training])
    training = [p for p, found in zip(training, there, strict=True) if found]
    if not training:
        return
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in training]
    means = torch.cat([gradient.flatten() for gradient in own]) / world().size
    dist.all_reduce(means)
    each = torch.split(means, [p.numel() for p in training])
    for parameter, gradient, mean in zip(training, own, each, strict=True):
        parameter.grad = gradient.copy_(mean.view_as(parameter))


def mean_over_processes(values: dict[str, float]) -> dict[str, float]:
    """Each of `values`, which all processes have by the same names, as its mean over them."""
    if world().size == 1 or not values:
        return values
    total = all_reduce_sum(torch.tensor(list(values.values()), dtype=torch.float64))
    return dict(zip(values, (total / world().size).tolist(), strict=True))


@contextmanager
def by_itself() -> Iterator[None]:
    """Within the block this process computes as if it were alone."""
    hidden = {name: os.environ.pop(name) for name in ("RANK", "WORLD_SIZE") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
