"""Caches, checksums, reading in a process of its own, and facts about data sets."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import snnsim_datasets
from dataset_files import PARTS
from snnsim_datasets import shd, ssc
from snnsim_datasets.tools import apart, files
from snnsim_datasets.tools.apart import run_apart
from snnsim_datasets.tools.files import cached_arrays, digest_all, stamp_of

from snnsim.errors import DataError

# --- caches --------------------------------------------------------------------------------------


def counted(arrays):
    """A conversion, and how often it was made."""
    calls = []

    def convert():
        calls.append(1)
        return arrays

    return convert, calls


def test_arrays_are_converted_once_and_kept_under_their_name():
    convert, calls = counted({"a": np.arange(3), "b": np.asarray([0.5], np.float32)})
    for _ in range(3):
        found = cached_arrays("some.npz", ("a", "b"), convert)
        assert found["a"].tolist() == [0, 1, 2] and found["a"].dtype == np.int64
        assert found["b"].tolist() == [0.5] and found["b"].dtype == np.float32
    assert len(calls) == 1
    assert sorted(p.name for p in files.cache_root().iterdir()) == ["some.npz"]
    cached_arrays("other.npz", ("a",), convert)
    assert len(calls) == 2
    assert set(cached_arrays("some.npz", ("a",), convert)) == {"a"}
    cached_arrays("some.npz", ("a", "c"), convert)  # of another version
    assert len(calls) == 3


def test_a_cached_file_that_would_run_something_is_not_read():
    files.cache_root().mkdir(parents=True)
    np.savez(files.cache_root() / "some.npz", a=np.asarray([{}], dtype=object))
    convert, calls = counted({"a": np.arange(3)})
    assert cached_arrays("some.npz", ("a",), convert)["a"].tolist() == [0, 1, 2]
    assert len(calls) == 1


def test_that_nothing_can_be_cached_is_said_once_in_a_process(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "file"))
    files._warned.cache_clear()
    convert, calls = counted({"a": np.arange(3)})
    with pytest.warns(UserWarning, match="cannot be cached .* set SNNSIM_CACHE_DIR"):
        cached_arrays("some.npz", ("a",), convert)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached_arrays("some.npz", ("a",), convert)["a"].tolist() == [0, 1, 2]
    files._warned.cache_clear()
    assert len(calls) == 2


def test_the_cache_and_the_data_have_their_places(monkeypatch, tmp_path):
    assert files.cache_root() == tmp_path / "cache" / "data"
    for name in ("SNNSIM_CACHE_DIR", "SNNSIM_DATA"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_root() == tmp_path / ".cache" / "snnsim" / "data"
    assert files.default_root("shd") == tmp_path / ".local" / "share" / "snnsim" / "shd"
    monkeypatch.setenv("SNNSIM_CACHE_DIR", "")
    monkeypatch.setenv("SNNSIM_DATA", "")
    assert files.cache_root() == tmp_path / ".cache" / "snnsim" / "data"
    assert files.default_root("shd") == tmp_path / ".local" / "share" / "snnsim" / "shd"


# --- checksums of folders ------------------------------------------------------------------------


def sum_of(folder: Path, names) -> str:
    state = hashlib.sha256()
    for name in sorted(names):
        inner = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        state.update(name.encode() + b"\0" + inner.encode() + b"\n")
    return state.hexdigest()


NAMES = ["b/1.wav", "a/2.wav", "a/1.wav"]


def test_one_checksum_of_several_files_is_of_places_and_contents_in_any_order(folder):
    paths = [folder / name for name in NAMES]
    expected = sum_of(folder, NAMES)
    assert digest_all(folder, paths) == digest_all(folder, paths[::-1]) == expected
    assert digest_all(folder, paths[:2]) == sum_of(folder, NAMES[:2]) != expected
    kept = sorted(files.cache_root().iterdir())
    assert len(kept) == 2 and expected in [path.read_text() for path in kept]


def test_a_checksum_is_remembered_until_a_file_changes(folder, monkeypatch):
    paths = [folder / name for name in NAMES]
    expected = digest_all(folder, paths)
    with monkeypatch.context() as patch:
        patch.setattr(files, "digest", lambda *_: pytest.fail("was computed again"))
        assert digest_all(folder, paths) == expected
    before = paths[0].stat()
    paths[0].write_bytes(b"two")
    os.utime(paths[0], ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    assert digest_all(folder, paths) == sum_of(folder, NAMES) != expected


@pytest.mark.parametrize("text", ["", "hello", "0" * 63, "g" * 64, "0" * 65, "ü" * 64])
def test_a_remembered_checksum_that_is_none_is_not_believed(folder, text):
    paths = [folder / name for name in NAMES]
    expected = digest_all(folder, paths)
    (kept,) = files.cache_root().iterdir()
    kept.write_text(text, encoding="utf-8")
    assert digest_all(folder, paths) == expected == kept.read_text()


def test_a_checksum_does_not_need_a_cache(folder, monkeypatch):
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(folder / "a/1.wav"))
    files._warned.cache_clear()
    with pytest.warns(UserWarning, match="cannot be cached"):
        assert digest_all(folder, [folder / name for name in NAMES]) == sum_of(folder, NAMES)
    files._warned.cache_clear()


def test_a_stamp_has_a_line_of_name_size_and_times_for_each_file(folder):
    paths = [folder / name for name in NAMES]
    lines = stamp_of(["x", "y", "z"], paths).split("\n")
    for line, name, path in zip(lines, "xyz", paths, strict=True):
        facts = path.stat()
        assert line == f"{name} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"


def test_a_download_needs_a_folder_that_was_given_but_makes_the_default_one(tmp_path, monkeypatch):
    remote = files.Remote("set.bin", ("http://nowhere",), hashlib.md5(b"x").hexdigest())
    assert remote.algorithm == "md5"
    monkeypatch.setattr(
        files, "_continue_download", lambda url, part, progress: part.write_bytes(b"x")
    )
    with pytest.raises(DataError, match="does not exist; give the folder of the data"):
        files.fetch(remote, tmp_path / "absent")
    home = files.default_root("shd")
    assert files.fetch(remote, home) == home / "set.bin"
    assert (home / "set.bin").read_bytes() == b"x"


@pytest.mark.parametrize("ending", [".gz", ".zip"])
def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, ending):
    import gzip

    monkeypatch.setattr(files, "CHUNK", 1000)
    monkeypatch.setenv("SNNSIM_MAX_SMALL_MB", "0.01")
    monkeypatch.setenv("SNNSIM_MAX_RATIO", "1")
    path = tmp_path / f"a.h5{ending}"
    for size in (10_000, 11_000):
        if ending == ".gz":
            path.write_bytes(gzip.compress(bytes(size)))
        else:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.h5", bytes(size))
        if size == 10_000:
            with files.unpacked(path) as plain:
                assert plain.stat().st_size == size
        else:
            with pytest.raises(DataError, match="SNNSIM_MAX_RATIO"), files.unpacked(path):
                pass


# --- a process of its own ------------------------------------------------------------------------


def test_what_a_child_computes_or_raises_arrives():
    big = os.urandom(3 * apart.BLOCK + 5)
    assert run_apart(lambda: big, 20.0, "it") == big
    assert run_apart(lambda: None, 20.0, "it") is None
    assert run_apart(os.getpid, 20.0, "it") != os.getpid()

    def fail(error):
        raise error

    with pytest.raises(DataError, match=r"^it is damaged$"):
        run_apart(lambda: fail(DataError("it is damaged")), 20.0, "it")
    for error in (KeyError("a"), KeyboardInterrupt("a"), OSError("a")):
        said = f"^{type(error).__name__}: .*a"
        with pytest.raises(RuntimeError, match=said):
            run_apart(lambda error=error: fail(error), 20.0, "it")
    with pytest.raises(RuntimeError, match="(?i)pickle"):
        run_apart(lambda: lambda: 1, 20.0, "it")


@pytest.mark.parametrize(
    ("function", "seconds", "match"),
    [
        (lambda: time.sleep(60), 0.2, "reading it took more than the limit of 0 s and was cut off"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), 20.0, "reading it ended the process"),
        (lambda: os._exit(3), 20.0, "reading it ended the process that read it: it is damaged"),
    ],
    ids=["hangs", "is killed", "leaves"],
)
def test_a_child_that_hangs_or_dies_is_a_data_error(function, seconds, match):
    began = time.monotonic()
    with pytest.raises(DataError, match=match):
        run_apart(function, seconds, "it")
    assert time.monotonic() - began < 30


def test_a_child_may_compute_five_seconds_longer_than_it_is_waited_for():
    limits = run_apart(lambda: resource.getrlimit(resource.RLIMIT_CPU), 33.7, "it")
    assert limits == (38, 38)
    assert resource.getrlimit(resource.RLIMIT_CPU) != (38, 38)


def test_no_child_and_no_open_pipe_is_left_behind(monkeypatch):
    children, ends = [], []
    fork, pipe = os.fork, os.pipe

    def forked():
        children.append(fork())
        return children[-1]

    def piped():
        ends.extend(pipe())
        return ends[-2:]

    monkeypatch.setattr(os, "fork", forked)
    monkeypatch.setattr(os, "pipe", piped)
    assert run_apart(lambda: 1, 20.0, "it") == 1
    with pytest.raises(DataError):
        run_apart(lambda: time.sleep(60), 0.1, "it")
    assert len(children) == 2 and len(ends) == 4
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_without_children_it_is_read_in_the_same_process(monkeypatch):
    monkeypatch.delattr(os, "fork")
    assert run_apart(os.getpid, 20.0, "it") == os.getpid()


# --- facts ---------------------------------------------------------------------------------------


HOW = {  # channels, number of classes, splits with train_all or not
    "cameras": (2312, 0, False),
    "fsdd": (700, 10, True),
    "gsc": (140, 35, False),
    "nmnist": (2312, 10, True),
    "python": (1, 0, False),
    "recordings": (80, 0, False),
    "sequences": (1, 0, False),
    "shd": (700, 20, True),
    "spikes": (700, 0, False),
    "spoken-digits": (700, 20, True),
    "ssc": (700, 35, False),
}


SUMS = {
    "Train.zip": "20959b8e626244a1b502305a9e6e2031",
    "Test.zip": "69ca8762b2fe404d9b9bad1103e97832",
    "shd_train.h5.zip": "f3252aeb598ac776c1b526422d90eecb",
    "shd_test.h5.zip": "1503a5064faa34311c398fb0a1ed0a6f",
    "speech_commands_v0.02.tar.gz": (
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
    ),
    "ssc_train.h5.zip": "d102be95e7144fcc0553d1f45ba94170",
    "ssc_valid.h5.zip": "b4eee3516a4a90dd0c71a6ac23a8ae43",
    "ssc_test.h5.zip": "a35ff1e9cffdd02a20eb850c17c37748",
}


def test_the_data_sets_are_these_in_alphabetical_order():
    assert snnsim_datasets.names() == list(HOW)


@pytest.mark.parametrize("name", HOW)
def test_a_data_set_has_the_channels_classes_and_parts_that_are_stated(name):
    channels, classes, whole = HOW[name]
    info = snnsim_datasets.get(name).INFO
    assert (info.channels, len(info.classes)) == (channels, classes)
    assert info.splits == (*PARTS, "train_all")[: 4 if whole else 3]


def test_official_files_have_their_official_checksums():
    infos = [snnsim_datasets.get(name).INFO for name in HOW]
    remotes = [remote for info in infos for remote in info.remotes]
    assert {remote.name: remote.checksum for remote in remotes} == SUMS
    for remote in remotes:
        assert remote.algorithm == ("sha256" if len(remote.checksum) == 64 else "md5")
        assert len(remote.urls) == 1
        if remote.name.endswith((".h5.zip", ".tar.gz")):
            assert remote.urls[0].endswith("/" + remote.name)


def test_digits_are_named_in_the_order_of_their_labels():
    english = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    german = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
    assert shd.INFO.classes == english + german
    assert snnsim_datasets.get("spoken-digits").INFO.classes == english + german
    assert snnsim_datasets.get("fsdd").INFO.classes == english
    assert ssc.INFO.classes == snnsim_datasets.get("gsc").WORDS


def test_a_data_set_is_loaded_with_root_and_options(monkeypatch):
    seen = []
    module = SimpleNamespace(load=lambda *given, **options: seen.append((given, options)) or "it")
    monkeypatch.setattr(snnsim_datasets, "get", lambda name: module)
    assert snnsim_datasets.load("any", "test", "folder", dt=3.0) == "it"
    assert snnsim_datasets.load("any", "train") == "it"
    assert seen == [(("test", "folder"), {"dt": 3.0}), (("train", None), {})]


def test_the_embedded_digits_take_step_pool_and_binning():
    plain = snnsim_datasets.load("spoken-digits", "validation")
    assert (plain.dt, plain.channels) == (10.0, 140)
    other = snnsim_datasets.load("spoken-digits", "validation", dt=20.0, pool=10)
    assert (other.dt, other.channels) == (20.0, 70)
    assert [int(n) for n in (plain.lengths + 1) // 2] == other.lengths.tolist()
    single = snnsim_datasets.load("spoken-digits", "validation", binning="events")
    assert single.lengths.max() <= 512 and single.lengths.tolist() != plain.lengths.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain.batch([0, 1]).x.sum() == plain.counts[: plain.offsets[2]].sum()
