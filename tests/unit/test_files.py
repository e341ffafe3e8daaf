"""Downloads are checked, resumed and never half-written; archives are unpacked or refused.

All traffic goes to a server of the test's own on the local host.
"""

from __future__ import annotations

import gzip
import hashlib
import socket
import tempfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from dataset_files import listing
from snnsim_datasets.tools import files
from snnsim_datasets.tools.files import Remote, atomic, digest, fetch, find, unpacked

from snnsim.errors import DataError

CONTENT = np.random.default_rng(1).bytes(10_000)


@dataclass
class Site:
    """One address of the local server."""

    content: bytes = CONTENT
    ranges: bool = True
    cut: int | None = None  # bytes of the body sent before the connection breaks
    chunked: bool = False
    status: int = 200
    seen: list[str | None] = field(default_factory=list)  # Range header of every request


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site: Site = self.server.sites[self.path]
        wanted = self.headers.get("Range")
        site.seen.append(wanted)
        self.close_connection = True
        if site.status != 200:
            self.send_error(site.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        start = start if site.ranges else 0
        if start >= len(site.content):
            self.send_error(416)
            return
        body = site.content[start:]
        self.send_response(206 if start else 200)
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if site.chunked:
            self.wfile.write(b"%x\r\n" % len(body))
        self.wfile.write(body if site.cut is None else body[: site.cut])
        if site.chunked and site.cut is None:
            self.wfile.write(b"\r\n0\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    """A function from a site to its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.sites = {}
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()

    def address(site: Site) -> str:
        path = f"/{len(server.sites)}"
        server.sites[path] = site
        return f"http://127.0.0.1:{server.server_port}{path}"

    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def remote(*urls: str, algorithm: str = "md5", content: bytes = CONTENT) -> Remote:
    return Remote("set.bin", urls, hashlib.new(algorithm, content).hexdigest(), algorithm)


# Downloads


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_right_download_is_the_only_thing_left_in_the_folder(serve, tmp_path, algorithm, chunked):
    root = tmp_path / "folder"
    root.mkdir()
    path = fetch(remote(serve(Site(chunked=chunked)), algorithm=algorithm), root)
    assert path == root / "set.bin"
    assert path.read_bytes() == CONTENT
    assert listing(root) == ["set.bin"]


def test_a_checksum_may_be_written_in_capitals(serve, tmp_path):
    wanted = remote(serve(Site()))
    wanted = Remote(wanted.name, wanted.urls, wanted.checksum.upper())
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched(serve, tmp_path):
    site = Site()
    (tmp_path / "set.bin").write_bytes(CONTENT)
    fetch(remote(serve(site)), tmp_path)
    assert site.seen == []


def test_a_part_is_continued_where_it_ends(serve, tmp_path):
    site = Site()
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:4321])
    assert fetch(remote(serve(site)), tmp_path).read_bytes() == CONTENT
    assert site.seen == ["bytes=4321-"]
    assert listing(tmp_path) == ["set.bin"]


def test_a_server_without_ranges_starts_again(serve, tmp_path):
    site = Site(ranges=False)
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:4321])
    assert fetch(remote(serve(site)), tmp_path).read_bytes() == CONTENT
    assert site.seen == ["bytes=4321-"]


def test_a_break_after_starting_again_counts_from_the_beginning(serve, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:4321])
    with pytest.raises(DataError, match="6000 of 10000 bytes"):
        fetch(remote(serve(Site(ranges=False, cut=6000))), tmp_path)
    assert (tmp_path / "set.bin.part").read_bytes() == CONTENT[:6000]


