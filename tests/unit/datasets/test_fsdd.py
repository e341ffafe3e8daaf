"""Free Spoken Digits on small files: audio and spikes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from dataset_files import PARTS, load_all, write_clip, write_heidelberg
from snnsim_datasets import fsdd
from snnsim_datasets.tools.mel import MelFrontEnd

from snnsim.data.events import BinnedEvents
from snnsim.errors import ConfigError, DataError

SPEAKERS = ("anna", "bert", "carl", "dora", "emil")


@pytest.fixture
def recordings(tmp_path):
    """Digits 0 and 7 of five speakers, indices 3 to 6 (3 and 4 are test); files differ in size."""
    size = 479  # not of whole hops, so that the last window reaches beyond the clip's end
    for digit in (0, 7):
        for speaker in SPEAKERS:
            for index in (3, 4, 5, 6):
                clip = tmp_path / "fsdd" / "recordings" / f"{digit}_{speaker}_{index}.wav"
                write_clip(clip, size, 8000)
                size += 80
    write_clip(clip.with_name("notes.wav"), 100, 8000)
    return tmp_path / "fsdd"


def test_fsdd_audio_test_is_index_0_to_4_of_every_speaker(recordings):
    parts = load_all("fsdd", recordings, (*PARTS, "train_all"))
    assert len(parts["test"]) == len(parts["train_all"]) == 20
    for part in (parts["test"], parts["train_all"]):
        assert Counter(part.labels.tolist()) == {0: 10, 7: 10}
        assert set(Counter(part.speakers.tolist()).values()) == {4}
    sizes = {s: set(np.diff(p.offsets).tolist()) for s, p in parts.items()}
    assert {(n - 400) // 80 % 4 for n in sizes["test"]} == {0, 1}
    assert {(n - 400) // 80 % 4 for n in sizes["train_all"]} == {2, 3}
    assert sizes["train"] | sizes["validation"] == sizes["train_all"]
    assert sizes["train"].isdisjoint(sizes["validation"])


def test_fsdd_audio_validation_is_one_whole_speaker(recordings):
    train, validation = (fsdd.load(s, recordings) for s in ("train", "validation"))
    (held,) = set(validation.speakers.tolist())
    assert len(validation) == 4
    assert held not in train.speakers
    assert set(train.speakers.tolist()) == set(range(5)) - {held}


def test_fsdd_recordings_may_lie_in_the_root_itself(recordings):
    inner = fsdd.load("test", recordings / "recordings")
    assert inner.samples.tolist() == fsdd.load("test", recordings).samples.tolist()


def test_fsdd_batches_have_the_length_of_the_longest_clip(recordings):
    test = fsdd.load("test", recordings, n_mels=40)
    x, labels, lengths = test.batch([19, 0])
    assert lengths.tolist() == test.lengths[[19, 0]].tolist()
    assert x.shape == (int(lengths.max()), 2, 40)
    assert lengths[0] > lengths[1]
    assert labels.tolist() == test.labels[[19, 0]].tolist()
    assert (x[-3:, 1] == 0).all()  # no input


def test_fsdd_features_are_the_front_end_of_the_wave_between_minus_1_and_1(recordings):
    test = fsdd.load("test", recordings, n_mels=40)
    size = int(test.lengths[0] * 80)
    wave = torch.zeros(1, size + 800)
    wave[0, : test.offsets[1]] = 1000 / 32768
    expected = MelFrontEnd(8000, 8000, 40)(wave)[0, : test.lengths[0]]
    torch.testing.assert_close(test.batch([0]).x[:, 0], expected, rtol=0, atol=1e-3)


def test_fsdd_features_do_not_depend_on_the_neighbours(recordings):
    test = fsdd.load("test", recordings, n_mels=40)
    longest = int(test.lengths.max())
    together = test.batch(range(len(test)), longest)
    for i in range(len(test)):
        for steps in (longest, None):
            x, _, (length,) = test.batch([i], steps)
            # decibels: far above rounding, far below the effect of another padding
            torch.testing.assert_close(together.x[: len(x), i], x[:, 0], rtol=0, atol=1e-3)
            assert together.lengths[i] == length


def test_fsdd_batches_are_cut_to_steps(recordings):
    test = fsdd.load("test", recordings)
    whole, cut = test.batch([19, 0]), test.batch([19, 0], 9)
    assert torch.equal(cut.x, whole.x[:9])
    assert cut.lengths.tolist() == [9, min(9, int(whole.lengths[1]))]


def test_the_padding_of_a_clip_is_no_input_whoever_its_neighbours_are(recordings):
    test = fsdd.load("test", recordings)
    steps = int(test.lengths.max()) + 5
    alone, together = test.batch([0], steps), test.batch([0, 19], steps)
    after = int(alone.lengths[0])
    assert (together.x[after:, 0] == 0).all()
    assert torch.equal(alone.x[:, 0], together.x[:, 0])
    assert (alone.x[:after] != 0).any()


def test_an_empty_batch_of_clips_is_refused(recordings):
    with pytest.raises(ConfigError, match="at least one sample"):
        fsdd.load("test", recordings).batch([])


def test_fsdd_names_a_clip_of_another_rate(recordings):
    clip = recordings / "recordings" / "7_anna_6.wav"
    write_clip(clip, 400, 16_000)
    with pytest.raises(DataError, match="16000 Hz but 8000 Hz was expected") as caught:
        fsdd.load("train_all", recordings)
    assert str(clip) in str(caught.value)


def test_fsdd_prefers_spikes_and_can_be_told(recordings):
    write_heidelberg(recordings / "fsdd_train.h5", np.arange(20) % 10, np.arange(20) % 5)
    write_heidelberg(recordings / "fsdd_test.h5", np.arange(10), np.arange(10) % 5)
    parts = load_all("fsdd", recordings, (*PARTS, "train_all"))
    assert {s: len(p) for s, p in parts.items()} == {
        "train": 16,
        "validation": 4,
        "test": 10,
        "train_all": 20,
    }
    assert set(parts["train"].speakers).isdisjoint(parts["validation"].speakers)
    assert all(isinstance(p, BinnedEvents) for p in parts.values())
    assert not isinstance(fsdd.load("test", recordings, form="audio"), BinnedEvents)
    assert isinstance(fsdd.load("test", recordings, form="spikes"), BinnedEvents)


def test_fsdd_forms_are_three(recordings):
    with pytest.raises(ConfigError, match="did you mean 'spikes'"):
        fsdd.load("test", recordings, form="spike")


def test_fsdd_spikes_are_not_replaced_by_audio(recordings):
    with pytest.raises(DataError, match=r"no fsdd_train\.h5"):
        fsdd.load("test", recordings, form="spikes")


def test_fsdd_takes_what_every_loader_takes_and_nothing_unknown(recordings):
    plain = fsdd.load("test", recordings)
    told = fsdd.load("test", recordings, download=True, progress=print)
    assert told.samples.tolist() == plain.samples.tolist()
    with pytest.raises(TypeError, match="unexpected keyword argument 'pools'"):
        fsdd.load("test", recordings, pools=5)
