"""Formats of event cameras: written by their rules, read, and refused where they are damaged."""

from __future__ import annotations

import numpy as np
import pytest
from camera_files import (
    DECLARING,
    EVT3_HEADER,
    WRITERS,
    events,
    write_addresses,
    write_csv,
    write_dat,
    write_evt2,
    write_evt3,
)
from snnsim_datasets.tools.cameras import JITTER, read

from snnsim.errors import DataError


def columns(recording):
    return np.stack([recording.t, recording.x, recording.y, recording.p], 1)


def assert_read(path, expected, **sizes):
    found = read(path)
    expected = np.asarray(expected)
    expected = expected - [int(expected[0, 0]), 0, 0, 0] if len(expected) else expected
    assert columns(found).tolist() == expected.tolist()
    assert all(each.dtype == np.int64 for each in found[:4])
    for name, size in sizes.items():
        assert getattr(found, name) == size


def crowded(seed=0):
    """Many events of one time and row, as vectors have them, also at the end of a vector."""
    random = np.random.default_rng(seed)
    rows = []
    for t in np.sort(random.choice(300_000, 40, replace=False)).tolist():
        y, p = int(random.integers(24)), int(random.integers(2))
        chosen = np.sort(random.choice(32, int(random.integers(1, 33)), replace=False))
        rows += [[t, x, y, p] for x in chosen.tolist()]
    rows += [[300_001, x, 3, 1] for x in (0, 11, 12, 19, 20, 31)]
    return np.asarray(rows)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("seed", range(3))
def test_every_format_gives_back_what_was_written(name, seed, tmp_path):
    for given in (events(seed=seed), crowded(seed)):
        WRITERS[name](tmp_path / name, given)
        declared = name in DECLARING
        assert_read(tmp_path / name, given, height=24 * declared, width=32 * declared)


@pytest.mark.parametrize("name", WRITERS)
def test_a_recording_may_be_silent(name, tmp_path):
    WRITERS[name](tmp_path / name, events(2)[:0])
    assert_read(tmp_path / name, events(2)[:0])


@pytest.mark.parametrize("name", WRITERS)
def test_endings_are_read_in_any_case_and_times_begin_at_the_first_event(name, tmp_path):
    given = events()
    given[:, 0] += 5_000
    WRITERS[name](tmp_path / name.upper(), given)
    found = next(tmp_path.glob("*"))  # numpy appends its own ending in lower case
    assert_read(found, given)


@pytest.mark.parametrize("vectors", [True, False])
def test_the_clock_of_evt3_begins_again_every_16_8_seconds(vectors, tmp_path):
    given = events(300, last=60_000_000)
    write_evt3(tmp_path / "a.raw", given, vectors=vectors)
    assert_read(tmp_path / "a.raw", given)


def test_the_clocks_of_evt2_and_dat_begin_again(tmp_path):
    given = events(50)
    given[:, 0] += (1 << 34) - 200_000
    write_evt2(tmp_path / "a.raw", given)
    assert_read(tmp_path / "a.raw", given)
    given[:, 0] += (1 << 32) - (1 << 34)
    write_dat(tmp_path / "a.dat", given)
    assert_read(tmp_path / "a.dat", given)


def words(*values):
    return EVT3_HEADER.encode() + np.asarray(values, "<u2").tobytes()


def test_evt3_waits_for_time_and_row_and_ignores_words_of_other_kinds(tmp_path):
    x, y, high, low = 2 << 12 | 5, 7, 8 << 12 | 1, 6 << 12 | 9
    other = [10 << 12 | 1, 14 << 12 | 3, 15 << 12, 7 << 12]
    (tmp_path / "a.raw").write_bytes(
        words(x, y, x, *other, high, x, low, *other, x | 1 << 11, 8 << 12 | 2, x)
    )
    found = read(tmp_path / "a.raw")
    # without a lower part the time is that of the upper one
    assert columns(found).tolist() == [[0, 5, 7, 0], [9, 5, 7, 1], [4096, 5, 7, 0]]