def test_a_complete_part_only_gets_its_name(serve, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    assert fetch(remote(serve(Site())), tmp_path).read_bytes() == CONTENT
    assert listing(tmp_path) == ["set.bin"]


@pytest.mark.parametrize("size", [100, 10_000, 20_000])
def test_a_part_of_something_else_is_thrown_away(serve, tmp_path, size):
    wanted = remote(serve(Site()))
    (tmp_path / "set.bin.part").write_bytes(b"?" * size)
    with pytest.raises(DataError, match="expected"):
        fetch(wanted, tmp_path)
    assert listing(tmp_path) == []
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_and_says_where_to_put_the_file(serve, tmp_path):
    wrong = Site(content=CONTENT[:-1] + b"!")
    wanted = remote(serve(wrong), algorithm="sha256")
    with pytest.raises(DataError) as caught:
        fetch(wanted, tmp_path)
    assert listing(tmp_path) == []
    found = hashlib.sha256(wrong.content).hexdigest()
    place = str(tmp_path / "set.bin")
    for text in (wanted.name, wanted.urls[0], "sha256", found, wanted.checksum, place, "--root"):
        assert text in str(caught.value)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_broken_connection_keeps_the_part_and_the_next_call_continues(serve, tmp_path, chunked):
    site = Site(cut=6000, chunked=chunked)
    wanted = remote(serve(site))
    with pytest.raises(DataError, match=r"set\.bin"):
        fetch(wanted, tmp_path)
    assert listing(tmp_path) == ["set.bin.part"]
    kept = (tmp_path / "set.bin.part").read_bytes()
    assert kept == CONTENT[: len(kept)]
    site.cut = None
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert site.seen == [None, f"bytes={len(kept)}-" if kept else None]


def test_a_broken_connection_loses_no_byte_and_is_explained(serve, tmp_path):
    with pytest.raises(DataError, match="6000 of 10000 bytes; run again to continue"):
        fetch(remote(serve(Site(cut=6000))), tmp_path)
    assert (tmp_path / "set.bin.part").stat().st_size == 6000


def test_a_connection_broken_again_and_again_arrives_in_the_end(serve, tmp_path):
    site = Site(cut=3000)
    wanted = remote(serve(site))
    for _ in range(3):
        with pytest.raises(DataError):
            fetch(wanted, tmp_path)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert site.seen == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    "first", [Site(status=404), Site(status=503), Site(content=b"a page of apologies"), None]
)
def test_the_next_mirror_is_taken_when_one_fails(serve, tmp_path, first):
    bad = serve(first) if first else f"http://127.0.0.1:{closed_port()}/"
    assert fetch(remote(bad, serve(Site())), tmp_path).read_bytes() == CONTENT
    assert listing(tmp_path) == ["set.bin"]


def test_the_next_mirror_continues_what_the_first_began(serve, tmp_path):
    second = Site()
    fetch(remote(serve(Site(cut=6000)), serve(second)), tmp_path)
    assert second.seen == ["bytes=6000-"]


def test_mirrors_after_a_good_one_are_left_alone(serve, tmp_path):
    second = Site()
    fetch(remote(serve(Site()), serve(second)), tmp_path)
    assert second.seen == []


def test_when_all_mirrors_fail_the_error_names_each_with_its_reason(serve, tmp_path):
    urls = [serve(Site(status=404)), serve(Site(content=b"no")), serve(Site(cut=10))]
    with pytest.raises(DataError) as caught:
        fetch(remote(*urls), tmp_path)
    lines = str(caught.value).splitlines()
    for url, reason in zip(urls, ["404", "md5", "10 of 10000"], strict=True):
        assert any(url in line and reason in line for line in lines)


@pytest.mark.parametrize("start", [0, 2500])
def test_progress_rises_to_the_whole(serve, tmp_path, monkeypatch, start):
    monkeypatch.setattr(files, "CHUNK", 1000)
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:start])
    calls = []
    fetch(remote(serve(Site())), tmp_path, lambda done, total: calls.append((done, total)))
    done = [d for d, _ in calls]
    assert done == sorted(set(done))
    assert done[0] > start
    assert done[-1] == len(CONTENT)
    assert {total for _, total in calls} == {len(CONTENT)}


# Names and checksums


