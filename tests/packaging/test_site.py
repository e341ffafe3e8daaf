"""The documentation site: complete, without broken links, and with nothing from other hosts."""

from __future__ import annotations

import html
import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

import snnsim

ROOT = Path(__file__).parents[2]
if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
    if os.environ.get("SNNSIM_REQUIRE_DOCS") == "1":
        raise ImportError("the documentation site needs mkdocs: pip install '.[docs]'")
    pytest.skip("needs mkdocs: pip install '.[docs]'", allow_module_level=True)

import yaml
from filelock import FileLock

# packages whose names are for contributors: what stands behind operators and data sets, and checks
INTERNAL = (
    "snnsim.kernels",
    "snnsim_datasets.tools",
    "snnsim_experiments.analysis_checks",
    "snnsim_experiments.baselines.checks",
)
# Python runs a file of this name at its start
NO_NETWORK = """
import sys

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise OSError(f"{event} {args[:2]}: the site must be built without a network")

sys.addaudithook(refuse)
"""


def build(root: Path, out: Path, blocked: Path) -> subprocess.CompletedProcess:
    """Build the site of a folder in which mkdocs.yml stands, where no connection can be made."""
    (blocked / "sitecustomize.py").write_text(NO_NETWORK)
    known = [str(blocked), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(known),
        "NO_MKDOCS_2_WARNING": "1",
        "OMP_NUM_THREADS": "1",
        **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
    }
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out)]
    return subprocess.run(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Page(HTMLParser):
    """What is looked for in a page: the paragraphs that describe each object, and addresses."""

    def __init__(self, text: str):
        super().__init__()
        self.described: dict[str, str] = {}
        self.addresses: list[str] = []
        self.anchor = ""  # of the object whose description is being read
        self.paragraph = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag.startswith("h") and "doc-heading" in (given.get("class") or ""):
            self.anchor = given["id"]
            assert self.anchor not in self.described, f"{self.anchor} is described twice"
            self.described[self.anchor] = ""
        self.paragraph = self.paragraph or tag == "p"
        if tag in ("script", "link", "img", "iframe", "source", "object", "embed", "video"):
            self.addresses += [given[name] for name in ("src", "href", "data") if given.get(name)]

    def handle_endtag(self, tag):
        self.paragraph = self.paragraph and tag != "p"

    def handle_data(self, data):
        if self.anchor and self.paragraph:
            self.described[self.anchor] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site, to which every warning is an error; processes that test at once share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    built, building = folder / "built", folder / "building"
    with FileLock(folder / "site.lock"):
        if not built.exists():
            done = build(ROOT, building, tmp_path_factory.mktemp("blocked"))
            assert done.returncode == 0, done.stdout
            building.rename(built)
    return built


def test_notebooks_are_read_on_the_site_with_what_they_draw(site):
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        page = (site / "docs" / "notebooks" / path.stem / "index.html").read_text()
        cells = json.loads(path.read_text())["cells"]
        drawn = [o for c in cells for o in c.get("outputs", ()) if "image/png" in o.get("data", ())]
        assert page.count('src="data:image/png;base64,') == len(drawn) > 0
        assert f'href="../{path.name}"' in page
        listed = (site / "docs" / "notebooks" / "index.html").read_text()
        assert f'href="{path.stem}/"' in listed


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    return {str(path.relative_to(site)): Page(path.read_text()) for path in site.rglob("*.html")}


def letters(text: str) -> str:
    """A text without what markup changes."""
    return re.sub(r":\w+:(?=`)|\W", "", text)


def public() -> list[tuple[str, str]]:
    """Module and name of everything that a public module offers, by the modules themselves."""
    found = [("snnsim", name) for name in snnsim._EXTRAS]
    for name in ("snnsim", "snnsim_datasets", "snnsim_experiments"):
        package = importlib.import_module(name)
        below = pkgutil.walk_packages(package.__path__, f"{name}.")
        for each in [name, *(info.name for info in below)]:
            if not each.startswith(INTERNAL) and not each.endswith("__main__"):
                module = importlib.import_module(each)
                found += [(each, public) for public in getattr(module, "__all__", ())]
    return found


def anchor_and_text(module: str, name: str) -> tuple[str, str]:
    """Where an object is described, and how its docstring begins; a constant's is in the source."""
    value = getattr(importlib.import_module(module), name)
    if inspect.ismodule(value):
        return value.__name__, inspect.getdoc(value) or ""
    if callable(value) and getattr(value, "__module__", "").startswith("snnsim"):
        return f"{value.__module__}.{value.__qualname__}", inspect.getdoc(value) or ""
    return f"{module}.{name}", ""


def test_every_public_name_is_described(pages):
    found = [item for page in pages.values() for item in page.described.items()]
    described = dict(found)
    assert len(described) == len(found)  # none is described on two pages
    names = public()
    assert len(names) > 250
    missing, silent = set(), set()
    for module, name in names:
        anchor, docstring = anchor_and_text(module, name)
        if anchor not in described:
            missing.add(anchor)
            continue
        begin = letters(docstring.split("\n")[0])
        told = letters(described[anchor])
        if not told or begin not in told:
            silent.add(anchor)
    assert not missing
    assert not silent


def test_every_command_and_every_option_is_described(site):
    from snnsim_experiments.cli import app

    def walk(command, path):
        yield path, command
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {name}")

    root = typer.main.get_command(app)
    count = 0
    for name, command in root.commands.items():
        text = (site / "reference" / "commands" / name / "index.html").read_text()
        for path, each in walk(command, f"snnsim {name}"):
            _, _, section = text.partition(f'<h{path.count(" ")} id="{path.replace(" ", "-")}"')
            assert section, path
            section, _, _ = section.partition("</table>")
            shown_letters = letters(html.unescape(re.sub(r"<[^>]+>", "", section)))
            assert letters(each.help or "") in shown_letters, path
            for parameter in (shown for shown in each.params if not getattr(shown, "hidden", 0)):
                is_option = parameter.param_type_name == "option"
                for told in parameter.opts if is_option else [parameter.metavar or parameter.name]:
                    assert told in section, (path, told)
                    count += 1
                assert letters(parameter.help or "") in shown_letters, (path, parameter.name)
    assert count > 500


def test_nothing_comes_from_another_host(site, pages):
    assert len(pages) > 80
    for name, page in pages.items():
        for address in page.addresses:
            assert not re.match(r"(\w+:)?//", address) or address.startswith("data:"), (
                name,
                address,
            )
    for path in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", path.read_text()), path


def test_roles_and_examples_are_rendered(site):
    for path in (site / "reference").rglob("*.html"):
        text = path.read_text()
        assert not re.search(r":(class|func|meth|mod|data|attr):(`|<code>)", text), path
        assert not re.search(r"<blockquote>\s*<p>(&gt;|>)", text), path


def test_every_text_is_a_page(site):
    for text in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/*.md")]:
        place = text.relative_to(ROOT)
        folder = place.parent if place.name == "README.md" else place.with_suffix("")
        assert (site / folder / "index.html").is_file(), place


LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def test_links_between_texts_lead_to_files_of_the_repository():
    """The site has the same addresses as the repository, so links must be right there as well."""
    for text in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/**/*.md")]:
        for target in LINK.findall(text.read_text()):
            assert (text.parent / target).exists(), (text, target)


WRONG = {
    "nothing": ("", "", ""),
    "a link to no file": ("[x](docs/none.md)", "", "docs/none.md"),
    "a link to no heading": ("[x](docs/page.md#none)", "", "none"),
    "a link to no heading of its own": ("[x](#none)", "", "none"),
    "a reference to no object": ("[x][toy.none]", "", "toy.none"),
    "a role that names no object": ("", "See :func:`none`.", "none"),
    "a page outside of the navigation": ("", "", "docs/lost.md"),
    "a page that does not exist": ("", "", "docs/gone.md"),
}
PAGES = 'def pages():\n    return {"reference/toy.md": "# Toy\\n\\n::: toy"}\n'
NONE = "def pages():\n    return {}\n"


@pytest.mark.parametrize("what", WRONG)
def test_what_is_broken_fails_the_build(what, tmp_path):
    """A small copy: the configuration and the hooks of this repository, with texts of its own."""
    link, role, told = WRONG[what]
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    config["nav"] = ["README.md", "docs/page.md", "reference/"]
    scripts = tmp_path / "scripts"
    shutil.copytree(ROOT / "scripts" / "documentation", scripts / "documentation")
    shutil.copy(ROOT / "scripts" / "site_hooks.py", scripts)
    entries = '[{"Toy": "reference/toy.md"}]'
    (scripts / "documentation" / "reference.py").write_text(
        f"{PAGES}\n\ndef navigation():\n    return {entries}\n"
    )
    (scripts / "documentation" / "commands.py").write_text(
        f"{NONE}\n\ndef navigation():\n    return {{}}\n"
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(f"# Home\n\n[A page](docs/page.md#part).\n\n{link}\n")
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n## Part\n\n[`f`][toy.f]\n")
    (tmp_path / "toy.py").write_text(f'def f():\n    """Return nothing. {role}"""\n')
    if what == "a page outside of the navigation":
        (tmp_path / "docs" / "lost.md").write_text("# Lost\n")
    if what == "a page that does not exist":
        config["nav"].append("docs/gone.md")
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    done = build(tmp_path, tmp_path / "site", blocked)
    if what == "nothing":
        assert done.returncode == 0, done.stdout
    else:
        assert done.returncode == 1
        assert told in done.stdout
        assert "Aborted with 1 warnings in strict mode" in done.stdout


def test_a_build_that_asks_the_network_is_refused(tmp_path):
    """Without this, a build that loads something would pass unseen."""
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    program = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "without a network" in done.stderr
