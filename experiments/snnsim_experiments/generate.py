"""``snnsim baselines generate``: spikes that a network continues, as a file of spikes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from snnsim_datasets.tools import heidelberg
from torch import Tensor, nn

from snnsim.data.events import Events, offsets_of
from snnsim.errors import ConfigError, check_choice, check_number, check_size
from snnsim.generation import SAMPLERS, generate, generate_by, recurrent_depth_of
from snnsim.training.next_step import next_of
from snnsim_experiments import run_folder
from snnsim_experiments.build import load_split
from snnsim_experiments.place import HERE, Place


@dataclass(frozen=True)
class Wanted:
    """``Wanted`` says what is to be generated.

    Attributes:
        samples: the largest number of samples; they lie evenly in the split.
        prompt_steps: the number of steps of each sample that the network is shown.
        steps: the number of steps that it adds.
        temperature: see :func:`snnsim.generation.generate`.
        sampler: ``"steps"``, or ``"parallel"`` for a recurrent-depth model.
        inner: the number of iterations per round of the parallel sampler.
        split: the split of the data from which samples are taken.
        seed: the seed of what is drawn.
    """

    samples: int = 20
    prompt_steps: int = 50
    steps: int = 200
    temperature: float = 1.0
    sampler: str = "steps"
    inner: int = 4
    split: str = "test"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "prompt_steps", "steps", "inner"):
            check_size(name, getattr(self, name))
        check_number("temperature", self.temperature, 0)
        check_choice("sampler", self.sampler, SAMPLERS)
        if self.sampler == "parallel" and self.temperature:
            raise ConfigError(
                f"the parallel sampler takes the likeliest events, but temperature is "
                f"{self.temperature}; set --temperature 0"
            )


def generate_from(
    run: Path, wanted: Wanted | None = None, place: Place = HERE, checkpoint: str = "best"
) -> dict[str, Any]:
    """Let the network of a run continue samples of its data, and write all spikes to a file.

    The file has the layout of the Heidelberg data sets: the steps of a sample that were shown, and
    those that follow. Step ``t`` is at ``t * dt``; a channel that merges several is written as the
    first of them; labels and speakers are those of the samples.

    Args:
        run: the folder of a run whose target is ``"next-event"`` or ``"next-step"``.
        wanted: what is to be generated.
        place: the folder of the data, the device, and in ``out`` the file to write; ``None`` for
            ``generated.h5`` in the run folder.
        checkpoint: ``"best"``, ``"last"`` or ``"initial"``.

    Returns:
        What was generated: ``out``, the file, numbers of samples, steps and spikes, and the firing
        rates of prompt and continuation; with the parallel sampler also its passes of the core
        and those of a generation step by step.
    """
    wanted = wanted or Wanted()
    net, experiment, facts = run_folder.load_network(run, checkpoint)
    target = experiment.recipe.target
    next_of(target)  # refuses a run on classes before its data are read
    if wanted.sampler == "parallel" and target != "next-event":
        raise ConfigError(f"the parallel sampler generates events, but the target is {target}")
    root = facts.get("root") if place.root is None else place.root
    data = load_split(experiment, wanted.split, root)
    chosen = _long_enough(data, wanted)
    prompt = (data.batch(chosen, wanted.prompt_steps).x > 0).float()
    net.to(run_folder.device(place.device))
    passes: dict[str, int] = {}
    if wanted.sampler == "parallel":
        added, passes = _in_parallel(net, prompt, wanted)
    else:
        added = generate(
            net, prompt, wanted.steps, target=target, temperature=wanted.temperature,
            seed=wanted.seed,
        ).cpu()  # fmt: skip
    out = place.out or run / "generated.h5"
    out.parent.mkdir(parents=True, exist_ok=True)
    heidelberg.write(out, as_events(torch.cat([prompt, added]), data, chosen))
    return {
        "out": str(out),
        "samples": len(chosen),
        "prompt_steps": wanted.prompt_steps,
        "steps": wanted.steps,
        "spikes": int(added.sum()),
        "rate": float(added.mean()),
        "prompt_rate": float(prompt.mean()),
        **passes,
    }


def as_events(x: Tensor, data: Any, chosen: np.ndarray) -> Events:
    """Return spikes on a time grid as events.

    Args:
        x: the spikes, ``[T, B, N]``.
        data: the data set that the samples are of, with ``dt`` and, where channels were merged,
            ``pool``.
        chosen: the indices of the samples in it, ``[B]``.
    """
    sample, step, channel = x.permute(1, 0, 2).nonzero(as_tuple=True)
    pool = getattr(data, "pool", 1)
    return Events(
        times=step.numpy() * (data.dt / 1000),
        units=channel.numpy() * pool,
        offsets=offsets_of(np.bincount(sample.numpy(), minlength=len(chosen))),
        labels=data.labels[chosen],
        speakers=data.speakers[chosen],
        channels=x.shape[2] * pool,
        classes=tuple(data.classes),
    )


def _long_enough(data: Any, wanted: Wanted) -> np.ndarray:
    """Indices of samples that have all steps of the prompt, evenly in the split."""
    long = np.flatnonzero(np.asarray(data.lengths) >= wanted.prompt_steps)
    if not len(long):
        raise ConfigError(
            f"no sample has the {wanted.prompt_steps} steps of --prompt-steps; the longest has "
            f"{int(np.max(data.lengths))}"
        )
    places = np.linspace(0, len(long) - 1, min(wanted.samples, len(long)))
    return long[np.unique(places.round().astype(int))]


def _in_parallel(net: nn.Module, prompt: Tensor, wanted: Wanted) -> tuple[Tensor, dict[str, int]]:
    """Continue each sample by a wave of positions, and count the passes of the core."""
    body = recurrent_depth_of(net)
    added, passes = [], 0
    for tokens in prompt.argmax(-1).t().tolist():
        found = generate_by(
            "parallel", net, tokens, wanted.steps, inner=wanted.inner, widest=min(32, body.reach)
        )
        added.append(torch.tensor(found.tokens))
        passes += found.passes
    one_by_one = body.iterations * wanted.steps * len(added)
    spikes = nn.functional.one_hot(torch.stack(added, 1), prompt.shape[-1]).float()
    return spikes, {"passes": passes, "passes_one_by_one": one_by_one}
