"""Settings that are not numbers, or of no possible size, are refused in one sentence, in time."""

from __future__ import annotations

import resource
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import snnsim_datasets
from command import assert_one_error, assert_refused
from small_runs import DIGITS, ON_PARITY, WRITERS, contents, write_fsdd, write_nmnist, write_shd
from snnsim_experiments.budget import with_width
from snnsim_experiments.build import build_network, load_split
from snnsim_experiments.configuration import resolve
from snnsim_experiments.continual import networks, streams
from snnsim_experiments.experiment import OF_STREAMS, Experiment
from snnsim_experiments.similar import flat

from snnsim.baselines import RateNetwork, names
from snnsim.continual import methods
from snnsim.errors import ConfigError, SnnsimError

NOT_NUMBERS = ("nan", "inf", "-inf")
EXTREMES = ("1e300", "-1e300", "1e-300", "1e19", "-1", "0", str(2**63), str(2**64), "9" * 400)
SECTIONS = (
    "data", "network", "augmentation", "training", "stream", "method", "encoder", "options",
)  # fmt: skip


def sections(experiment: Experiment) -> dict[str, Any]:
    """The sections of an experiment, by the names that a file has for them."""
    named = OF_STREAMS if experiment.method else {}
    kept = ("data", "network", "training", "method_options")
    found = {named.get(name, name): getattr(experiment, name) for name in kept}
    return found | {"augmentation": experiment.augmentation.as_json()}


def number_keys(config: dict[str, Any], sections=SECTIONS) -> list[str]:
    """Keys of a resolved configuration that a number may be given to."""

    def number(value: Any) -> bool:
        return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))

    found = flat({s: config[s] for s in sections if config.get(s) is not None})
    return [k for k, v in found.items() if number(v) or (isinstance(v, list) and v)]


def setting(config: dict[str, Any], key: str, value: str) -> str:
    """``--set``'s text that gives a key a value, in a list where it holds one."""
    section, _, name = key.partition(".")
    held = config[section].get(name)
    return f"{key}=[{value}]" if isinstance(held, list) else f"{key}={value}"


@contextmanager
def bounded(size: int = 2 << 30, seconds: int = 5):
    """Within this context so many bytes more can be had, and so many seconds of computing."""

    def stop(*_):
        raise TimeoutError(f"no end after {seconds} s")

    handler = signal.signal(signal.SIGPROF, stop)
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusals(use, changes: list[str]) -> list[str]:
    """What ``use`` did not refuse, or refused with an error that is not the project's."""
    wrong = []
    for change in changes:
        try:
            with bounded():
                use(change)
            wrong.append(f"{change[:60]}: taken")
        except SnnsimError:
            pass
        except Exception as error:
            wrong.append(f"{change[:60]}: {type(error).__name__}: {str(error)[:80]}")
    return wrong


def foreign(use, changes: list[str]) -> list[str]:
    """Errors that are not the project's; a large number may also be taken."""
    return [line for line in refusals(use, changes) if not line.endswith(": taken")]


# --- every number of every data set's configuration ---------------------------------------------


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path | None]:
    place = tmp_path_factory.mktemp("roots")
    write_shd(place / "shd")
    write_fsdd(place / "fsdd")
    write_nmnist(place / "nmnist")
    return {"shd": place / "shd", "fsdd": place / "fsdd", "nmnist": place / "nmnist",
            "spoken-digits": None}  # fmt: skip


DATASET_KEYS = [(d, k) for d in snnsim_datasets.names() for k in number_keys(sections(resolve(d)))]


def user_of(dataset: str, key: str, roots):
    """A function that goes as far as a run does before its first step, for one change."""

    def use(change: str) -> None:
        small = ["network.hidden=[4]"] if key != "network.hidden" else []
        chosen = resolve(dataset, changes=[*small, change])
        if key.startswith("data."):
            if dataset in roots:
                part = load_split(chosen, "test", roots[dataset])
                part.batch([0])
        elif key.startswith("network."):
            build_network(chosen, 14, 20, dt=10.0)

    return use


@pytest.mark.parametrize(("dataset", "key"), DATASET_KEYS, ids=lambda v: str(v))
def test_no_setting_of_a_data_set_takes_what_is_not_a_number(roots, dataset, key):
    plain = sections(resolve(dataset))
    use = user_of(dataset, key, roots)
    assert refusals(use, [setting(plain, key, value) for value in NOT_NUMBERS]) == []


@pytest.mark.parametrize(
    ("dataset", "key"),
    [(d, k) for d, k in DATASET_KEYS if d in ("spoken-digits", "fsdd", "nmnist")],
)
def test_extreme_settings_of_a_data_set_are_taken_or_refused_in_one_sentence(roots, dataset, key):
    plain = sections(resolve(dataset))
    use = user_of(dataset, key, roots)
    assert foreign(use, [setting(plain, key, value) for value in EXTREMES]) == []


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize("key", [k for d, k in DATASET_KEYS if d == "spoken-digits"])
def test_a_run_with_a_setting_that_is_not_a_number_is_refused_before_it_writes(
    snnsim, tmp_path, key, value
):
    change = setting(sections(resolve("spoken-digits")), key, value)
    answer = snnsim(*DIGITS, "--set", change, "--out", tmp_path / "out")
    assert_one_error(answer, key.rpartition(".")[2])
    assert contents(tmp_path) == {}


