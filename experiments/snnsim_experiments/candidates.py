"""What is compared: networks on data or a stream at one budget, or methods on a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from snnsim.errors import ConfigError
from snnsim.training.recipe import OF_ONE_TASK, RENAMED
from snnsim_experiments.configuration import of_baselines, resolve
from snnsim_experiments.experiment import SPIKING, Experiment
from snnsim_experiments.settings import (
    Change,
    Changes,
    given_file,
    listed,
    name_of,
    read_toml,
)

ADAPTIVE = {
    "network.delays": "none",
    "network.neuron": "adlif",
    "network.tau_mem": 100.0,
    "network.tau_adapt": 500.0,
}
# spiking networks by name: what differs from the data set's own configuration
ON_DATA: dict[str, dict[str, Any]] = {
    "snn-none": {"network.delays": "none"},
    "snn-none-slow": {"network.delays": "none", "network.tau_mem": 55.0},
    "snn-fixed": {"network.delays": "fixed"},
    "snn-learned": {"network.delays": "learned"},
    "snn-adlif": ADAPTIVE,
    "snn-radlif": {**ADAPTIVE, "network.recurrent": True},
}
# and from the stream's
ON_STREAMS: dict[str, dict[str, Any]] = {
    "snn-none": {"network.connections": "dense"},
    "snn-recurrent": {"network.connections": "recurrent"},
    "snn-axonal": {"network.connections": "axonal"},
    "snn-learned": {"network.connections": "synaptic"},
}
SHARED = (
    "epochs", "batch_size", "readout", "mask_padding", "schedule", "weight_decay", "patience",
    "accumulate", "precision", "checkpoint_steps", "optimizer", "momentum", "clip", "until",
    "check_finite", *OF_ONE_TASK,
)  # fmt: skip
# which baselines have none of
OF_DELAYS = tuple(
    f"training.{key}" for key in ("lr_delay", "schedule_delay", "sigma_end", "sigma_fraction")
)
# of a stream: sections that spiking networks get too
OF_ALL = ("stream.", "augmentation.", "training.", "method.")


@dataclass(frozen=True)
class Choice:
    """A choice is what all that is compared has in common.

    Attributes:
        source: the name of a data set or, with a ``method``, of a stream.
        method: the name of a method of continual learning; empty on a data set.
        config: the path of a TOML file.
        changes: single changes, as :func:`snnsim_experiments.resolve` takes them.
        epochs: the number of passes over the data, in place of that of the configuration.
    """

    source: str
    method: str = ""
    config: str | None = None
    changes: Changes = ()
    epochs: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "changes", listed(self.changes))

    def _resolve(self, model: str, changes: Changes, config: str | None) -> Experiment:
        return resolve(
            self.source, model, self.method, config=config, changes=changes, epochs=self.epochs
        )

    def network(self, name: str) -> Experiment:
        """Make the experiment of a baseline or spiking network, of any width.

        Args:
            name: the name of a model, or a key of ``ON_DATA`` or ``ON_STREAMS``. On a data set,
                spiking networks keep their own learning rates, layers and time constants; epochs,
                batches, read-out and dropout are those of the baselines. On a stream, training is
                the same for all, and a baseline has as many layers as on a data set.
        """
        if self.method:
            return self._on_stream(name)
        if name not in ON_DATA:
            return self._resolve(name, self.changes, self.config)
        like = self.base()
        own_changes = [*ON_DATA[name].items(), *self._of(OF_DELAYS)]
        own = resolve(self.source, changes=own_changes)
        network = own.network | {"dropout": like.network["dropout"]}
        same = {key: getattr(like.recipe, key) for key in SHARED}
        own = replace(own, data=like.data, network=network, augmentation=like.augmentation)
        return own.trained(**same)

    def _on_stream(self, name: str) -> Experiment:
        if name in ON_STREAMS:
            changes = [*ON_STREAMS[name].items(), *self._of(OF_ALL)]
            return self._resolve(SPIKING, changes, self.config)
        depth = resolve("spoken-digits", name).network["depth"]
        return self._resolve(name, [("network.depth", depth), *listed(self.changes)], self.config)

    def base(self) -> Experiment:
        """Make the experiment of a baseline from what is the same for all."""
        if self.method:
            shared = self._of((*OF_ALL, "encoder."))
            return replace(self, changes=shared).network("gru")
        kept = (
            "data.",
            "encoder.",
            "network.",
            "augmentation.",
            *(f"training.{key}" for key in SHARED),
        )
        return self._resolve("gru", self._of(kept), self.config)

    def _of(self, wanted: tuple[str, ...]) -> list[Change]:
        """The changes of some sections (``"data."``) and single settings."""
        sections = tuple(each for each in wanted if each.endswith("."))
        return [
            change
            for change in listed(self.changes)
            if _current(change) in wanted or name_of(change).startswith(sections)
        ]

    def settings(self) -> dict[str, Any]:
        """Return what all rows of a comparison have in common."""
        base = self.base()
        if self.method:
            return {
                "stream": base.source,
                "method": self.method,
                "options": [base.data, base.method_options],
                "augmentation": base.augmentation.as_json(),
                "training": base.training,
                "encoder": base.network["encoder"],
                "network": [c for c in self._told() if c.startswith("network.")],
            }
        own = ("width", "encoder", "options", "shared_head")
        return {
            "dataset": base.source,
            "data": base.data,
            "encoder": base.network["encoder"],
            "augmentation": base.augmentation.as_json(),
            "training": {key: base.training[key] for key in SHARED},
            "network": {key: value for key, value in base.network.items() if key not in own},
        }

    def _told(self) -> list[str]:
        changes = listed(self.changes)
        return [c if isinstance(c, str) else f"{c[0]}={_as_text(c[1])}" for c in changes]

    def check_same_for_all(self) -> None:
        """Refuse a file that gives some networks other data, encoder or training than the rest."""
        sections: dict[str, Any] = {}
        if self.config is not None and not self.method:
            sections = read_toml(given_file(self.config), of_baselines(self.source).allowed())
        for name, section in sections.items():
            kind, _, model = name.partition("-")
            whole = kind in ("data", "encoder", "augmentation")
            wrong = [k for k in section if whole or k in (*SHARED, "dropout")]
            if model and (whole or kind in ("network", "training")) and wrong:
                raise ConfigError(
                    f"[{name}] of {self.config} gives {model} its own {wrong[0]}, which must "
                    f"be the same for all in a comparison; move it to [{kind}]"
                )


def _current(change: Change) -> str:
    """Today's name of what is changed."""
    section, _, key = name_of(change).partition(".")
    return f"{section}.{RENAMED.get(key, key) if section == 'training' else key}"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def methods_on(choice: Choice, methods: Iterable[str]) -> dict[str, Experiment]:
    """Make the experiments of several methods on the stream of a choice."""
    return {
        name: replace(choice, method=name)._resolve(SPIKING, choice.changes, choice.config)
        for name in methods
    }
