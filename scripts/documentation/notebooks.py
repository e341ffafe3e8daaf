"""Notebooks as pages: their texts, their code, and the outputs that are stored with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = "docs/notebooks"


def pages(root: Path) -> dict[str, str]:
    """Return the name and the Markdown of a page for every notebook of the repository."""
    found = sorted((root / FOLDER).glob("*.ipynb"))
    return {f"{FOLDER}/{path.stem}.md": _page(path) for path in found}


def navigation(root: Path) -> list[str]:
    """Return the names of the pages, in the order in which they are read."""
    return list(pages(root))


def linked(markdown: str) -> str:
    """Return the list of notebooks with links to the pages instead of the files."""
    return markdown.replace(".ipynb)", ".md)")


def _page(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    file = f"[The notebook itself]({path.name}) can be downloaded and changed."
    return "\n\n".join([*(_cell(cell) for cell in cells), "---", file])


def _cell(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return text
    outputs = [_output(output) for output in cell["outputs"]]
    return "\n\n".join([_fenced(text, "python"), *outputs])


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]), "text")
    data = output["data"]
    if "image/png" in data:
        image = "".join(data["image/png"]).replace("\n", "")
        return (
            f'<img alt="The figure that the code above draws" src="data:image/png;base64,{image}">'
        )
    return _fenced("".join(data["text/plain"]), "text")


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
