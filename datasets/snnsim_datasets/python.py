"""Data of your own from Python: what a function returns."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import Tensor

from snnsim.data import Batch, DataSet, Sequences, View, describe, fetch
from snnsim.data.protocol import chosen
from snnsim.errors import ConfigError, DataError, short
from snnsim.units import check_dt
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import Fetching, check_fetching
from snnsim_datasets.tools.places import FUNCTION
from snnsim_datasets.tools.splits import check_split, check_trained, divide

INFO = INFOS["python"]
LOOKED_AT = 64  # samples whose input is part of the checksum
EXPECTED = (
    "a data set (snnsim.data.Sequences), three of them (train, validation, test), or a mapping "
    "with these names"
)


def load(
    split: str,
    root: Path | str | None = None,
    *,
    function: str = "",
    dt: float | None = None,
    held_out: float = 0.2,
    split_seed: int = 0,
    split_by: str = "auto",
    **fetching: Unpack[Fetching],
) -> Own:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: folder in which modules are looked for first; ``None`` for the working directory.
        function: ``module:function`` or ``file.py:function``; it takes no arguments and returns a
            data set (:class:`snnsim.data.Sequences`), three of them (training, validation, test),
            or a mapping with the names ``train``, ``validation`` and ``test``.
        dt: length of a step in ms; ``None`` for what the data say.
        held_out: about which fraction of the samples validation and test have each, where the
            function returns one data set.
        split_seed: of the choice of these.
        split_by: ``"speaker"``, ``"class"`` or ``"auto"``, see
            :func:`snnsim_datasets.tools.splits.divide`.
        fetching: see :class:`snnsim_datasets.tools.files.Fetching`.

    Raises:
        ConfigError: if no function is named, or there is none of that name.
        DataError: if it fails, or returns no data set.
    """
    check_fetching(fetching)
    check_split(INFO.name, split, INFO.splits)
    if dt is not None:
        check_dt(dt)
    if root is not None and not Path(root).is_dir():
        raise DataError(f"{root} does not exist; give the folder of your module with --root")
    parts = _parts(function, str(Path(root or ".").absolute()), (held_out, split_seed, split_by))
    return Own(parts[split], _classes(parts), dt, function)