def test_evt2_waits_for_the_time_and_ignores_words_of_other_kinds(tmp_path):
    event, time = 1 << 28 | 3 << 22 | 5 << 11 | 7, 8 << 28 | 2
    content = np.asarray([event, 10 << 28 | 1, time, 14 << 28, event], "<u4").tobytes()
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n" + content)
    assert columns(read(tmp_path / "a.raw")).tolist() == [[0, 5, 7, 1]]


def by_machine(words):
    """Words of EVT 3 one after another, as a plain machine with registers decodes them."""
    found, wraps = [], 0
    high = low = row = base = sign = None
    for word in words.tolist():
        kind, value = word >> 12, word & 0xFFF
        if kind == 8:
            wraps += high is not None and high - value > 2048
            high, low = value, 0
        elif kind == 6:
            low = value if high is not None else None
        elif kind == 0:
            row = value & 0x7FF
        elif kind == 3:
            base, sign = value & 0x7FF, value >> 11
        known = high is not None and row is not None
        time = known and ((wraps * 4096 + high) << 12) + low
        if kind == 2 and known:
            found.append([time, value & 0x7FF, row, value >> 11])
        if kind in (4, 5) and base is not None:
            width = 12 if kind == 4 else 8
            if known:
                found += [[time, base + n, row, sign] for n in range(width) if value >> n & 1]
            base += width
    return found


@pytest.mark.parametrize("seed", range(20))
def test_any_words_of_evt3_are_decoded_as_by_a_machine(seed, tmp_path):
    random = np.random.default_rng(seed)
    kinds = random.choice([0, 2, 3, 4, 5, 6, 8, 7, 10, 14, 15], 400)
    values = random.integers(0, 1 << 12, 400)
    high = np.sort(random.integers(0, 9000, 400)) % 4096
    is_time, is_place = kinds == 8, np.isin(kinds, (0, 2, 3))
    values[is_time] = high[is_time]
    values[is_place] &= 0b1000_0111_1111
    values[kinds == 6] = np.sort(values[kinds == 6])
    given = (kinds << 12 | values).astype("<u2")
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n% end\n" + given.tobytes())
    expected = sorted(by_machine(given), key=lambda event: event[0])
    first = expected[0][0] if expected else 0
    assert columns(read(tmp_path / "a.raw")).tolist() == [[t - first, *r] for t, *r in expected]


def test_a_clock_may_jitter_but_not_run_backwards(tmp_path):
    given = events(20)
    given[:, 0] = 50_000 + 1000 * np.arange(20)
    for write, name in ((write_evt2, "a.raw"), (write_evt3, "b.raw"), (write_dat, "a.dat")):
        late = given.copy()
        late[10, 0] = late[9, 0] - JITTER
        write(tmp_path / name, late)
        assert_read(tmp_path / name, late[np.argsort(late[:, 0], kind="stable")])
        late[10, 0] -= 1
        write(tmp_path / name, late)
        with pytest.raises(DataError, match=rf"{name}: its clock runs backwards by 10001 .* 10"):
            read(tmp_path / name)


def test_arrays_may_be_in_any_order_of_time(tmp_path):
    given = events(50)
    given[:, 0] = np.random.default_rng(1).permutation(50) * 900_000
    for name in ("a.npz", "a.npy", "a.csv"):
        WRITERS[name](tmp_path / name, given)
        assert_read(tmp_path / name, given[np.argsort(given[:, 0])])


def test_headers_say_the_size_of_the_camera_in_several_ways(tmp_path):
    ways = ("% geometry 40x30", "% format EVT3;width=40;height=30", "% Width 40\n% Height 30")
    for header in ways:
        write_evt3(tmp_path / "a.raw", events(), f"% evt 3.0\n{header}\n")
        assert_read(tmp_path / "a.raw", events(), height=30, width=40)
    write_evt3(tmp_path / "a.raw", events(), "% Date 2024\n% evt 3.0\n")
    assert_read(tmp_path / "a.raw", events(), height=0, width=0)
    write_csv(tmp_path / "a.csv", events(), "t,x@40,y@30,on\n")
    assert_read(tmp_path / "a.csv", events(), height=30, width=40)


