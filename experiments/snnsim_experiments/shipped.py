"""The configurations that come along."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def folder_of(dataset: str) -> Path:
    """Folder of a data set's configurations."""
    return HERE / dataset.replace("-", "_")


def config_names(source: str, stream: bool = False) -> list[str]:
    """Names of the configurations that come with a data set, or with streams."""
    folder = HERE / "continual" if stream else folder_of(source)
    return sorted(path.stem for path in folder.glob("*.toml"))
