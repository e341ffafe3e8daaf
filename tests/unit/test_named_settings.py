"""An error about a value in a file of settings names the file, whatever is wrong with the value."""

from __future__ import annotations

import pytest
from snnsim_experiments.configuration import resolve

from snnsim.errors import ConfigError

RESOLVERS = {
    "train": lambda path: resolve("spoken-digits", config=str(path)),
    "baselines": lambda path: resolve("spoken-digits", "gru", config=str(path)),
    "continual": lambda path: resolve("parity", method="hlop", config=str(path)),
}
VALUES = ("4" + "9" * 99, "-1e300", "inf", "nan", "1979-05-27", "[1, inf]", "{ a = nan }", "'x'")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("place", ["training.epochs", "training.batch_size"])
def test_a_wrong_value_in_a_file_names_the_file(tmp_path, resolver, place, value):
    section, key = place.split(".")
    path = tmp_path / "mine.toml"
    path.write_text(f"[{section}]\n{key} = {value}\n")
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        RESOLVERS[resolver](path)
