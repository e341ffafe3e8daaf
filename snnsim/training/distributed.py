"""Training on several processes: each takes a contiguous part of every joint batch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, distributed

from snnsim.processes import together


def start(device: torch.device) -> torch.device:
    """Join the group that ``torchrun`` announces in the environment, if there is one.

    Args:
        device: the device that the user asked for.

    Returns:
        The device of this process: with several GPUs, each process has its own.
    """
    if "RANK" not in os.environ or distributed.is_initialized():
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # The first optimiser imports it, and what is imported once a group exists keeps that group:
    # its threads then outlive `stop`, and may need the interpreter while it ends, which aborts.
    importlib.import_module("torch._dynamo")
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def stop() -> None:
    """Leave the group, if this process belongs to one."""
    if active():
        distributed.destroy_process_group()


def active() -> bool:
    """Return whether this process belongs to a group."""
    return together()


def rank() -> int:
    """Return the number of this process; it is 0 where there is only one."""
    return distributed.get_rank() if active() else 0


def size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if active() else 1


def share(indices: np.ndarray) -> np.ndarray:
    """Return this process's part of a joint batch.

    Args:
        indices: the indices of the samples of the joint batch, ``[B]``.

    Returns:
        A contiguous part; the parts of all processes are as equal in size as possible.
    """
    return np.array_split(indices, size())[rank()]


def sum_over_processes(values: Tensor, device: torch.device) -> Tensor:
    """Return the sum of a tensor over all processes.

    Args:
        values: a tensor of the same shape in every process.
        device: the device on which the group of processes works.

    Returns:
        The sum, on the device of ``values``.
    """
    if not active():
        return values
    moved = values.to(device)
    distributed.all_reduce(moved)
    return moved.to(values.device)


def of_first(values: Tensor, device: torch.device) -> Tensor:
    """Return the tensor of process 0 in all processes, on the device of ``values``.

    Args:
        values: a tensor of the same shape in every process.
        device: the device on which the group of processes works.
    """
    if not active():
        return values
    moved = values.to(device)
    distributed.broadcast(moved, 0)
    return moved.to(values.device)


def same_random_numbers(device: torch.device) -> None:
    """Let all processes draw the random numbers that process 0 will draw on the CPU."""
    if active():
        torch.set_rng_state(of_first(torch.get_rng_state(), device))


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Add up the gradients of all processes; every process then holds those of the joint batch."""
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
    """Return the text of process 0 in all processes."""
    values = [value]
    if active():
        distributed.broadcast_object_list(values, 0)
    return values[0]


def barrier() -> None:
    """Wait for all processes."""
    if active():
        distributed.barrier()