@dataclass(frozen=True)
class Own(DataSet):
    """A data set of one's own says of itself what training on the command line has to know.

    Attributes:
        data: the data set.
        classes: names of the classes; none where targets are values.
        given_dt: length of a step in ms; ``None`` for what the data say.
        name: what it is called in errors.
    """

    data: Sequences
    classes: tuple[str, ...]
    given_dt: float | None
    name: str
    _seen: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of steps of each sample."""
        return np.asarray(self.data.lengths)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one step."""
        return self._once("shape", lambda: tuple(fetch(self.data, [0]).x.shape[2:]))

    @property
    def channels(self) -> int:
        """Return the number of values per step."""
        return int(np.prod(self.shape))

    @property
    def dt(self) -> float:
        """Return the length of a step in ms."""
        found = describe(self.data).dt if self.given_dt is None else self.given_dt
        if found is None:
            raise ConfigError(
                f"{self.name} does not say how long a step is; give its data set an attribute dt, "
                "or set it with --set data.dt=MS"
            )
        return float(found)

    @property
    def labels(self) -> np.ndarray | None:
        """Return the class of each sample; ``None`` where targets are values or per step."""
        return self._once("labels", lambda: labels_of(self.data))

    @property
    def speakers(self) -> np.ndarray:
        """Return the speaker of each sample, -1 where unknown."""
        return _speakers(self.data)

    @property
    def target(self) -> np.ndarray:
        """Return the targets of all samples, ``[n, ...]``; per step they are padded with zeros."""
        return self._once("target", lambda: _targets(self.data))

    @property
    def checksums(self) -> dict[str, str]:
        """Return the checksums that the data have, or one of what some samples are."""
        own = dict(describe(self.data).checksums)
        return own or self._once("sums", lambda: {f"{self.name} {len(self)}": _digest(self.data)})

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._seen:
            self._seen[name] = make()
        return self._seen[name]

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some samples, each step of which is one row of channels."""
        x, target, lengths = fetch(self.data, chosen(indices, len(self)), steps)
        return Batch(x.flatten(2).float(), target, lengths)


def labels_of(data: Sequences) -> np.ndarray | None:
    """Return the class of each sample; ``None`` where targets are values or per step."""
    told = describe(data).labels
    if told is not None:
        return np.asarray(told)
    targets = _targets(data)
    return targets if targets.ndim == 1 and targets.dtype == np.int64 else None


def _targets(data: Sequences) -> np.ndarray:
    found = []
    for first in range(0, len(data), 256):
        batch = fetch(data, np.arange(first, min(first + 256, len(data))), int(max(data.lengths)))
        target: Tensor = batch.target.transpose(0, 1) if batch.per_step else batch.target
        found.append(target.cpu().numpy())
    return np.concatenate(found)


def _speakers(data: Sequences) -> np.ndarray:
    told = describe(data).speakers
    return np.full(len(data), -1, np.int64) if told is None else np.asarray(told)


def _digest(data: Sequences) -> str:
    """Of the lengths, and of inputs and targets of some samples that lie evenly."""
    state = hashlib.sha256(np.asarray(data.lengths, np.int64).tobytes())
    for i in np.unique(np.linspace(0, len(data) - 1, LOOKED_AT).astype(int)):
        for each in fetch(data, [int(i)])[:2]:
            state.update(np.ascontiguousarray(each.detach().cpu().numpy()).tobytes())
    return state.hexdigest()


def _classes(parts: Mapping[str, Sequences]) -> tuple[str, ...]:
    """Names of the classes: those that the data say, or their numbers; none for values."""
    told = describe(parts["train"]).classes
    if told:
        return told
    found = [labels_of(part) for part in parts.values()]
    known = [labels for labels in found if labels is not None and len(labels)]
    if not known or len(known) < len(found):
        return ()
    return tuple(str(i) for i in range(max(2, 1 + max(int(labels.max()) for labels in known))))


# --- the function ---------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _parts(function: str, root: str, how: tuple[float, int, str]) -> dict[str, Sequences]:
    """The three parts of what a function returns; it is called once."""
    made = _called(function, _function(function, Path(root)))
    if isinstance(made, Mapping):
        if set(made) != set(INFO.splits):
            raise _refused(function, f"a mapping with the names {sorted(map(str, made))}")
        made = [made[split] for split in INFO.splits]
    if isinstance(made, tuple | list):
        if len(made) != len(INFO.splits):
            raise _refused(function, f"{len(made)} things")
        parts = dict(zip(INFO.splits, made, strict=True))
        for part in parts.values():
            _check(function, part)
        return parts
    _check(function, made)
    labels = labels_of(made)
    equal = np.zeros(len(made), np.int64)  # values have no classes to be divided by
    split_of = divide(equal if labels is None else labels, _speakers(made), [""] * len(made), *how)
    if labels is not None:
        check_trained(labels, split_of, _classes({"train": made}))
    return {split: View(made, split_of == split) for split in INFO.splits}


def _check(function: str, data: Any) -> None:
    if not isinstance(data, Sequences):
        raise _refused(function, short(type(data).__name__))
    if not len(data):
        raise DataError(f"{function} returns a data set without samples")


def _refused(function: str, what: str) -> DataError:
    return DataError(f"{function} returns {what} but must return {EXPECTED}")


def _function(function: str, root: Path) -> Callable[[], Any]:
    match = FUNCTION.fullmatch(function)
    if match is None:
        raise ConfigError(
            f"data.function is {short(function)} but must be module:function or file.py:function"
        )
    module = _module(match["place"], root)
    found = getattr(module, match["name"], None)
    if not callable(found):
        known = [name for name, each in vars(module).items() if callable(each) and name[0] != "_"]
        raise ConfigError(
            f"{match['place']} has no function {match['name']}; it has {', '.join(known) or 'none'}"
        )
    return found


def _module(place: str, root: Path) -> Any:
    if not place.endswith(".py"):
        sys.path.insert(0, str(root))
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"there is no module {error.name} for data.function={place}:...; run the command "
                "in its folder, or give that folder with --root"
            ) from error
        except Exception as error:
            raise _failed(place, error) from error
        finally:
            sys.path.remove(str(root))
    path = root / place
    if not path.is_file():
        raise ConfigError(f"{path} does not exist, from which data.function is to be read")
    spec: Any = importlib.util.spec_from_file_location(f"snnsim_own_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(place, error) from error
    return module


def _called(name: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> DataError:
    """What went wrong in code that is not ours, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return DataError(f"{name} failed with {type(error).__name__} in {where}: {error}")
