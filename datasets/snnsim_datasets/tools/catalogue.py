"""What every data set says of itself, without what it takes to read one.

A module of a data set has its own as ``INFO``; one that is not listed here may write it itself.
"""

from __future__ import annotations

from snnsim_datasets.tools.info import Info, Remote

_MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"


def _heidelberg(file: str, checksum: str) -> Remote:
    return Remote(file, (f"https://zenkelab.org/datasets/{file}",), checksum)


WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward"),
    *("four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on"),
    *("one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual"),
    *("wow", "yes", "zero"),
)
GSC = Info(
    name="gsc",
    title="Google Speech Commands v0.02",
    kind="16 kHz speech, 1 s; 84843 training, 9981 validation and 11005 test clips of 35 words",
    channels=140,
    classes=WORDS,
    splits=("train", "validation", "test"),
    licence="CC BY 4.0",
    citation="Warden 2018, arXiv:1804.03209",
    remotes=(
        Remote(
            "speech_commands_v0.02.tar.gz",
            ("http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",),
            "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            "sha256",
        ),
    ),
    note="Protocol 'official' uses the lists in the archive; 'speaker' splits any folder of "
    "<word>/<clip> by a hash of the speaker: 65 % train, 15 % validation, 20 % test.",
)

SHD = Info(
    name="shd",
    title="Spiking Heidelberg Digits",
    kind="cochlea spikes of 12 speakers; 8156 training and 2264 test recordings",
    channels=700,
    classes=(
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
        *("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    ),
    splits=("train", "validation", "test", "train_all"),
    licence="CC BY 4.0",
    citation="Cramer, Stradmann, Schemmel & Zenke 2020, doi:10.1109/TNNLS.2020.3044364",
    remotes=(
        _heidelberg("shd_train.h5.zip", "f3252aeb598ac776c1b526422d90eecb"),
        _heidelberg("shd_test.h5.zip", "1503a5064faa34311c398fb0a1ed0a6f"),
    ),
    note="There is no official validation split: 'validation' is a fifth of the training file, "
    "whole speakers; 'train' is the rest; 'train_all' is the training file.",
)

SSC = Info(
    name="ssc",
    title="Spiking Speech Commands",
    kind="cochlea spikes; 75466 training, 9981 validation and 20382 test recordings",
    channels=700,
    classes=WORDS,
    splits=("train", "validation", "test"),
    licence="CC BY 4.0",
    citation="Cramer, Stradmann, Schemmel & Zenke 2020, doi:10.1109/TNNLS.2020.3044364",
    remotes=(
        _heidelberg("ssc_train.h5.zip", "d102be95e7144fcc0553d1f45ba94170"),
        _heidelberg("ssc_valid.h5.zip", "b4eee3516a4a90dd0c71a6ac23a8ae43"),
        _heidelberg("ssc_test.h5.zip", "a35ff1e9cffdd02a20eb850c17c37748"),
    ),
    note="The splits are the official ones. Class names are listed alphabetically.",
)

FSDD = Info(
    name="fsdd",
    title="Free Spoken Digit Dataset",
    kind="8 kHz speech of English digits, or the same as cochlea spikes in SHD's layout",
    channels=700,
    classes=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    splits=("train", "validation", "test", "train_all"),
    licence="CC BY-SA 4.0",
    citation="Jakobovski et al., github.com/Jakobovski/free-spoken-digit-dataset",
    note="Spikes: a folder with fsdd_train.h5 and fsdd_test.h5 (also .gz). Audio: a folder with "
    "recordings/{digit}_{speaker}_{index}.wav. Official split: index 0 to 4 test, the rest "
    "training; 'validation' is about a fifth of the training part, whole speakers. The test "
    "part has the same speakers as the training part.",
)

NMNIST = Info(
    name="nmnist",
    title="N-MNIST",
    kind="events of a 34 x 34 camera, on and off; 60000 training and 10000 test recordings",
    channels=2 * 34 * 34,
    classes=tuple("0123456789"),
    splits=("train", "validation", "test", "train_all"),
    licence="CC BY-SA 4.0",
    citation="Orchard, Jayawant, Cohen & Thakor 2015, doi:10.3389/fnins.2015.00437",
    remotes=(
        Remote(
            "Train.zip",
            (_MENDELEY + "39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",),
            "20959b8e626244a1b502305a9e6e2031",
        ),
        Remote(
            "Test.zip",
            (_MENDELEY + "05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",),
            "69ca8762b2fe404d9b9bad1103e97832",
        ),
    ),
    note="'validation' is a tenth of the training part, chosen by a hash of the recording's "
    "number ('train_all' is the whole). Channel = polarity * 1156 + y * 34 + x.",
)

SPOKEN_DIGITS = Info(
    name="spoken-digits",
    title="Spoken digits (synthetic, embedded)",
    kind="cochlea spikes of 30 synthetic voices; 480 training and 120 test recordings",
    channels=700,
    classes=SHD.classes,
    splits=("train", "validation", "test", "train_all"),
    licence="Apache-2.0, part of this project",
    citation="espeak-ng 1.52 voices through the cochlea model of Cramer et al. 2020",
    note="The test voices do not occur in training; 'validation' is a fifth of the training "
    "file, whole voices. Synthetic speech is easier than real speech.",
)

INFOS = {info.name: info for info in (FSDD, GSC, NMNIST, SHD, SPOKEN_DIGITS, SSC)}
