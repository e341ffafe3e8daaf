"""Compiled code is loaded only from folders and files that nobody else may write."""

from __future__ import annotations

import os
import pickle
import py_compile
import shutil
import stat
import warnings
from pathlib import Path

import pytest

from snnsim.kernels import cache as kernel_cache
from snnsim.kernels import compile
from snnsim.kernels.compile import compile_numba

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to give files to another user"
)
NOBODY = 65534
BODY = "@kernel\ndef answer_{n}(x):\n    return F(2) * x + F({n})\n"


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(folder))
    return folder


def answer(number: int, caplog=None) -> tuple[float, list[str]]:
    """What a kernel of that number gives for 3.0, and what was warned of."""
    kernel_cache._usable.cache_clear()  # as a new process
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernel = getattr(compile_numba(BODY.format(n=number), "float64"), f"answer_{number}")
        found = kernel(3.0)
    said = [str(w.message) for w in caught]
    said += [r.getMessage() for r in caplog.records] if caplog else []
    return found, [text for text in said if "cache" in text.lower()]


def compiled(cache: Path, number: int) -> list[Path]:
    """Compile a kernel into an empty cache: its files."""
    assert answer(number)[0] == 6.0 + number
    return [p for p in cache.rglob("*") if p.is_file()]


def plant(files: list[Path], marker: Path) -> None:
    """Put code that makes ``marker`` into every compiled file, as another user would."""
    (source,) = (p for p in files if p.suffix == ".py")
    evil = source.with_suffix(".evil")
    evil.write_text(f"open({str(marker)!r}, 'w').close()\n" + source.read_text())
    for path in source.parent.rglob("*"):
        if path.suffix in (".nbi", ".nbc"):
            path.write_bytes(pickle.dumps(Bomb(marker)) + path.read_bytes())
    from importlib.util import cache_from_source

    target = Path(cache_from_source(str(source)))
    py_compile.compile(str(evil), cfile=str(target), dfile=str(source), doraise=True)
    evil.unlink()
    header, about = bytearray(target.read_bytes()), source.stat()
    header[8:12] = (int(about.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little")
    header[12:16] = (about.st_size & 0xFFFFFFFF).to_bytes(4, "little")
    target.write_bytes(header)


def everything(cache: Path) -> list[Path]:
    return [cache, *cache.rglob("*")]


def open_to_all(paths) -> None:
    for path in paths:
        path.chmod(0o777)


def given_away(paths) -> None:
    for path in paths:
        os.chown(path, NOBODY, NOBODY)


def named(ending: str):
    return lambda cache: [p for p in everything(cache) if p.name.endswith(ending)]


def folders(cache: Path) -> list[Path]:
    return [p for p in everything(cache) if p.is_dir()]


# how a cache comes to be no longer mine alone
UNSAFE = {
    "the folder is open to all": lambda cache: open_to_all([cache]),
    "the folder is open to a group": lambda cache: cache.chmod(0o770) or os.chown(cache, 0, 12345),
    "the folder above is open to all": lambda cache: open_to_all([cache.parent]),
    "a folder below is open to all": lambda cache: open_to_all(folders(cache)[1:]),
    "folders are another user's": lambda cache: given_away(folders(cache)),
    "all is another user's": lambda cache: given_away(everything(cache)),
    "the source is another user's": lambda cache: given_away(named(".py")(cache)),
    "the bytecode is another user's": lambda cache: given_away(named(".pyc")(cache)),
    "the bytecode is open to all": lambda cache: open_to_all(named(".pyc")(cache)),
    "the index is another user's": lambda cache: given_away(named(".nbi")(cache)),
    "the index is open to all": lambda cache: open_to_all(named(".nbi")(cache)),
    "the machine code is another user's": lambda cache: given_away(named(".nbc")(cache)),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_what_others_planted_is_not_executed(cache, tmp_path, caplog, case):
    number = 100 + list(UNSAFE).index(case)
    files, marker = compiled(cache, number), tmp_path / "executed"
    assert {".py", ".nbi", ".nbc"} <= {p.suffix for p in files}
    plant(files, marker)
    UNSAFE[case](cache)
    found, said = answer(number, caplog)
    assert not marker.exists()
    assert found == 6.0 + number
    assert len(said) == 1
    assert str(cache) in said[0] or str(cache.parent) in said[0]


def test_planted_code_is_executed_where_only_i_may_write(cache, tmp_path):
    """So that the test above can fail."""
    files, marker = compiled(cache, 1), tmp_path / "executed"
    plant(files, marker)
    assert answer(1)[0] == 7.0
    assert marker.exists()


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750])
def test_a_folder_of_mine_alone_is_used_without_a_word(cache, caplog, mode):
    cache.mkdir(mode=mode)
    cache.chmod(mode)
    found, said = answer(2 + mode, caplog)
    assert (found, said) == (8.0 + mode, [])
    assert list(cache.rglob("*.nbi"))


def test_a_folder_below_a_sticky_one_is_used(tmp_path, monkeypatch, caplog):
    """As in /tmp, where others may add but not take away."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(shared / "mine"))
    assert answer(3, caplog) == (9.0, [])
    assert list((shared / "mine").rglob("*.nbi"))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o775])
def test_a_fresh_folder_that_others_may_write_gets_no_code(cache, caplog, mode):
    cache.mkdir()
    cache.chmod(mode)
    os.chown(cache, 0, 12345)
    found, said = answer(4 + mode, caplog)
    assert found == 10.0 + mode
    assert len(said) == 1 and str(cache) in said[0]
    assert [p for p in cache.rglob("*") if p.suffix in (".py", ".pyc", ".nbi", ".nbc")] == []


def test_folders_made_by_the_cache_are_closed_to_others_whatever_the_mask(cache):
    before = os.umask(0)
    try:
        compiled(cache, 5)
    finally:
        os.umask(before)
    folders = [path for path in everything(cache) if path.is_dir()]
    assert len(folders) > 2
    for path in folders:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


@pytest.mark.parametrize("kind", ["folder", "kernel"])
def test_a_link_that_leads_to_another_users_files_is_not_followed(
    cache, tmp_path, monkeypatch, caplog, kind
):
    files, marker = compiled(cache, 6), tmp_path / "executed"
    plant(files, marker)
    theirs = tmp_path / "theirs"
    shutil.move(cache, theirs)
    given_away(everything(theirs))
    if kind == "folder":
        cache.symlink_to(theirs)
    else:
        for path in [p for p in theirs.rglob("*") if p.is_file()]:
            link = cache / path.relative_to(theirs)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    found, _ = answer(6, caplog)
    assert (found, marker.exists()) == (12.0, False)


def test_code_and_data_have_caches_of_their_own(cache):
    import snnsim_datasets

    compiled(cache, 7)
    snnsim_datasets.load("spoken-digits", "test")
    below = {p.relative_to(cache).parts[0] for p in cache.rglob("*") if p.is_file()}
    assert below == {"kernels", "data"}
    suffixes = {
        name: {p.suffix for p in (cache / name).rglob("*") if p.is_file()} for name in below
    }
    assert suffixes["data"] == {".npz"}
    assert suffixes["kernels"] <= {".py", ".pyc", ".nbi", ".nbc"}


def test_data_are_cached_where_code_is_refused(cache, caplog):
    import snnsim_datasets

    cache.mkdir()
    cache.chmod(0o777)
    assert answer(8, caplog)[0] == 14.0
    assert len(snnsim_datasets.load("spoken-digits", "test")) == 120


def test_an_unsafe_folder_is_warned_of_once_for_all_kernels(cache, caplog):
    cache.mkdir()
    cache.chmod(0o777)
    said = [text for number in (9, 10, 11) for text in answer(number)[1]]
    said += [r.getMessage() for r in caplog.records if "cache" in r.getMessage().lower()]
    assert len(said) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_kernel_leaves_numbas_own_setting_as_it_was(tmp_path, monkeypatch, fails):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "before")
    seen = []
    try:
        with compile._numba_caches_in(tmp_path / "kernel"):
            seen.append(numba.config.CACHE_DIR)
            if fails:
                raise OSError("the disk is full")
    except OSError:
        assert fails
    assert seen == [str(tmp_path / "kernel")] and numba.config.CACHE_DIR == "before"
