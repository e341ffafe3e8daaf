"""Numbers on the command line, files of settings and sizes of layers that cannot be."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from command import TEST_FILE, assert_one_error, assert_refused
from small_runs import DIGITS, WRITERS, contents
from snnsim_experiments.configuration import resolve

import snnsim as sn
from snnsim import neurons
from snnsim.errors import ConfigError, SnnsimError

ODD = ("-1", "-9", "nan", "inf", "1e300", str(2**64), str(10**30), "0x10", "½", "1_0", "")
OPTIONS = {  # command, option, values that are right
    "train --seed": (DIGITS, "--seed", ("1_0",)),
    "train --epochs": (DIGITS, "--epochs", ("1_0", str(2**64), str(10**30))),
    "continual --seeds": (WRITERS["continual run"], "--seeds", ("1_0",)),
    "compare --seeds": (WRITERS["continual compare"], "--seeds", ("1_0",)),
    "baselines --seed": (WRITERS["baselines train"], "--seed", ("1_0",)),
    "baselines --width": (WRITERS["baselines train"], "--width", ("1_0",)),
    "baselines --seeds": (WRITERS["baselines compare"], "--seeds", ("1_0",)),
    "baselines --budget": (WRITERS["baselines compare"], "--budget", ("1_0",)),
    "baselines --rates": (WRITERS["baselines compare"], "--rates", ("1_0",)),
}
CASES = [(o, v) for o, (_, _, right) in OPTIONS.items() for v in ODD if v not in right]


@pytest.mark.parametrize(("option", "value"), CASES)
def test_an_odd_number_is_refused_before_anything_is_written(snnsim, tmp_path, option, value):
    command, name, _ = OPTIONS[option]
    answer = snnsim(*command, name, value, "--out", tmp_path / "out")
    assert_refused(answer)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "command",
    [
        ("baselines", "info", "gru", "--channels", "0"),
        ("baselines", "info", "gru", "--channels", "-3"),
        ("baselines", "info", "gru", "--classes", "0"),
        ("baselines", "info", "gru", "--channels", str(10**30)),
        ("baselines", "info", "gru", "--budget", "nan"),
        ("baselines", "info", "gru", "--budget", "inf"),
        ("baselines", "check", "counting", "--short", "--seed", "-1"),
        ("baselines", "check", "counting", "--short", "--seed", str(2**64)),
        ("baselines", "train", "--model", "gru", "--stream", "parity", "--seed", "-1"),
    ],
    ids=" ".join,
)
def test_a_command_with_an_impossible_number_is_one_sentence(
    snnsim, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    assert_refused(snnsim(*command))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "options",
    [
        ("--index", "-1"), ("--index", str(10**30)), ("--top", "0"), ("--top", "-2"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_predict_refuses_impossible_numbers(snnsim, run, options):
    assert_refused(snnsim("predict", run, TEST_FILE, *options), options[0])


@pytest.mark.parametrize("every", ["-1", str(10**30)])
def test_evaluate_refuses_impossible_numbers(snnsim, run, every):
    before = contents(run)
    answer = snnsim("spoken-digits", "evaluate", run, "--over-time", every)
    assert_refused(answer, "--over-time")
    assert contents(run) == before


@pytest.mark.parametrize("top", ["0", "-1"])
def test_similar_refuses_impossible_numbers(snnsim, run, top):
    assert_refused(snnsim("similar", run, "--among", run.parent, "--top", top), "--top")


# --- files of settings --------------------------------------------------------

MALFORMED = {
    "deep list": b"[training]\nepochs = " + b"[" * 50_000 + b"]" * 50_000,
    "deep table": b"[training]\n" + b"a." * 5000 + b"b = 1\n",
    "deep inline": b"[training]\nepochs = " + b"{a=" * 50_000 + b"1" + b"}" * 50_000,
    "zero byte": b"[training]\nepochs = 3\0\n",
    "zero bytes": b"\0" * 100,
    "not UTF-8": b"[training]\nreadout = 'f\xfcnf'\n",
    "UTF-16": "[training]\nepochs = 3\n".encode("utf-16"),
    "5000 digits": b"[training]\nepochs = " + b"9" * 5000 + b"\n",
    "5000 digits after the point": b"[training]\nlr = -1." + b"9" * 5000 + b"\n",
    "an escape that is none": b'[training]\nreadout = "\\ud800"\n',
    "a date": b"[training]\nepochs = 1979-05-27\n",
    "no value": b"[training]\nepochs =",
    "a list of tables": b"[[training]]\nepochs = 3\n",
    "an odd key": b"[training]\n'' = 3\n",
    "an odd key with brackets": b"[training]\n'[red]' = 3\n",
}
RESOLVERS = {
    "data set": lambda path: resolve("spoken-digits", config=path),
    "stream": lambda path: resolve("parity", method="hlop", config=path),
    "baseline": lambda path: resolve("spoken-digits", "gru", config=path),
}
COMMANDS = {"data set": "train", "stream": "continual run", "baseline": "baselines compare"}


@pytest.mark.parametrize("text", MALFORMED)
@pytest.mark.parametrize("kind", RESOLVERS)
def test_a_malformed_file_of_settings_is_one_sentence(snnsim, tmp_path, kind, text):
    path = tmp_path / "mine.toml"
    path.write_bytes(MALFORMED[text])
    with pytest.raises(ConfigError):
        RESOLVERS[kind](str(path))
    command = [w for w in WRITERS[COMMANDS[kind]] if w not in ("--config", "none")]
    answer = snnsim(*command, "--config", path, "--out", tmp_path / "out")
    assert_one_error(answer)
    assert len(answer.err) < 2000
    assert set(contents(tmp_path)) == {"mine.toml"}


@pytest.mark.parametrize("kind", RESOLVERS)
def test_a_file_with_a_mark_of_its_coding_is_taken(tmp_path, kind):
    section = "training" if kind != "stream" else "network"
    path = tmp_path / "mine.toml"
    key = "epochs" if kind != "stream" else "steps"
    path.write_bytes(f"\ufeff[{section}]\r\n# fünf\r\n{key} = 7\r\n".encode())
    assert getattr(RESOLVERS[kind](str(path)), section)[key] == 7


@pytest.mark.parametrize("kind", RESOLVERS)
@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "x" * 5000, "~", "/dev/null/x"])
def test_a_configuration_that_is_no_file_is_one_sentence(kind, name):
    with pytest.raises(ConfigError):
        RESOLVERS[kind](name)


TEXTS = (
    "9" * 5000, "[" * 50_000, "{a=" * 20_000, "1e999999", "0x" + "f" * 5000, "'", '"""', "\\ud800",
    "\ud800", "nan nan", "1\nepochs = 3", "]", "1979-05-27T07:32:00Z", "[red]", "[/]", " ", "\t",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("key", ["training.epochs", "training.lr", "network.hidden", "data.dt"])
