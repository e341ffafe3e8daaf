"""The configurations that are included."""

from __future__ import annotations

from pathlib import Path

from snnsim_datasets import generated

HERE = Path(__file__).parent


def folder_of(dataset: str) -> Path:
    """Return the folder of the configurations of a data set; generated ones share theirs."""
    if dataset in generated.names():
        return HERE / "generated"
    return HERE / dataset.replace("-", "_")


def config_names(source: str, stream: bool = False) -> list[str]:
    """Return the names of the configurations of a data set, or of streams."""
    folder = HERE / "continual" if stream else folder_of(source)
    return sorted(path.stem for path in folder.glob("*.toml"))
