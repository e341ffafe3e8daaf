"""Small files of every data set, all samples told apart, and the functions that load them."""

from __future__ import annotations

import itertools
import zipfile

import h5py
import numpy as np
from dataset_files import write_clip, write_heidelberg


def shd_files(folder):
    write_heidelberg(folder / "shd_train.h5", np.arange(40) % 20, np.arange(40) % 8)
    write_shifted(folder / "shd_test.h5", np.arange(6), np.full(6, 9), 40)
    return {}, 46


def ssc_files(folder):
    for first, part, size in ((0, "train", 20), (20, "valid", 8), (28, "test", 9)):
        write_shifted(folder / f"ssc_{part}.h5", np.arange(size), None, first)
    return {}, 37


def write_shifted(path, labels, speakers, first):
    """As :func:`write_heidelberg`, but samples are recognised by numbers from ``first`` on."""
    padded = np.concatenate([np.zeros(first, int), labels])
    everyone = None if speakers is None else np.concatenate([np.zeros(first, int), speakers])
    write_heidelberg(path, padded, everyone)
    with h5py.File(path, "r+") as file:
        for name in ("spikes/times", "spikes/units", "labels", "extra/speaker"):
            if name in file:
                kept, kind = list(file[name][first:]), file[name].dtype
                del file[name]
                made = file.create_dataset(name, len(kept), kind)
                for i, value in enumerate(kept):
                    made[i] = value


def fsdd_spikes(folder):
    write_heidelberg(folder / "fsdd_train.h5", np.arange(20) % 10, np.arange(20) % 5)
    write_shifted(folder / "fsdd_test.h5", np.arange(10), np.arange(10) % 5, 20)
    return {"form": "spikes"}, 30


def fsdd_audio(folder):
    size = 800
    for digit, speaker, index in itertools.product((0, 7), ("ann", "bob", "cy"), range(3, 7)):
        size += 80  # a step longer each, by which they are told apart
        write_clip(folder / "recordings" / f"{digit}_{speaker}_{index}.wav", size, 8000)
    return {"form": "audio", "n_mels": 20}, 24


def gsc_files(folder):
    lists = {"testing_list.txt": [], "validation_list.txt": [], "train": []}
    value = 0
    for word in ("yes", "on"):
        for speaker, names in enumerate(lists.values()):
            value += 500
            clip = folder / word / f"{speaker:08x}_nohash_0.wav"
            names.append(write_clip(clip, value=value))
    for file in ("testing_list.txt", "validation_list.txt"):
        (folder / file).write_text("\n".join(lists[file]) + "\n")
    return {"n_mels": 20}, 6


def gsc_by_speaker(folder):
    for speaker in range(40):
        clip = folder / "up" / f"{speaker * 40503 % 2**32:08x}_nohash_0.wav"
        write_clip(clip, 2000, value=500 + 100 * speaker)
    return {"n_mels": 20, "protocol": "speaker"}, 40


def nmnist_files(folder):
    for part, first, size in (("Train", 0, 60), ("Test", 60, 12)):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for i in range(size):
                event = bytes([(first + i) % 34, (first + i) // 34]) + (20_000).to_bytes(3, "big")
                archive.writestr(f"{part}/{i % 10}/{i + 1:05d}.bin", event)
    return {"download": False}, 72


def own_table(folder):
    size, lines = 1600, ["file\tlabel\tspeaker"]
    for label, speaker, clip in itertools.product(("yes", "no"), ("ann", "bob", "cy"), range(3)):
        size += 160
        write_clip(folder / "clips" / f"{label}{speaker}{clip}.wav", size)
        lines.append(f"clips/{label}{speaker}{clip}.wav\t{label}\t{speaker}")
    (folder / "recordings.tsv").write_text("\n".join(lines) + "\n")
    return {"n_mels": 20}, 18


def own_cameras(folder):
    lines = ["file,label,split"]
    for number, (label, part) in enumerate(itertools.product("ab", ("train", "val", "test"))):
        for clip in range(3):
            name = f"{label}-{part}-{clip}.npy"
            events = np.zeros((2 + 3 * number + clip, 4), np.int64)  # told apart by their number
            events[:, 0] = 1000 * np.arange(len(events))
            events[-1, 1:3] = 9, 7
            np.save(folder / name, events)
            lines.append(f"{name},{label},{part}")
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    return {"size": 10}, 18


def own_spikes(folder):
    write_heidelberg(folder / "words_train.h5", np.arange(20) % 4, np.arange(20) % 5)
    write_shifted(folder / "words_test.h5", np.arange(10) % 4, np.arange(10) % 5, 20)
    return {}, 30


def own_texts(folder):
    head = "@problemName x\n@timeStamps false\n@classLabel true a b\n@data\n"
    for part, first, size in (("TRAIN", 0, 20), ("TEST", 20, 6)):
        lines = (f"{i},1,2:0,{i},1:{'ab'[i % 2]}" for i in range(first, first + size))
        (folder / f"X_{part}.ts").write_text(head + "\n".join(lines) + "\n")
    return {"scaled": False}, 26


def own_function(folder):
    lines = ("import numpy as np", "from snnsim.data import Arrays", "def made():")
    made = "Arrays(np.arange(120.0).reshape(20, 3, 2), np.arange(20) % 4, classes=tuple('abcd'))"
    (folder / "own.py").write_text("\n".join(lines) + f"\n    return {made}\n")
    return {"function": "own.py:made"}, 20


FILES = {
    "spikes of one's own": ("spikes", own_spikes),
    "sequences of one's own": ("sequences", own_texts),
    "a function": ("python", own_function),
    "recordings of cameras": ("cameras", own_cameras),
    "recordings in a table": ("recordings", own_table),
    "shd": ("shd", shd_files),
    "ssc": ("ssc", ssc_files),
    "fsdd, spikes": ("fsdd", fsdd_spikes),
    "fsdd, audio": ("fsdd", fsdd_audio),
    "gsc": ("gsc", gsc_files),
    "gsc by speaker": ("gsc", gsc_by_speaker),
    "nmnist": ("nmnist", nmnist_files),
}
