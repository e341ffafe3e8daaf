"""Training on several processes: each takes a contiguous share of every joint batch."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, distributed

from snnsim.processes import together


def start(device: torch.device) -> torch.device:
    """Join the group that ``torchrun`` announces in the environment, if there is one.

    Returns the device of this process: with several GPUs, each its own.
    """
    if "RANK" not in os.environ or distributed.is_initialized():
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def stop() -> None:
    """Leave the group, if in one."""
    if active():
        distributed.destroy_process_group()


def active() -> bool:
    """Whether this process is one of a group."""
    return together()


def rank() -> int:
    """Number of this process; 0 alone."""
    return distributed.get_rank() if active() else 0


def size() -> int:
    """Number of processes; 1 alone."""
    return distributed.get_world_size() if active() else 1


def share(indices: np.ndarray) -> np.ndarray:
    """This process's contiguous part of a joint batch (as even as possible)."""
    return np.array_split(indices, size())[rank()]


def sum_over_processes(values: Tensor, device: torch.device) -> Tensor:
    """The sum of a tensor over all processes, whose group works on ``device``.

    The result is where ``values`` is.
    """
    if not active():
        return values
    moved = values.to(device)
    distributed.all_reduce(moved)
    return moved.to(values.device)


def of_first(values: Tensor, device: torch.device) -> Tensor:
    """The tensor of process 0, for all; where ``values`` is."""
    if not active():
        return values
    moved = values.to(device)
    distributed.broadcast(moved, 0)
    return moved.to(values.device)


def same_random_numbers(device: torch.device) -> None:
    """Let all processes draw what process 0 will draw on the CPU."""
    if active():
        torch.set_rng_state(of_first(torch.get_rng_state(), device))


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Add up the gradients of all processes; afterwards all hold the joint batch's."""
    if not active():
        return
    parameters = list(parameters)
    present = torch.tensor([float(p.grad is not None) for p in parameters])
    device = parameters[0].device
    for parameter, wanted in zip(parameters, sum_over_processes(present, device), strict=True):
        if parameter.grad is None and wanted:  # what another process has found a gradient of
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def broadcast(net: torch.nn.Module) -> None:
    """Give every process the parameters and buffers of process 0."""
    if active():
        for tensor in net.state_dict().values():
            distributed.broadcast(tensor, 0)


def agree(value: str) -> str:
    """The value of process 0, for all."""
    values = [value]
    if active():
        distributed.broadcast_object_list(values, 0)
    return values[0]


def barrier() -> None:
    """Wait for all processes."""
    if active():
        distributed.barrier()