# --- streams and methods ------------------------------------------------------------------------


def stream_user(method: str, *more: str):
    def use(change: str) -> None:
        small = ["stream.tasks=2", "stream.samples=8", "network.hidden=[4]", *more]
        chosen = resolve("parity", method=method, changes=[*small, change])
        if not change.startswith(("method", "training")):
            stream = streams.build("parity", None, **chosen.data)
            networks.build(stream, model=chosen.model, **chosen.network)

    return use


def stream_config(method: str, *changes: str) -> dict[str, Any]:
    return sections(resolve("parity", method=method, changes=changes))


STREAM_KEYS = number_keys({k: v for k, v in stream_config("fine-tuning").items() if k != "method"})
METHOD_KEYS = [(m, k) for m in methods.names() for k in number_keys(stream_config(m), ("method",))]


@pytest.mark.parametrize("key", STREAM_KEYS)
def test_no_setting_of_a_stream_takes_what_is_not_a_number(key):
    plain, use = stream_config("fine-tuning"), stream_user("fine-tuning")
    assert refusals(use, [setting(plain, key, value) for value in NOT_NUMBERS]) == []


@pytest.mark.parametrize("key", STREAM_KEYS)
def test_extreme_settings_of_a_stream_are_taken_or_refused_in_one_sentence(key):
    plain, use = stream_config("fine-tuning"), stream_user("fine-tuning")
    assert foreign(use, [setting(plain, key, value) for value in EXTREMES]) == []


@pytest.mark.parametrize(("method", "key"), METHOD_KEYS)
def test_no_option_of_a_method_takes_what_is_not_a_number(method, key):
    plain, use = stream_config(method), stream_user(method)
    assert refusals(use, [setting(plain, key, value) for value in NOT_NUMBERS]) == []
    assert foreign(use, [setting(plain, key, value) for value in EXTREMES]) == []


# --- baselines ----------------------------------------------------------------------------------


def baseline_config(model: str) -> dict[str, Any]:
    chosen = with_width(resolve("spoken-digits", model), 8)
    own = {k: v for k, v in chosen.network.items() if k not in ("encoder", "options", "width")}
    return {
        "data": chosen.data, "training": chosen.training, "network": own,
        "encoder": chosen.network["encoder"], "options": chosen.network["options"],
    }  # fmt: skip


def baseline_user(model: str):
    def use(change: str) -> None:
        chosen = with_width(resolve("spoken-digits", model, changes=[change]), 8)
        RateNetwork(14, 5, chosen.model, **chosen.network)

    return use


BASELINE_KEYS = [
    *(("gru", k) for k in number_keys(baseline_config("gru"), ("network", "encoder", "training"))),
    *((m, k) for m in names() for k in number_keys(baseline_config(m), ("options",))),
]


@pytest.mark.parametrize(("model", "key"), BASELINE_KEYS)
def test_no_setting_of_a_baseline_takes_what_is_not_a_number(model, key):
    plain, use = baseline_config(model), baseline_user(model)
    assert refusals(use, [setting(plain, key, value) for value in NOT_NUMBERS]) == []


@pytest.mark.parametrize(("model", "key"), BASELINE_KEYS)
def test_extreme_settings_of_a_baseline_are_taken_or_refused_in_one_sentence(model, key):
    plain, use = baseline_config(model), baseline_user(model)
    assert foreign(use, [setting(plain, key, value) for value in EXTREMES]) == []


# --- options that are numbers, and sizes that cannot be had -------------------------------------

TOO_LARGE = {
    "hidden": (*DIGITS, "--set", "network.hidden=[1000000000000]"),
    "two layers": (*DIGITS, "--set", "network.hidden=[200000,200000]"),
    "kernels": (*DIGITS, "--config", "fixed", "--set", "network.kernel_count=10000000000"),
    "delay": (*DIGITS, "--config", "fixed", "--set", "network.max_delay_ms=2e13"),
    "step": (*DIGITS, "--set", "data.dt=1e-12"),
    "stream": (*WRITERS["continual run"], "--set", "stream.samples=1000000000000"),
    "width": (*WRITERS["baselines train"], "--width", "10000000000"),
    "layers": ("continual", "run", "--method", "hlop", *ON_PARITY,
               "--set", "network.hidden=[10000000000]"),
    "budget": (*WRITERS["baselines compare"], "--budget", "1e30"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_size_that_cannot_be_allocated_is_refused_before_it_writes(snnsim, tmp_path, case):
    with bounded(seconds=10):
        answer = snnsim(*TOO_LARGE[case], "--out", tmp_path / "out")
    assert_refused(answer)
    assert contents(tmp_path) == {}


def test_the_limit_of_memory_is_one(tmp_path):
    """So that the test above can fail."""
    with bounded(1 << 28), pytest.raises(MemoryError):
        bytearray(1 << 30)


@pytest.mark.parametrize("name", ["default", "fixed"])
def test_a_refused_setting_names_its_key(name):
    for key in ("network.tau_mem", "training.lr", "network.dropout", "data.dt"):
        with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
            build_network(resolve("shd", config=name, changes=[f"{key}=nan"]), 14, 20, dt=10.0)