def test_an_odd_text_given_to_set_is_one_sentence(snnsim, tmp_path, key, text):
    answer = snnsim(*DIGITS, "--set", f"{key}={text}", "--out", tmp_path / "out")
    assert_one_error(answer)
    assert len(answer.err) < 2000
    assert contents(tmp_path) == {}


# --- layers --------------------------------------------------------

CONNECTIONS = {
    "Dense": lambda n_in, n_out: sn.Dense(n_in, n_out),
    "Delayed": lambda n_in, n_out: sn.Delayed(n_in, n_out, dt=1.0, max_delay_ms=4),
    "axonal": lambda n_in, n_out: sn.Delayed(
        n_in, n_out, dt=1.0, max_delay_ms=4, granularity="axonal"
    ),
    "dendritic": lambda n_in, n_out: sn.Delayed(
        n_in, n_out, dt=1.0, max_delay_ms=4, granularity="dendritic"
    ),
}
SIZES = [0, -1, -2, 2.5, 2.0, "2", None, float("nan"), float("inf"), 10**12, 2**63, 10**30]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", CONNECTIONS)
def test_a_connection_of_an_impossible_size_is_refused(kind, size):
    for sizes in ((size, 2), (2, size)):
        with pytest.raises(SnnsimError, match=r"n_in|n_out|size"):
            CONNECTIONS[kind](*sizes)


MODELS = [
    getattr(neurons, name)
    for name in neurons.__all__
    if inspect.isclass(getattr(neurons, name))
    and issubclass(getattr(neurons, name), neurons.Neuron)
    and getattr(neurons, name) is not neurons.Neuron
]
each_model = pytest.mark.parametrize("cls", MODELS, ids=lambda c: c.__name__)


@pytest.mark.parametrize("size", [True, *(s for s in SIZES if s not in (0, 10**12))], ids=str)
@each_model
def test_neurons_of_an_impossible_number_are_refused(cls, size):
    with pytest.raises(SnnsimError):
        cls(size, dt=1.0)


@pytest.mark.parametrize("size", [-1, 2.5, None, 10**12], ids=str)
def test_a_normalisation_of_an_impossible_size_is_refused(size):
    with pytest.raises(SnnsimError):
        sn.BatchNorm(size)


STEPS = [0, -1, float("nan"), float("inf"), -float("inf"), "1", None]


@pytest.mark.parametrize("dt", STEPS, ids=str)
@each_model
def test_neurons_with_an_impossible_step_are_refused(cls, dt):
    with pytest.raises(SnnsimError, match="dt"):
        cls(3, dt=dt)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@each_model
def test_no_parameter_of_a_neuron_takes_what_is_not_finite(cls, value):
    for name in cls._declared:
        for given in (value, torch.full((3,), value)):
            with pytest.raises(SnnsimError, match=name):
                cls(3, dt=1.0, **{name: given})


OF_DELAYED = {
    "dt": STEPS,
    "max_delay_ms": [-2, 3, float("nan"), float("inf"), 1e300, "4", None],
    "kernel_count": [0, -1, 1.5, float("nan"), "1", None, 10**12],
    "sigma": [-1, float("nan"), float("inf"), 1e300, "1"],
}


@pytest.mark.parametrize("name", OF_DELAYED)
def test_a_delayed_connection_refuses_impossible_options(name):
    taken = []
    for value in OF_DELAYED[name]:
        try:
            sn.Delayed(3, 2, **({"dt": 1.0, "max_delay_ms": 4} | {name: value}))
            taken.append(value)
        except SnnsimError as error:
            assert name in str(error) or "delay" in str(error)
    assert taken == []


@pytest.mark.parametrize("p", [float("nan"), -0.1, 1.0, 1.5, float("inf"), "0.5", None])
def test_dropout_refuses_what_is_no_share(p):
    with pytest.raises(SnnsimError):
        sn.Dropout(p)


def test_settings_that_came_along_are_UTF_8():
    """Read as such in any locale: none has a mark, and all can be decoded."""
    import snnsim_experiments

    files = list(Path(snnsim_experiments.__file__).parent.rglob("*.toml"))
    assert len(files) > 10
    for path in files:
        assert not path.read_bytes().decode("utf-8").startswith("\ufeff")
