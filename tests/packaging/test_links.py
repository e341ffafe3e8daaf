"""Links between the pages, and to headings within them, lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += [
    path for ending in ("md", "ipynb") for path in sorted((ROOT / "docs").rglob(f"*.{ending}"))
]
LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def text(path: Path) -> str:
    """What a page says, without its code."""
    if path.suffix == ".md":
        return CODE.sub("", path.read_text())
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def anchors(path: Path) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    headings = re.findall(r"^#+ (.*)$", text(path), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def broken(path: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for target in LINK.findall(text(path)):
        place, _, anchor = target.partition("#")
        page = (path.parent / place).resolve() if place else path
        linked = page.suffix in (".md", ".ipynb") and anchor
        if "://" not in target and (not page.exists() or (linked and anchor not in anchors(page))):
            found.append(target)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert broken(path) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`\n[a](page.md#a-title) [b](#other) [c](gone.md) [d](http://x.y/z)\n"
    )
    assert broken(page) == ["#other", "gone.md"]
