"""Surrogate recordings: what an analysis finds where a structure is gone but all else is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from snnsim.activity import Recording
from snnsim.errors import check_choice, check_seed

NULLS = ("shift", "trials", "units", "steps")
"""The ways in which :func:`shuffled` destroys the structure of a recording."""


def shuffled(rec: Recording, how: str = "shift", seed: int = 0) -> Recording:
    """Return a recording in which one kind of structure is destroyed.

    Args:
        rec: the recording, ``[T, S, N]``.
        how: ``"shift"`` rolls every unit's activity in every sample around by a random time within
            the sample's own steps: rates, autocorrelations and bursts stay, coincidences go.
            ``"trials"`` gives every unit's samples another order: what follows the stimulus's
            time stays, what belongs to one sample goes. ``"units"`` gives the units of every sample
            another order: what all do together stays, who does it goes. ``"steps"`` gives the time
            steps of every sample another order, the same for all units: rates and coincidences
            stay, everything that depends on order in time goes.
        seed: of the random numbers.

    Returns:
        A recording of the same shape. Lengths and targets stay where they were; ``"trials"``
        exchanges samples of one length only as far as both have steps, and fills with zeros.

    >>> rec = Recording(torch.eye(4).view(4, 1, 4), "spikes", "", "output", torch.tensor([4]))
    >>> shuffled(rec).values.sum(0).tolist()
    [[1.0, 1.0, 1.0, 1.0]]
    """
    check_choice("how", how, NULLS)
    random = np.random.default_rng(check_seed(seed))
    values = rec.values.flatten(2)
    T, S, N = values.shape
    if how == "units":
        order = torch.from_numpy(random.permuted(np.tile(np.arange(N), (S, 1)), axis=1))
        mixed = values.gather(2, order.expand(T, S, N))
    elif how == "trials":
        order = torch.from_numpy(random.permuted(np.tile(np.arange(S)[:, None], (1, N)), axis=0))
        mixed = values.gather(1, order.expand(T, S, N)) * rec.inside().unsqueeze(2)
    elif how == "steps":
        mixed = values.gather(0, _mixed_steps(rec, random).unsqueeze(2).expand(T, S, N))
    else:
        lengths = rec.lengths.view(1, S, 1)
        by = torch.from_numpy(random.integers(0, 2**31, (1, S, N))) % lengths.clamp(min=1)
        step = torch.arange(T).view(T, 1, 1)
        source = torch.where(step < lengths, (step - by) % lengths.clamp(min=1), step)
        mixed = values.gather(0, source)
    return replace(rec, values=mixed.view(rec.values.shape))


def _mixed_steps(rec: Recording, random: np.random.Generator) -> torch.Tensor:
    """Each sample's own steps in another order and those after its end in theirs, ``[T, S]``."""
    T, S = rec.values.shape[:2]
    place = torch.from_numpy(random.random((T, S)))
    after = 1.0 + torch.arange(T, dtype=torch.float64).view(T, 1)
    return torch.where(rec.inside().to(place.device), place, after).argsort(0)
