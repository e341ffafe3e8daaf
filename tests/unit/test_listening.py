"""A network that hears decides what it would decide on recordings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from heard_sounds import (
    DECIBELS,
    OWN,
    SECOND,
    by_class,
    hear,
    network,
    predicted,
    rate_network,
    trained,
    word,
    write,
)
from snnsim_experiments.listening.gate import Gate, level
from snnsim_experiments.listening.inference import streaming
from snnsim_experiments.listening.listener import Listener

from snnsim.errors import ConfigError, DataError
from snnsim.functional.readouts import READOUTS
from snnsim.layer import Layer
from snnsim.networks import Sequential

NETWORKS = {
    "lengthening": {},
    "causal": {"padding": "causal"},
    "without delays": {"delays": "none"},
    "recurrent": {"recurrent": True, "padding": "causal"},
    "not compiled": {"padding": "causal", "skip": True},
    "at once": {"skip": True},
}


# --- a whole recording is what predict answers ----------------------------------------------------


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seconds", [0.3, 1.3])
def test_networks_of_all_kinds_decide_as_predict_does(monkeypatch, tmp_path, kind, masked, seconds):
    known = trained(network(OWN.n_mels, **NETWORKS[kind]), masked=masked)
    file = write(tmp_path / "x.wav", word(16000, seconds), 16000)
    expected = predicted(monkeypatch, known, file)
    for compiled in (True, False):
        for size in (320, 10**6):
            (found,) = hear(known, word(16000, seconds), 16000, size, compiled=compiled)
            assert by_class(found) == pytest.approx(expected, abs=1e-5), (compiled, size)
            assert (found.start, found.end) == (0.0, seconds)
    assert max(expected.values()) - min(expected.values()) > 1e-3


def test_networks_run_step_by_step_where_they_can():
    def runs(kind: str, compiled: bool) -> bool:
        known = trained(network(OWN.n_mels, **NETWORKS[kind]))
        return streaming(known, compiled) is not None

    assert [runs(kind, True) for kind in NETWORKS] == [True] * 5 + [False]
    assert [runs(kind, False) for kind in NETWORKS] == [False, True, True, True, True, False]
    assert streaming(trained(rate_network(20))) is None


class LookAhead(Layer):
    """Each output is the next input, so pieces are not what the whole is."""

    def forward(self, x, state=None):
        return x.roll(-1, 0), None


def test_a_network_that_looks_ahead_waits_for_the_whole_sound(monkeypatch, tmp_path):
    known = trained(Sequential(*network(20, delays="none"), LookAhead()), masked=True)
    assert streaming(known) is None
    expected = predicted(monkeypatch, known, write(tmp_path / "x.wav", word(16000), 16000))
    (found,) = hear(known, word(16000), 16000, 320)
    assert by_class(found) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("masked", [False, True])
def test_all_readouts_decide_as_predict_does(monkeypatch, tmp_path, readout, masked):
    known = trained(network(OWN.n_mels), OWN, readout, masked)
    file = write(tmp_path / "x.wav", word(16000), 16000)
    (found,) = hear(known, word(16000), 16000, 500)
    assert by_class(found) == pytest.approx(predicted(monkeypatch, known, file), abs=1e-5)


@pytest.mark.parametrize("front_end", [OWN, DECIBELS, SECOND], ids=["own", "fsdd", "gsc"])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("seconds", [0.4, 1.7])
def test_front_ends_of_all_data_sets_hear_as_predict_reads(
    monkeypatch, tmp_path, front_end, rate, seconds
):
    known = trained(network(20), front_end)
    file = write(tmp_path / "x.wav", word(rate, seconds), rate)
    expected = predicted(monkeypatch, known, file)
    for size in (rate // 50, 12_345):
        (found,) = hear(known, word(rate, seconds), rate, size)
        assert by_class(found) == pytest.approx(expected, abs=1e-5), size


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_any_rate_and_number_of_channels_is_heard_as_predict_reads_it(monkeypatch, tmp_path, rate):
    known = trained(network(OWN.n_mels))
    both = np.stack([word(rate), word(rate, hertz=900, seed=1)], 1)
    expected = predicted(monkeypatch, known, write(tmp_path / "x.wav", both, rate))
    for size in (441, 10**6):
        (found,) = hear(known, both, rate, size)
        assert by_class(found) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"encoder": {"bins": 2}}], ids=["gru", "merged bins"])
def test_rate_coded_networks_decide_as_predict_does(monkeypatch, tmp_path, options):
    known = trained(rate_network(20, **options), masked=True)
    expected = predicted(monkeypatch, known, write(tmp_path / "x.wav", word(16000), 16000))
    (found,) = hear(known, word(16000), 16000, 320)
    assert by_class(found) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"gate": -40.0}, {"every": 10.0}])
def test_nothing_that_was_heard_is_no_decision(options):
    listener = Listener(trained(network(20)), **options)
    assert listener.push(np.zeros((0, 2), np.int16)) == []
    assert listener.finish() == [] and listener.seconds == 0


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("samples", [1, 2, 100])
def test_a_sound_of_a_few_samples_is_heard_as_predict_reads_it(
    monkeypatch, tmp_path, rate, samples
):
    known = trained(network(20))
    short = word(rate)[-samples:]
    expected = predicted(monkeypatch, known, write(tmp_path / "x.wav", short, rate))
    (found,) = hear(known, short, rate, 320)
    assert by_class(found) == pytest.approx(expected, abs=1e-5)


# --- the gate -------------------------------------------------------------------------------------


def between(*parts: np.ndarray, rate: int = 16000, quiet: float = 0.5) -> np.ndarray:
    """Sounds with almost silent noise before, between and after them."""
    hiss = np.rint(10 * np.random.default_rng(5).standard_normal(round(rate * quiet)))
    joined = [hiss.astype(np.int16)]
    for part in parts:
        joined += [part, hiss.astype(np.int16)]
    return np.concatenate(joined)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("size", [100, 320, 10**6])
def test_two_words_are_two_decisions_at_their_times(rate, size):
    known = trained(network(20), masked=True)
    first, second = word(rate, 0.4), word(rate, 0.7, 900, 1)
    found = hear(known, between(first, second, rate=rate), rate, size, gate=-40.0)
    times = [(each.start, each.end) for each in found]
    assert times == [pytest.approx((0.5, 0.9), abs=0.02), pytest.approx((1.4, 2.1), abs=0.02)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_word_that_the_gate_finds_is_what_predict_answers_to_it_alone(
    monkeypatch, tmp_path, kind
):
    known = trained(network(20, **NETWORKS[kind]), masked=True)
    sound = between(word(16000, 0.4), word(16000, 0.7, 900, 1))
    found = hear(known, sound, 16000, 320, gate=-40.0)
    assert len(found) == 2
    for each in found:
        first, last = (round(time * 16000) for time in (each.start, each.end))
        alone = sound[first - 800 : last + 800]  # with what is kept around it
        expected = predicted(monkeypatch, known, write(tmp_path / "x.wav", alone, 16000))
        assert by_class(each) == pytest.approx(expected, abs=1e-5)


def test_noise_clicks_and_hum_below_the_gate_are_no_sound():
    quiet = between(word(16000) // 200)
    click = between(word(16000, 0.02))
    offset = np.full(16000, 9000, np.int16)
    for sound in (quiet, click, offset):
        assert hear(trained(network(20)), sound, 16000, 320, gate=-40.0) == []


def test_short_silence_within_a_word_does_not_end_it_and_longer_silence_does():
    sound = between(word(16000, 0.3), word(16000, 0.3), quiet=0.2)
    known = trained(network(20))
    assert len(hear(known, sound, 16000, 320, gate=-40.0, silence_ms=300)) == 1
    assert len(hear(known, sound, 16000, 320, gate=-40.0, silence_ms=100)) == 2


def test_a_sound_that_fades_stays_one_by_hysteresis():
    loud, soft = 2000 * np.array([1, -1] * 8000), 800 * np.array([1, -1] * 8000)  # -24, -32 dB
    gate = Gate(16000, -30.0, 300)
    sound = np.concatenate([loud, soft, 0 * loud]).astype(np.int16)
    assert [p.sound for p in gate.push(sound) if p.sound] == [(0, 32000)]
    assert level(soft.astype(np.int16)) < -30


def test_a_sound_at_the_end_of_the_stream_is_decided_on():
    sound = between(word(16000, 0.4))[: 8000 + 6400]
    (found,) = hear(trained(network(20)), sound, 16000, 320, gate=-40.0)
    assert (found.start, found.end) == pytest.approx((0.5, 0.9), abs=0.02)


def test_noise_without_end_is_decided_on_every_ten_seconds():
    sound = word(16000, 25.0)
    found = hear(trained(network(20, delays="none")), sound, 16000, 16000, gate=-40.0)
    assert [each.end for each in found] == pytest.approx([10, 20, 25], abs=0.05)


def test_the_pieces_of_a_gate_are_the_sound_with_what_is_around_it():
    sound = between(word(16000, 0.4))
    for size in (1, 160, 999, 10**6):
        gate = Gate(16000, -40.0)
        pieces = [p for i in range(0, len(sound), size) for p in gate.push(sound[i : i + size])]
        first, last = pieces[-1].sound
        kept = np.concatenate([piece.samples for piece in pieces])
        assert np.array_equal(kept, sound[first - 800 : last + 800])


def test_what_follows_one_sound_may_also_come_before_the_next():
    sound = between(word(16000, 0.3), word(16000, 0.3), quiet=0.33)
    found = Gate(16000, -40.0, 300).push(sound)
    ends = [number for number, piece in enumerate(found) if piece.sound]
    first, last = found[ends[1]].sound
    kept = np.concatenate([piece.samples for piece in found[ends[0] + 1 : ends[1] + 1]])
    assert np.array_equal(kept, sound[first - 800 : last + 800])


# --- sliding decisions ----------------------------------------------------------------------------


def test_sliding_decisions_come_at_their_times():
    found = hear(trained(network(20), steps=50), word(16000, 1.05), 16000, 320, every=200)
    ends = [0.2, 0.4, 0.6, 0.8, 1.0, 1.06]
    assert [each.end for each in found] == pytest.approx(ends)
    starts = [max(0.0, end - 0.5) for end in ends]
    assert [each.start for each in found] == pytest.approx(starts)


@pytest.mark.parametrize("front_end", [OWN, SECOND], ids=["own", "gsc"])
def test_a_sliding_decision_reads_out_the_last_outputs(front_end):
    net = network(20, padding="causal")
    known = trained(net, front_end, "mean", steps=50)
    sound = word(16000, 1.5)
    found = hear(known, sound, 16000, 320, every=100)
    x = front_end(torch.from_numpy(sound.astype(np.float32) / 32768)[None]).transpose(0, 1)
    with torch.no_grad():
        outputs = net(x)[0]
    assert len(found) == 16
    for each in found[:-2]:  # the others know what follows
        last = round(each.end * 100)
        expected = outputs[max(0, last - 50) : last].mean(0).softmax(1)[0]
        scores = by_class(each)
        assert [scores[name] for name in known.classes] == pytest.approx(
            expected.tolist(), abs=1e-5
        )


# --- figures --------------------------------------------------------------------------------------


def test_latency_counts_the_silence_that_was_awaited():
    known = trained(network(20))
    (found,) = hear(known, between(word(16000, 0.4)), 16000, 320, gate=-40.0, silence_ms=200)
    assert 200 <= found.latency_ms < 1000
    (whole,) = hear(known, word(16000, 0.4), 16000, 320)
    assert 0 < whole.latency_ms < 1000


def test_a_listener_counts_what_it_heard_and_computed():
    listener = Listener(trained(network(20)), rate=8000)
    listener.push(word(8000, 0.5))
    listener.finish()
    assert (listener.seconds, listener.decisions) == (0.5, 1) and listener.computing > 0


def test_decisions_are_plain_values_as_json():
    (found,) = hear(trained(network(20)), word(16000), 16000, 320)
    told = found.as_json(2)
    assert told["class"] == told["classes"][0] == found.classes[0]
    assert told["probability"] == told["scores"][0] and len(told["classes"]) == 2


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate": 0}, "the rate is 0"),
        ({"rate": 10**7}, "the rate is 10000000"),
        ({"gate": 3.0}, "the gate is 3.0"),
        ({"gate": float("nan")}, "the gate is nan"),
        ({"gate": -40.0, "silence_ms": 0.0}, "the silence in ms is 0.0"),
        ({"every": 0.0}, "every is 0.0"),
        ({"every": 25.0}, "every is 25 ms but must be a whole number of 10 ms steps"),
        ({"every": 20.0, "gate": -40.0}, "give only one of them"),
    ],
)
def test_options_out_of_range_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        Listener(trained(network(20)), **options)


def test_networks_that_cannot_hear_are_refused():
    net = network(20)
    with pytest.raises(ConfigError, match="was trained on shd, not on sound; listen with a run"):
        Listener(trained(net, encoder={"kind": "events", "pool": 5}, source="shd"))
    with pytest.raises(ConfigError, match="was trained on your own data, not on sound"):
        Listener(trained(net, encoder={}))
    with pytest.raises(ConfigError, match="the target next-step, so that it names no classes"):
        Listener(trained(net, target="next-step"))
    with pytest.raises(ConfigError, match="every needs a network that runs step by step"):
        Listener(trained(network(20, skip=True)), every=100)


@pytest.mark.parametrize(
    "samples", [np.zeros(9), np.zeros((9, 0), np.int16), np.zeros((1, 9, 1), np.int16), "sound"]
)
def test_samples_of_another_kind_are_refused(samples):
    with pytest.raises(DataError, match=r"must be int16 \[n\] or \[n, channels\]"):
        Listener(trained(network(20))).push(samples)
