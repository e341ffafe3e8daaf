"""What data a name, folder, file or function is taken for."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import snnsim_datasets
from dataset_files import write_clip
from snnsim_datasets import recognise

from snnsim.errors import ConfigError, DataError


def test_names_of_all_data_sets_are_themselves():
    for name in [*snnsim_datasets.names(), *snnsim_datasets.generated.names()]:
        assert recognise(name, "somewhere")[:2] == (name, "somewhere")


def touch(folder, *places):
    for place in places:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


FOLDERS = {  # what a folder holds, and what it is
    "sounds": (["yes/1.wav", "no/2.FLAC", "no/notes.txt"], "recordings"),
    "sounds in parts": (["train/yes/1.ogg", "test/no/1.mp3"], "recordings"),
    "spikes": (["words.h5"], "spikes"),
    "packed spikes": (["words_train.h5.gz", "words_test.h5.gz"], "spikes"),
    "texts": (["X_TRAIN.ts", "X_TEST.ts"], "sequences"),
    "SHD": (["shd_train.h5.zip", "shd_test.h5"], "shd"),
    "spikes of a telling name": (["python_train.h5", "recordings_test.h5"], "spikes"),
    "FSDD": (["fsdd_train.h5.gz"], "fsdd"),
    "cameras": (["a/1.raw", "b/2.raw"], "cameras"),
    "AEDAT": (["a/1.aedat4", "b/2.aedat4", "b/readme.md"], "cameras"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_is_what_most_of_its_files_are(tmp_path, case):
    files, name = FOLDERS[case]
    assert recognise(str(touch(tmp_path, *files))) == (name, str(tmp_path), {})


def test_tables_are_of_what_they_list_whether_they_or_their_folder_is_named(tmp_path):
    write_clip(tmp_path / "clips" / "1.wav")
    (tmp_path / "recordings.csv").write_text("file,label\nclips/1.wav,yes\n")
    assert recognise(str(tmp_path)).name == "recordings"
    assert recognise(str(tmp_path / "recordings.csv")).name == "recordings"
    (tmp_path / "shots.tsv").write_text("path\tclass\na.raw\tx\n")
    assert recognise(str(tmp_path / "shots.tsv")).name == "cameras"


def test_values_in_texts_are_a_camera_s_only_with_its_fields(tmp_path):
    for name, first in (("events", "t,x,y,p"), ("faery", "t,x@640,y@480,on"), ("values", "ax,ay")):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "1.csv").write_text(f"{first}\n1,2,3,0\n")
    kinds = {name: recognise(str(tmp_path / name)).name for name in ("events", "faery", "values")}
    assert kinds == {"events": "cameras", "faery": "cameras", "values": "sequences"}
    for name, array in (("e", np.zeros((3, 4), np.int64)), ("v", np.zeros((3, 4)))):
        (tmp_path / name / "a").mkdir(parents=True)
        np.save(tmp_path / name / "a" / "1.npy", array)
    assert [recognise(str(tmp_path / name)).name for name in "ev"] == ["cameras", "sequences"]


def test_arrays_are_told_apart_by_their_names(tmp_path):
    np.savez(tmp_path / "s.npz", times=0, units=0, offsets=0, labels=0)
    np.savez(tmp_path / "v.npz", values=0, offsets=0, labels=0)
    np.savez(tmp_path / "x.npz", other=0)
    assert recognise(str(tmp_path / "s.npz")).name == "spikes"
    assert recognise(str(tmp_path / "v.npz")).name == "sequences"
    with pytest.raises(DataError, match=r"x\.npz holds other; expected times, units"):
        recognise(str(tmp_path / "x.npz"))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"broken\.npz is not a readable"):
        recognise(str(tmp_path / "broken.npz"))


def test_a_table_of_numbers_is_a_series_to_be_forecast(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    assert recognise(str(tmp_path / "a.csv")) == ("series", str(tmp_path), {"file": "a.csv"})


@pytest.mark.parametrize("text", ["my_data:words", "a.b.c:f", "file.py:f", "folder/file.py:f"])
def test_functions_are_those_of_modules_and_files(text):
    assert recognise(text) == ("python", ".", {"function": text})
    assert recognise(text, "there").root == "there"


@pytest.mark.parametrize("text", ["spoken-digit", "no where", "C:", "x:y z", ":f", ""])
def test_what_is_nothing_is_refused_with_what_could_be_given(text):
    with pytest.raises(ConfigError, match=r"there are no data .*module:function") as caught:
        recognise(text or "\0")
    assert ("did you mean 'spoken-digits'" in str(caught.value)) == (text == "spoken-digit")


def test_what_holds_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no recordings that can be read"):
        recognise(str(tmp_path))
    (tmp_path / "a.doc").write_text("x")
    with pytest.raises(DataError, match=r"a\.doc is of no kind that can be read"):
        recognise(str(tmp_path / "a.doc"))
    with pytest.raises(ConfigError, match="is a place itself; leave out the root"):
        recognise(str(tmp_path), "elsewhere")


def test_a_file_of_hdf5_is_spikes_without_being_opened(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w"):
        pass
    assert recognise(str(tmp_path / "x.hdf5")).name == "spikes"


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("a.csv", "file;label\nx.wav;y\n", "separated by ';' but must be by ','"),
        ("a.csv", "Path\tClass\tset\nx\ty\ttest\n", r"separated by '\\t' but must be by ','"),
        ("a.tsv", "file,label\nx.wav,y\n", r"separated by ',' but must be by '\\t'"),
        ("a.csv", "file,label\n", "lists no files"),
        ("a.csv", "", "is empty"),
        ("a.tsv", "\ufeff", "is empty"),
    ],
)
def test_tables_that_list_nothing_say_why(tmp_path, name, text, wrong):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=wrong):
        recognise(str(tmp_path / name))