def test_tables_without_names_and_with_others(tmp_path):
    for header in ("", "Timestamp, X, Y, Polarity\n", "\ufefft,x,y,p\n"):
        write_csv(tmp_path / "a.csv", events(), header)
        assert_read(tmp_path / "a.csv", events())
    write_csv(tmp_path / "a.csv", events()[:, [1, 2, 3, 0]], "x,y,p,t\n")
    assert_read(tmp_path / "a.csv", events())
    signed = events() * [1, 1, 1, 2] - [0, 0, 0, 1]
    write_csv(tmp_path / "a.csv", signed)
    assert_read(tmp_path / "a.csv", events())
    np.save(tmp_path / "plain.npy", events())
    assert_read(tmp_path / "plain.npy", events())
    np.savez(tmp_path / "one.npz", events=events())
    assert_read(tmp_path / "one.npz", events())


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("size", [0.5, 0.9, 1])
def test_files_that_are_cut_off_are_refused_or_give_their_beginning(name, size, tmp_path):
    WRITERS[name](tmp_path / name, events())
    whole = (tmp_path / name).read_bytes()
    for cut in range(1, 8):
        (tmp_path / name).write_bytes(whole[: int(size * len(whole)) - cut])
        try:
            found = columns(read(tmp_path / name))
        except DataError as error:
            assert name in str(error)
        else:
            known = {tuple(row) for row in events().tolist()}
            assert name != "a.npz" and len(found) <= 200
            assert name == "a.csv" or all(tuple(row) in known for row in found.tolist())


@pytest.mark.parametrize("name", WRITERS)
def test_content_of_another_kind_is_refused_by_name(name, tmp_path):
    for content in (b"\x00\xff" * 501, b"%", b"% evt 3.0", b"PK\x03\x04", b"\x93NUMPY", b"a,b\n"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.raw", b"% evt 4.0\n", "the format '4.0', but EVT 2.0 and EVT 3.0 can be read"),
        ("a.raw", b"% format EVT21;height=1;width=1\n", "the format 'EVT21"),
        ("a.raw", b"", "the format ''"),
        ("a.raw", b"% evt 3.0\n% geometry 9999999x4\n", "a camera of 9999999 x 4 pixels"),
        ("a.raw", b"% evt 3.0\n% geometry axb\n", "a camera of a x b pixels"),
        ("a.raw", b"% evt 3.0\n% geometry 0x4\n", "a camera of 0 x 4 pixels"),
        ("a.dat", b"% Width 32\n\x0c\x08", "a camera of 32 x 0 pixels"),
        ("a.raw", b"% evt 3.0\n\x01", "1 bytes of events, not a multiple of 2: it is truncated"),
        ("a.raw", b"% evt 2.0\n\x01\x02\x03", "3 bytes of events, not a multiple of 4"),
        ("a.dat", b"% Version 1\n\x00\x08", "version 1, but version 2 of DAT can be read"),
        ("a.dat", b"% Version 2\n", "not of 8 bytes"),
        ("a.dat", b"% Version 2\n\x0c\x06", "not of 8 bytes"),
        ("a.dat", b"% Version 2\n\x0c\x08\x01", "1 bytes of events, not a multiple of 8"),
        ("a.bin", b"\x01\x02", "2 bytes, not a multiple of 5: it is truncated"),
        ("a.csv", b"t,x,y\n1,2,3\n", "the fields t, x, y, but must have t .*, x, y and p"),
        ("a.csv", b"1,2,3\n", "has 3 columns"),
        ("a.csv", b"1,2,3,1\n1,2\n", "damaged or of another format"),
        ("a.csv", b"0.5,2,3,1\n", "values of t have the value 0.5 but must be whole"),
        ("a.csv", b"1,2,3,2\n", "the polarity 2, but polarities are 0"),
        ("a.csv", b"1,-2,3,1\n", "an event at x = -2, outside of the camera"),
        ("a.csv", b"1,2,16384,1\n", "an event at y = 16384, outside"),
        ("a.csv", b"0,2,3,1\n400000000,2,3,1\n", "lasts 400 s.* raise SNNSIM_MAX_SECONDS"),
        ("a.csv", b"1,2,3,1\nnan,2,3,1\n", "must be whole numbers"),
    ],
)
def test_what_is_wrong_is_said(name, content, text, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: .*{text}"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", DECLARING)
@pytest.mark.parametrize(("place", "axis", "most"), [(1, "x", 32), (2, "y", 24)])
def test_events_outside_of_the_camera_are_refused(name, place, axis, most, tmp_path):
    given = events()
    given[7, place] = most
    WRITERS[name](tmp_path / name, given)
    with pytest.raises(DataError, match=rf"{name}: .* event at {axis} = {most}, outside"):
        read(tmp_path / name)