def test_atomic_names_the_file_only_after_the_block(tmp_path):
    target = tmp_path / "deep" / "file"
    with atomic(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert listing(target.parent) == ["file"]


@pytest.mark.parametrize("before", [None, "old"])
def test_atomic_changes_nothing_when_the_block_fails(tmp_path, before):
    target = tmp_path / "file"
    if before:
        target.write_text(before)

    def fail():
        with atomic(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    pytest.raises(KeyboardInterrupt, fail)
    assert listing(tmp_path) == (["file"] if before else [])
    assert before is None or target.read_text() == before


@pytest.mark.parametrize("size", [0, 999, 1000, 1001, 10_000])
def test_digest_is_that_of_the_whole_file(tmp_path, monkeypatch, size):
    monkeypatch.setattr(files, "CHUNK", 1000)
    (tmp_path / "file").write_bytes(CONTENT[:size])
    assert digest(tmp_path / "file") == hashlib.sha256(CONTENT[:size]).hexdigest()


def test_find_keeps_the_order_of_names_and_passes_over_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").touch()
    (tmp_path / "c").touch()
    assert find(tmp_path, ["a", "c", "b"]) == tmp_path / "c"
    assert find(tmp_path, ["a", "d"]) is None


def test_roots_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SNNSIM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    assert files.default_root("shd") == tmp_path / "data" / "shd"
    assert files.cache_root().is_relative_to(tmp_path / "cache")
    monkeypatch.delenv("SNNSIM_DATA")
    monkeypatch.delenv("SNNSIM_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert files.default_root("shd").is_relative_to(tmp_path / "home")
    assert files.cache_root().is_relative_to(tmp_path / "home")


# Archives

TEXT = b"spikes and silence, " * 10


def packed(folder: Path, ending: str, members: tuple[str, ...] = ("set.h5",)) -> Path:
    path = folder / f"set.h5{ending}"
    if ending == ".gz":
        path.write_bytes(gzip.compress(TEXT, mtime=0))
    elif ending == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in members:
                archive.writestr(name, TEXT)
    else:
        path.write_bytes(TEXT)
    return path


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder that temporary files are made in."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("ending", [".gz", ".zip"])
def test_an_archive_is_unpacked_for_the_block_only(tmp_path, scratch, ending):
    with unpacked(packed(tmp_path, ending)) as plain:
        assert plain.read_bytes() == TEXT
        assert plain.name == "set.h5"
        assert plain.is_relative_to(scratch)
    assert listing(scratch) == []


def test_a_plain_file_is_handed_on_as_it_is(tmp_path):
    path = packed(tmp_path, "")
    with unpacked(path) as plain:
        assert plain == path
    assert path.read_bytes() == TEXT


def test_a_folder_entry_in_a_zip_does_not_count_as_a_file(tmp_path):
    path = tmp_path / "set.h5.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("inner")
        archive.writestr("inner/set.h5", TEXT)
    with unpacked(path) as plain:
        assert plain.read_bytes() == TEXT


@pytest.mark.parametrize("members", [(), ("a.h5", "b.h5")])
def test_a_zip_of_none_or_many_files_is_refused(tmp_path, members):
    path = packed(tmp_path, ".zip", members)
    with pytest.raises(DataError, match=f"holds {len(members)} files") as caught, unpacked(path):
        pass
    assert str(path) in str(caught.value)


def test_errors_of_the_block_pass_through_and_the_temporary_file_goes(tmp_path, scratch):
    def fail():
        with unpacked(packed(tmp_path, ".gz")):
            raise OSError("of the block")

    with pytest.raises(OSError, match="of the block"):
        fail()
    assert listing(scratch) == []


@pytest.mark.parametrize("ending", [".gz", ".zip"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_archive_is_refused_by_name(tmp_path, scratch, ending, kept):
    path = packed(tmp_path, ending)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="truncated or corrupt") as caught, unpacked(path):
        pass
    assert str(path) in str(caught.value)
    assert listing(scratch) == []


@pytest.mark.parametrize("ending", [".gz", ".zip"])
@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_one_damaged_byte_is_harmless_or_a_data_error(tmp_path, ending, mask):
    path = packed(tmp_path, ending)
    whole, refused, escaped = path.read_bytes(), 0, []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
        try:
            with unpacked(path) as plain:
                assert plain.read_bytes() == TEXT
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
        except AssertionError:
            escaped.append((place, "wrong content"))
        except Exception as error:
            escaped.append((place, repr(error)))
    assert escaped == []
    assert refused > 0
