"""Networks on normalised bands, and on encoded spikes, hear what predict reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from heard_sounds import OWN, by_class, hear, network, predicted, trained, word, write
from snnsim_experiments.encode.job import Encoding
from snnsim_experiments.encode.spoken import encoding_of, heard
from snnsim_experiments.listening.encoders import CochleaEncoder, mel_encoder, spikes_encoder
from snnsim_experiments.listening.listener import Listener

from snnsim.encoders import Cochlea
from snnsim.errors import ConfigError

NORMALISED = replace(OWN, normalised=True)
SOURCES = {
    "delta": Encoding("delta", {"n_mels": 10, "threshold": 0.2}),
    "level": Encoding("level", {"n_mels": 10}),
    "rate": Encoding("rate", {"n_mels": 10}, seed=3),
    "cochlea": Encoding("cochlea", {"channels": 20}),
    "a streaming cochlea": Encoding("cochlea", {"channels": 20, "gain": 3.0}),
}


def on_spikes(encoding, pool=1):
    source = {"kind": "events", "pool": pool, "binning": "grid", "source": encoding.about}
    known = trained(network(encoding.encoder().channels // pool))
    return replace(known, encoder=source, dt=10.0, channels=encoding.encoder().channels // pool)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("size", [500, 10**6])
def test_normalised_bands_are_heard_as_predict_reads_them(monkeypatch, tmp_path, rate, size):
    known = trained(network(OWN.n_mels), NORMALISED)
    file = write(tmp_path / "x.wav", word(rate), rate)
    (found,) = hear(known, word(rate), rate, size)
    assert by_class(found) == pytest.approx(predicted(monkeypatch, known, file), abs=1e-5)
    plain = predicted(
        monkeypatch, replace(known, encoder=known.encoder | {"normalised": False}), file
    )
    assert max(abs(by_class(found)[name] - plain[name]) for name in plain) > 1e-3


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("pool", [1, 2])
def test_encoded_spikes_are_heard_as_predict_reads_them(monkeypatch, tmp_path, kind, pool):
    known = on_spikes(SOURCES[kind], pool)
    file = write(tmp_path / "x.wav", word(16000), 16000)
    expected = predicted(monkeypatch, known, file)
    for size in (800, 10**6):
        (found,) = hear(known, word(16000), 16000, size)
        assert by_class(found) == pytest.approx(expected, abs=1e-5)
    assert max(expected.values()) - min(expected.values()) > 1e-3


def test_spikes_of_unknown_origin_are_not_heard():
    encoder = {"kind": "events", "pool": 5, "binning": "grid"}
    for source in ({}, {"kind": "lauscher"}, {"kind": "delta", "unknown": 1}):
        assert encoding_of(encoder | {"source": source}) is None
        assert spikes_encoder(encoder | {"source": source}, 16000) is None
    known = replace(on_spikes(SOURCES["delta"]), encoder=encoder)
    with pytest.raises(ConfigError, match="the network cannot hear"):
        Listener(known, rate=16000)


def test_sounds_that_are_encoded_as_a_whole_have_no_sliding_decisions():
    for known in (trained(network(OWN.n_mels), NORMALISED), on_spikes(SOURCES["cochlea"])):
        with pytest.raises(ConfigError, match="decides at the end of each"):
            Listener(known, rate=16000, every=100)


@pytest.mark.parametrize("sizes", [[4800], [1, 4799], [700] * 7])
def test_a_stream_of_a_cochlea_has_the_steps_of_the_whole(sizes):
    encoding = SOURCES["a streaming cochlea"]
    samples = word(48000, 0.1)
    encoder = on_spikes(encoding).encoder
    whole = heard(encoding, encoder, 10.0, samples).batch([0]).x[:, 0]
    encoder_of_sound = CochleaEncoder(Cochlea(channels=20, gain=3.0), encoding.seed_of(""), 1, 10.0)
    state, found, first = encoder_of_sound.start(), [], 0
    for size in [*sizes, len(samples)]:
        x, state = encoder_of_sound.push(samples[first : first + size], state)
        found.append(x)
        first += size
    steps = torch.cat([*found, encoder_of_sound.finish(state)])
    assert whole.sum() > 10
    assert torch.equal(steps, whole)
    assert encoder_of_sound.endless() is encoder_of_sound


def test_nothing_that_was_heard_is_nothing():
    for encoder_of_sound in (
        mel_encoder(trained(network(OWN.n_mels), NORMALISED).encoder, 16000),
        spikes_encoder(on_spikes(SOURCES["delta"]).encoder, 16000),
    ):
        state = encoder_of_sound.start()
        steps, state = encoder_of_sound.push(np.zeros(0, np.int16), state)
        assert len(steps) == 0 and len(encoder_of_sound.finish(state)) == 0
