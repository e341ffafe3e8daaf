"""The page of a report in a real browser: it opens, draws, and can be used by everybody."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from browser import chromium
from reported_runs import digits
from snnsim_experiments import write_report

PICTURE = Path(__file__).parents[3] / "docs" / "tutorials" / "pictures" / "report.png"
DRAW = bool(os.environ.get("SNNSIM_DRAW"))
EPOCHS = 30 if DRAW else 4
COLOURS = """canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Set();
    for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 4).join());
    return found.size;
}"""
DRAWN = "canvas => canvas.toDataURL()"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory) -> Path:
    """A page on four runs: two seeds with delays and two without; of longer ones to be drawn."""
    folder = tmp_path_factory.mktemp("runs")
    longer = {"network.hidden": [64], "data.pool": 5, "network.max_delay_ms": 240}
    changes = longer if DRAW else {}
    for delays in ("learned", "none"):
        for seed in (0, 1):
            digits(folder / f"{delays}-{seed}", delays, seed, EPOCHS, **changes)
    return write_report([folder], folder / "report.html")


class Opened:
    """A page, and everything that its browser complained of."""

    def __init__(self, browser, report: Path, **options):
        self.complaints: list[str] = []
        self.context = browser.new_context(
            viewport={"width": 1100, "height": 900}, offline=True, **options
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.requests: list[str] = []
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(report.as_uri())


@pytest.fixture
def opened(browser, report):
    made = []

    def make(**options) -> Opened:
        made.append(Opened(browser, report, **options))
        return made[-1]

    yield make
    for each in made:
        assert each.complaints == []
        assert len(each.requests) == 1
        each.context.close()


def test_it_opens_and_everything_is_drawn(opened):
    page = opened().page
    assert page.title() == "4 runs in 2 groups on spoken-digits"
    canvases = page.locator("canvas").all()
    assert len(canvases) == 8
    for canvas in canvases:
        assert canvas.evaluate(COLOURS) > 3
        box = canvas.bounding_box()
        assert box["width"] > 500 and box["height"] > 100
    charts = page.locator("svg.chart").all()
    assert len(charts) >= 9
    for chart in charts:
        assert chart.bounding_box()["height"] > 50
        assert chart.locator("polyline, circle, rect").count() >= 1


def test_the_colours_follow_the_system_and_the_button(opened):
    def background(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = opened(color_scheme="light").page, opened(color_scheme="dark").page
    white, black = background(light), background(dark)
    assert white == "rgb(255, 255, 255)" and black != white
    pictures = [page.locator("canvas").first.evaluate(DRAWN) for page in (light, dark)]
    assert pictures[0] != pictures[1]
    button = light.get_by_role("button", name=re.compile("Colours"))
    button.click()
    assert background(light) == black and button.text_content() == "Colours: dark"
    assert light.locator("canvas").first.evaluate(DRAWN) == pictures[1]
    button.click()
    assert background(light) == white and button.text_content() == "Colours: light"
    button.click()
    assert button.text_content() == "Colours: automatic"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader_or_weak_eyes(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_everything_that_can_be_done_can_be_done_by_keyboard(opened):
    page = opened().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
    assert {"BUTTON", "A", "SUMMARY", "CANVAS", "DIV", "svg"} <= reached


def test_a_screen_reader_finds_the_parts(opened):
    page = opened().page
    tree = page.locator("body").aria_snapshot()
    for part in ("navigation", "main", "heading", "table", "button", "img"):
        assert f"- {part}" in tree, part
    assert page.get_by_role("navigation").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("table", name=re.compile("Confusion matrix")).count() == 2


def test_a_raster_is_read_under_the_pointer(opened):
    page = opened().page
    raster = page.locator(".raster").first
    canvas, told = raster.locator("canvas"), raster.locator(".read")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    seen = set()
    for part in (0.1, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.9):
        for place in (0.2, 0.3, 0.5):
            page.mouse.move(box["x"] + box["width"] * place, box["y"] + box["height"] * part)
            seen.add(told.text_content())
    text = "\n".join(seen)
    assert "input: " in text and "layer 1: LIF: " in text and "layer 2: LI: unit" in text
    assert re.search(r"spike of unit \d+ at [\d.]+ ms", text)
    assert re.search(r"unit \d+ “\w+”, [\d.]+ ms, value about", text)


def test_a_raster_is_zoomed_by_buttons_keys_and_wheel_and_shown_whole_again(opened):
    page = opened().page
    raster = page.locator(".raster").first
    canvas, told = raster.locator("canvas"), raster.locator(".read")
    whole = canvas.evaluate(DRAWN)
    raster.get_by_role("button", name="Zoom in").click()
    first, last = map(float, re.findall(r"([\d.]+)", told.text_content()))
    assert 0 < first < last
    zoomed = canvas.evaluate(DRAWN)
    assert zoomed != whole
    raster.get_by_role("button", name="Later").click()
    assert float(re.findall(r"([\d.]+)", told.text_content())[0]) > first
    raster.get_by_role("button", name="Whole").click()
    assert canvas.evaluate(DRAWN) == whole
    canvas.focus()
    page.keyboard.press("+")
    assert canvas.evaluate(DRAWN) == zoomed
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "-", "0"):
        page.keyboard.press(key)
    assert canvas.evaluate(DRAWN) == whole
    height = canvas.bounding_box()["height"]
    page.keyboard.press("t")
    assert canvas.bounding_box()["height"] > 1.5 * height
    page.keyboard.press("0")
    canvas.hover()
    page.mouse.wheel(0, -100)
    page.wait_for_function(
        "told => told.textContent.startsWith('showing')", arg=told.element_handle()
    )
    assert canvas.evaluate(DRAWN) != whole


def test_a_raster_is_moved_by_dragging(opened):
    page = opened().page
    raster = page.locator(".raster").first
    canvas, told = raster.locator("canvas"), raster.locator(".read")
    raster.get_by_role("button", name="Zoom in").click()
    before = told.text_content()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    after = told.text_content()
    assert after.startswith("showing") and after != before


def test_a_chart_is_read_by_pointer_and_keys(opened):
    page = opened().page
    chart = page.locator("svg[data-lines]").first
    told = chart.locator("xpath=..").locator(".read")
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert re.match(r"epoch 1: delays learned, seed 0 [\d.]+", told.text_content())
    for _ in range(EPOCHS + 5):
        page.keyboard.press("ArrowRight")
    assert told.text_content().startswith(f"epoch {EPOCHS}: ")
    assert "delays none, seed 1" in told.text_content()
    page.keyboard.press("ArrowLeft")
    assert told.text_content().startswith(f"epoch {EPOCHS - 1}: ")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40)
    assert told.text_content().startswith("epoch 1: ")


def test_it_fits_a_narrow_screen(opened):
    page = opened().page
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_picture_of_it_is_in_the_documentation(opened, tmp_path):
    """With SNNSIM_DRAW=1, as made now."""
    page = opened(color_scheme="light").page
    shot = PICTURE if DRAW else tmp_path / "report.png"
    page.set_viewport_size({"width": 1100, "height": 1240})
    heading = page.get_by_role("heading", name="Activity").first
    heading.evaluate("each => window.scrollTo(0, each.offsetTop - 620)")
    page.screenshot(path=shot)
    assert shot.stat().st_size > 20_000
    assert PICTURE.stat().st_size > 20_000
