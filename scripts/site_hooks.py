"""What mkdocs does differently for this repository (mkdocs.yml names this file under hooks).

The site is laid out like the repository, so that a link between two texts is the same on both: the
texts stay where they are, and become pages under the same names. The reference is made of
docstrings and of the help of the commands while the site is built, and written nowhere else.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from documentation import commands, notebooks, reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# what becomes a page, or is shown on one
TEXTS = (
    "*.md",
    "docs/**/*.*",
    "datasets/*.md",
    "experiments/*.md",
    "experiments/*.png",
    "experiments/comparison/*.md",
    "experiments/comparison/*.png",
    "snnsim/kernels/*/README.md",
    "scripts/documentation/*.css",
)
# found last, because they say what was, not what is
HISTORY = ("CHANGELOG.md", "experiments/LOG.md")


def _texts(config: MkDocsConfig) -> dict[str, Path]:
    """The texts and pictures of the repository: name to file."""
    root = Path(config.config_file_path).parent
    paths = sorted({path for pattern in TEXTS for path in root.glob(pattern)})
    return {path.relative_to(root).as_posix(): path for path in paths}


def on_config(config: MkDocsConfig) -> None:
    """Put the pages of the reference where mkdocs.yml says ``reference/...``; watch the texts."""
    config.watch.extend(str(path) for path in _texts(config).values())
    made: dict[str, Any] = {"reference/": reference.navigation()} | commands.navigation()
    made["docs/notebooks/"] = notebooks.navigation(Path(config.config_file_path).parent)
    config.nav = _with_pages(config.nav, made)


def _with_pages(nav: Any, made: dict[str, Any]) -> Any:
    """Navigation with lists of pages in place of their names."""
    if isinstance(nav, list):
        entries = [_with_pages(each, made) for each in nav]
        lists = [each if isinstance(each, list) else [each] for each in entries]
        return list(itertools.chain(*lists))
    if isinstance(nav, dict):
        return {title: _with_pages(below, made) for title, below in nav.items()}
    return made.get(nav, nav)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Name the texts by their places in the repository, and add the pages of the reference."""
    for file in [each for each in files if each.src_dir == config.docs_dir]:
        files.remove(file)
    for name, path in _texts(config).items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    lectures = notebooks.pages(Path(config.config_file_path).parent)
    for name, text in (reference.pages() | commands.pages() | lectures).items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Let a search show history after everything else, and the list of notebooks lead to pages."""
    if page.file.src_uri in HISTORY:
        page.meta["search"] = {"boost": 0.2}
    listed = page.file.src_uri == f"{notebooks.FOLDER}/README.md"
    return notebooks.linked(markdown) if listed else markdown
