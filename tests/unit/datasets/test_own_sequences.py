"""Sequences of one's own: texts, arrays and a file for each recording."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import snnsim_datasets
from dataset_files import PARTS, load_all
from snnsim_datasets.sequences import read_one
from snnsim_datasets.tools import ts_files

from snnsim.errors import ConfigError, DataError

HEAD = "# a comment\n@problemName x\n@timeStamps false\n@classLabel true a b\n@data\n"


def text_of(numbers, channels=2):
    """A line per number, which is the first value of the recording; it has 2 + number % 3 steps."""
    lines = []
    for i in numbers:
        steps = 2 + i % 3
        rows = [",".join(str(i + 100 * c + t) for t in range(steps)) for c in range(channels)]
        lines.append(":".join([*rows, "ab"[i % 2]]))
    return HEAD + "\n".join(lines) + "\n"


def write_pair(folder, train=20, test=6, ending=".ts"):
    for part, numbers in (("TRAIN", range(train)), ("TEST", range(train, train + test))):
        content = text_of(numbers).encode()
        path = folder / f"X_{part}{ending}"
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    return folder


@pytest.mark.parametrize("ending", [".ts", ".ts.gz"])
def test_a_pair_of_texts_has_its_parts_and_validation_is_of_the_training_part(tmp_path, ending):
    write_pair(tmp_path, ending=ending)
    given = load_all("sequences", tmp_path, scaled=False)
    assert [len(given[part]) for part in PARTS] == [16, 4, 6]
    firsts = {part: given[part].x[:, 0, 0].astype(int).tolist() for part in PARTS}
    assert firsts["test"] == list(range(20, 26))
    assert sorted(firsts["train"] + firsts["validation"]) == list(range(20))
    for data in given.values():
        assert data.classes == ("a", "b") and data.channels == 2
        assert data.target.tolist() == [int(i) % 2 for i in data.x[:, 0, 0]]
        assert data.lengths.tolist() == [2 + int(i) % 3 for i in data.x[:, 0, 0]]
        assert (data.x[:, 1, 1] == data.x[:, 0, 0] + 101).all()  # second channel, second step
    same = snnsim_datasets.load("sequences", "test", tmp_path / f"X_TRAIN{ending}", scaled=False)
    assert (same.x == given["test"].x).all()


def test_one_text_is_divided_by_class(tmp_path):
    (tmp_path / "all.ts").write_text(text_of(range(30)))
    given = load_all("sequences", tmp_path / "all.ts", held_out=0.3)
    counts = {part: np.bincount(data.target).tolist() for part, data in given.items()}
    assert counts == {"train": [8, 8], "validation": [3, 3], "test": [4, 4]}


def test_a_class_without_a_recording_for_training_is_refused(tmp_path):
    write_pair(tmp_path, train=20)
    (tmp_path / "X_TRAIN.ts").write_text(text_of(range(0, 40, 2)))  # class a alone
    with pytest.raises(DataError, match="no recording of 'b' is left for training"):
        snnsim_datasets.load("sequences", "train", tmp_path)


def test_channels_are_scaled_by_the_training_part_alone(tmp_path):
    write_pair(tmp_path)
    plain, scaled = (load_all("sequences", tmp_path, scaled=each) for each in (False, True))

    def rows(data):
        return np.concatenate([x[:n] for x, n in zip(data.x, data.lengths, strict=True)])

    trained = rows(plain["train"]).astype(np.float64)
    for part in PARTS:
        wanted = (rows(plain[part]) - trained.mean(0)) / trained.std(0)
        np.testing.assert_allclose(rows(scaled[part]), wanted, rtol=1e-5)
    assert abs(rows(scaled["test"]).mean()) > 1  # so the mean is not that of each part


def test_numbers_as_targets_make_a_regression(tmp_path):
    text = "@timeStamps false\n@targetLabel true\n@data\n"
    (tmp_path / "r.ts").write_text(text + "".join(f"{i},{i}:{i / 10}\n" for i in range(20)))
    data = snnsim_datasets.load("sequences", "train", tmp_path / "r.ts", scaled=False)
    assert data.classes == () and data.target.shape == (len(data), 1)
    np.testing.assert_allclose(data.target[:, 0], data.x[:, 0, 0] / 10, rtol=1e-6)


BAD_TEXTS = {  # what is wrong: (text, the error)
    "a missing value": (HEAD + "1,?:2,3:a\n", r"line 6 .*missing value"),
    "no number": (HEAD + "1,2:2,3:a\n1,x:2,3:b\n", r"line 7 .*'x', no number"),
    "NaN": (HEAD + "1,nan:2,3:a\n", "line 6 .*nan"),
    "ragged": (HEAD + "1,2:2,3,4:a\n", "line 6 .*2 to 3 values"),
    "fewer channels": (HEAD + "1,2:2,3:a\n1,2:b\n", "line 7 .*1 channels but the first"),
    "unknown class": (HEAD + "1,2:2,3:c\n", "line 6 .*class 'c', but @classLabel"),
    "no class": (HEAD + "1,2:2,3:\n", "line 6 .*separated by"),
    "no data": ("@classLabel true a b\n", "no line @data"),
    "empty": (HEAD, "holds no recordings"),
    "no header": ("1,2:a\n", "line 1 .*before @data"),
    "no classes named": ("@data\n1:a\n", "names no classes"),
    "time stamps": ("@timeStamps true\n@classLabel true a b\n@data\n(1,2):a\n", "time stamps"),
    "not text": (b"\xff\xfe\x00", "is not readable text"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_a_bad_text_is_refused_by_its_line(tmp_path, case):
    content, error = BAD_TEXTS[case]
    path = tmp_path / "x.ts"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=error) as caught:
        ts_files.read(path)
    assert str(path) in str(caught.value)


def test_a_pair_that_does_not_fit_is_refused(tmp_path):
    write_pair(tmp_path)
    (tmp_path / "X_TEST.ts").write_text(text_of(range(3), channels=3))
    with pytest.raises(DataError, match="has . channels .* the other part has . and a, b"):
        snnsim_datasets.load("sequences", "test", tmp_path)
    (tmp_path / "X_TRAIN.ts").unlink()
    with pytest.raises(DataError, match="test part, and beside it there is none for training"):
        snnsim_datasets.load("sequences", "test", tmp_path)


def test_a_packed_text_that_is_cut_short_is_refused(tmp_path):
    write_pair(tmp_path, ending=".ts.gz")
    path = tmp_path / "X_TRAIN.ts.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"X_TRAIN\.ts\.gz is not readable"):
        snnsim_datasets.load("sequences", "train", tmp_path)


# --- arrays ---------------------------------------------------------------------------------------


def arrays(count=12, **changes):
    sizes = 1 + np.arange(count) % 4
    given = {
        "values": np.arange(2.0 * sizes.sum()).reshape(-1, 2).astype(np.float32),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "labels": np.arange(count) % 2,
        "classes": np.array(["a", "b"]),
        "speakers": np.arange(count) // 4,
        "dt": np.array(4.0),
    }
    return {k: v for k, v in (given | changes).items() if v is not None}


def test_arrays_say_what_they_are(tmp_path):
    np.savez(tmp_path / "x.npz", **arrays())
    given = load_all("sequences", tmp_path / "x.npz", scaled=False)
    assert all(data.dt == 4.0 and data.classes == ("a", "b") for data in given.values())
    speakers = [set(data.speakers.tolist()) for data in given.values()]
    assert sorted(map(len, speakers)) == [1, 1, 1]  # whole speakers
    assert snnsim_datasets.load("sequences", "test", tmp_path / "x.npz", dt=2.5).dt == 2.5
    parts = np.array(["train"] * 6 + ["test"] * 3 + ["validation"] * 3)
    np.savez(tmp_path / "y.npz", **arrays(splits=parts))
    assert [len(d) for d in load_all("sequences", tmp_path / "y.npz").values()] == [6, 3, 3]
    values = arrays(labels=np.arange(24.0).reshape(12, 2), classes=None, speakers=None)
    np.savez(tmp_path / "z.npz", **values)
    assert snnsim_datasets.load("sequences", "train", tmp_path / "z.npz").target.shape[1] == 2


BAD_ARRAYS = {
    "values with one axis": ({"values": np.zeros(30)}, r"values are .* must be \[T, C\]"),
    "NaN": ({"values": np.full((27, 2), np.nan)}, "NaN or infinite"),
    "offsets that end early": ({"offsets": np.arange(13)}, "offsets must rise from 0 to"),
    "an empty recording": ({"offsets": np.r_[0, 0, np.arange(2, 13)]}, "offsets must rise"),
    "too few labels": ({"labels": np.zeros(3, int)}, "3 labels but 12 are needed"),
    "a label without a class": ({"labels": np.arange(12)}, "label 2 .* 0 .. 1"),
    "fractions as labels": ({"labels": np.arange(12) / 3}, "must be whole numbers"),
    "a split of no name": ({"splits": np.array(["trian"] * 12)}, "splits are .*trian"),
    "too few splits": ({"splits": np.array(["train"] * 3)}, "splits are 3"),
    "no length of a step": ({"dt": np.array(0.0)}, "dt"),
    "speakers missing": ({"speakers": np.zeros(3, int)}, "3 speakers but 12"),
    "no offsets": ({"offsets": None}, "offsets"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused_by_name(tmp_path, case):
    changes, error = BAD_ARRAYS[case]
    np.savez(tmp_path / "x.npz", **arrays(**changes))
    with pytest.raises((DataError, ConfigError), match=error) as caught:
        snnsim_datasets.load("sequences", "train", tmp_path / "x.npz")
    assert "x.npz" in str(caught.value)


# --- a file for each recording --------------------------------------------------------------------


def write_files(folder):
    for label in ("walk", "run"):
        for person in ("ann", "bob", "cy"):
            (folder / label / person).mkdir(parents=True)
            for i in range(2):
                values = np.arange(3.0 * (4 + i)).reshape(-1, 3)
                path = folder / label / person / f"{i}.csv"
                np.savetxt(path, values, delimiter=",", header="ax,ay,az", comments="")
    return folder


def test_a_folder_of_tables_is_divided_by_person(tmp_path):
    folder = write_files(tmp_path / "trials")
    given = load_all("sequences", folder, scaled=False)
    assert [len(data) for data in given.values()] == [4, 4, 4]
    assert given["train"].classes == ("run", "walk") and given["train"].channels == 3
    people = [set(data.speakers.tolist()) for data in given.values()]
    assert sorted(map(len, people)) == [1, 1, 1]
    rows = snnsim_datasets.get("sequences").rows(folder)
    assert [len(data) for data in given.values()] == [
        sum(row.split == part for row in rows) for part in PARTS
    ]
    assert {row.label for row in rows} == {"run", "walk"} and rows[0].file == "run/ann/0.csv"


def test_one_table_is_read_with_and_without_titles(tmp_path):
    for name, text in (
        ("a.csv", "x,y\n1,2\n3,4\n"),
        ("b.csv", "1,2\n3,4\n"),
        ("c.tsv", "1\t2\n3\t4"),
    ):
        (tmp_path / name).write_text(text)
        assert read_one(tmp_path / name).tolist() == [[1, 2], [3, 4]]
    np.save(tmp_path / "d.npy", np.array([1, 2, 3]))
    assert read_one(tmp_path / "d.npy").tolist() == [[1], [2], [3]]


BAD_TABLES = {
    "empty": "",
    "titles alone": "a,b\n",
    "ragged": "1,2\n3\n",
    "words": "1,2\n3,x\n",
    "missing": "1,2\n3,nan\n",
}


@pytest.mark.parametrize("case", BAD_TABLES)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_bad_table_is_refused(tmp_path, case):
    (tmp_path / "x.csv").write_text(BAD_TABLES[case])
    with pytest.raises(DataError, match=r"x\.csv"):
        read_one(tmp_path / "x.csv")


def test_arrays_of_objects_and_other_channels_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}, 1], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy is not a table"):
        read_one(tmp_path / "x.npy")
    folder = write_files(tmp_path / "trials")
    (folder / "run" / "ann" / "0.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="all recordings must have the same"):
        snnsim_datasets.load("sequences", "train", folder)


def test_what_is_no_file_of_sequences_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        snnsim_datasets.load("sequences", "train", tmp_path / "none.ts")
    (tmp_path / "x.wav").write_text("")
    with pytest.raises(DataError, match=r"x\.wav holds no sequences"):
        snnsim_datasets.load("sequences", "train", tmp_path / "x.wav")