def test_arrays_of_other_shapes_and_kinds_are_refused(tmp_path):
    for array in (np.zeros(4), np.zeros((5, 3)), np.zeros((2, 2, 4)), np.zeros((3, 4), "<U3")):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(DataError, match=r"a.npy: "):
            read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.asarray([{"t": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"a.npy: "):
        read(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", t=np.arange(3), x=np.arange(3), y=np.arange(2), p=np.zeros(3))
    with pytest.raises(DataError, match="there are 2 values of y but 3 are needed"):
        read(tmp_path / "a.npz")


def test_times_beyond_all_bounds_are_refused(tmp_path):
    given = np.asarray([[-(2**63), 0, 0, 0], [2**63 - 1, 0, 0, 0]])
    for order in (1, -1):
        np.save(tmp_path / "a.npy", given[::order])
        with pytest.raises(DataError, match=r"a.npy: it lasts 1.8.*e\+13 s"):
            read(tmp_path / "a.npy")


def test_other_files_and_none_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a.aedat is not .* must end in one of .raw, .dat"):
        read(tmp_path / "a.aedat")
    with pytest.raises(DataError, match="a.raw does not exist"):
        read(tmp_path / "a.raw")


# --- beside other systems -------------------------------------------------------------------------


def test_files_of_faery_are_read_alike(tmp_path):
    faery = pytest.importorskip("faery")
    given = np.zeros(300, faery.EVENTS_DTYPE)
    given["t"], given["x"], given["y"], given["on"] = events(300, last=20_000_000).T
    stream = faery.events_stream_from_array(given, dimensions=(32, 24))
    for name, version in (
        ("evt2.raw", "evt2"), ("evt3.raw", "evt3"), ("a.dat", "dat2"), ("a.csv", None),
    ):  # fmt: skip
        stream.to_file(tmp_path / name, version=version)
        assert_read(tmp_path / name, events(300, last=20_000_000), height=24, width=32)


def test_aedat4_is_read(tmp_path):
    pytest.importorskip("aedat")
    faery = pytest.importorskip("faery")
    given = np.zeros(300, faery.EVENTS_DTYPE)
    given["t"], given["x"], given["y"], given["on"] = events(300).T
    file = tmp_path / "a.aedat4"
    faery.events_stream_from_array(given, dimensions=(32, 24)).to_file(file, zero_t0=False)
    assert_read(file, events(300), height=24, width=32)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"a\.aedat4"):
        read(file)


def test_without_its_package_aedat4_is_refused_with_the_command_that_helps(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aedat", None)
    (tmp_path / "a.aedat4").write_bytes(b"#!AER-DAT4.0\r\n")
    with pytest.raises(DataError, match=r"a\.aedat4 .* pip install 'snnsim\[cameras\]'"):
        read(tmp_path / "a.aedat4")


def test_an_overflow_is_no_event_and_moves_the_clock(tmp_path):
    given = events(40, last=100_000)
    write_addresses(tmp_path / "a.bin", given)
    assert (tmp_path / "a.bin").stat().st_size > 5 * 40
    assert_read(tmp_path / "a.bin", given)
