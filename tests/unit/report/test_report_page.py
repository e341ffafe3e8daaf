"""The page of a report, as a file: what is on it, that it is safe, and that it is alone."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from importlib.util import find_spec

import numpy as np
import pytest
import reported_runs
from reported_runs import FUNCTIONS, NAMES, of_baseline, of_function, on_stream
from snnsim_datasets import load
from snnsim_experiments.report.charts import Axis, Estimate, Line, estimates, line_chart, spanning
from snnsim_experiments.report.delays import delays_of
from snnsim_experiments.report.facts import read_run
from snnsim_experiments.report.measured import Limits, measure
from snnsim_experiments.report.rasters import raster_of

import snnsim as sn
from snnsim.data import Arrays

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page, its texts, and whether all are closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.elements[-1][1], data))
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def report(run, tmp_path_factory, command_line):
    """The page on the small run, which no test changes."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    done = command_line("report", run, "--out", out, "-q")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    return out.read_text()


@pytest.fixture(scope="module")
def command_line():
    from command import command

    return command


def test_the_page_is_closed_and_has_one_heading_of_the_first_order(report):
    page = Page(report)
    names = [name for name, _ in page.elements]
    assert names.count("h1") == 1 and names.count("main") == 1 and names.count("nav") == 1
    levels = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_it_has_the_results_and_every_part(report, run):
    page = Page(report)
    summary = json.loads((run / "summary.json").read_text())
    for heading in (
        "Results", "What was trained on what", "Training", "Answers", "Activity", "Delays", "Cost",
        "Diagnosis", "How this was made",
    ):  # fmt: skip
        assert heading in page.texts, heading
    right = round(summary["test_accuracy"] * summary["test_samples"])
    assert f"{right} of {summary['test_samples']} test samples are answered right" in page.text
    assert f"{summary['parameters']:,}" in page.text
    assert "380 train, 100 validation, 120 test" in page.text
    assert sum(name == "canvas" for name, _ in page.elements) == 4


def test_every_reference_stays_on_the_page(report):
    page = Page(report)
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for name, attributes in page.elements:
        for key in ("src", "href", "action", "data", "srcset", "poster"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:")), (name, key, value)
            assert not (value or "").startswith("#") or value[1:] in ids, value
        for key in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(key) is None or attributes[key] in ids
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", report)


def test_only_its_own_script_may_run(report):
    page = Page(report)
    (policy,) = [a["content"] for n, a in page.elements if n == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    (script,) = [text for attributes, text in page.scripts if not attributes.get("type")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert not any(key.startswith("on") for _, a in page.elements for key in a)


def test_every_picture_has_words(report):
    page = Page(report)
    for name, attributes in page.elements:
        if name == "svg" or name == "canvas":
            assert attributes["role"] == "img" and len(attributes["aria-label"]) > 20
        if name == "img":
            assert attributes["alt"]
    tables = sum(name == "table" for name, _ in page.elements)
    assert tables == sum(name == "caption" for name, _ in page.elements) > 5


@pytest.mark.parametrize("name", FUNCTIONS)
def test_data_of_every_kind_have_a_page_and_names_are_escaped(snnsim, tmp_path, name):
    run = of_function(snnsim, name, tmp_path / "<i>run")
    done = snnsim("report", run, "--out", tmp_path / "a.html", "--rasters", 1, "-q")
    assert done.code == 0, done.err
    text = (tmp_path / "a.html").read_text()
    page = Page(text)
    assert "Not here" not in page.text
    assert "<i>run" in page.text and "<i>" not in text.replace("&lt;i&gt;", "")
    assert not any(name in ("i", "b") for name, _ in page.elements)
    assert "alert(1)" not in "".join(t for a, t in page.scripts if not a.get("type"))
    if name == "classes":
        assert NAMES[2] in page.text
    if name in ("labels", "values", "classes_per_step") and find_spec("matplotlib"):
        assert sum(name == "img" for name, _ in page.elements) == 1


def test_streams_and_models_without_spikes(snnsim, tmp_path):
    on_stream(snnsim, tmp_path / "all" / "stream")
    of_baseline(snnsim, tmp_path / "all" / "gru")
    done = snnsim("report", tmp_path / "all", "--json", "--out", tmp_path / "a.html")
    assert json.loads(done.out) == {"out": str(tmp_path / "a.html")}
    page = Page((tmp_path / "a.html").read_text())
    assert "Tasks" in page.texts and "Not here" not in page.text
    assert "gru on spoken-digits" in page.text
    assert "mean accuracy after all tasks (%)" in page.text


def test_what_cannot_be_had_says_why_and_the_rest_is_there(snnsim, run, tmp_path):
    done = snnsim("report", run, "--root", tmp_path / "nothing", "-q", "--out", tmp_path / "b.html")
    assert done.code == 0, done.err
    page = Page((tmp_path / "b.html").read_text())
    assert page.text.count("Not here: ") >= 3 and "nothing" in page.text
    assert "Delays after training" in page.text


def test_a_run_of_which_nothing_is_finished_has_a_page(snnsim, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    for name in ("summary.json", "metrics.jsonl", "best.safetensors"):
        (folder / name).unlink()
    done = snnsim("report", folder, "-q")
    assert done.code == 0, done.err
    assert "not finished" in Page((folder / "report.html").read_text()).text


def test_several_runs_are_compared_and_only_some_are_shown_in_detail(snnsim, run, tmp_path):
    for seed in (0, 1):
        for delays in ("learned", "fixed"):
            folder = shutil.copytree(run, tmp_path / "all" / f"{delays}{seed}")
            facts = json.loads((folder / "run.json").read_text())
            facts["seed"] = facts["config"]["seed"] = seed
            facts["config"]["network"]["delays"] = delays
            (folder / "run.json").write_text(json.dumps(facts))
    done = snnsim("report", tmp_path / "all", "--details", 1, "--out", tmp_path / "a.html", "-q")
    assert done.code == 0, done.err
    page = Page((tmp_path / "a.html").read_text())
    assert "4 runs in 2 groups on spoken-digits" in page.texts
    assert "Differences, seed by seed" in page.texts
    assert "delays learned − delays fixed" in page.text
    assert page.texts.count("Answers") == 2  # in the contents, and above the part
    assert "3 more are only in the results" in page.text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nothing",), "nothing"),
        (("RUN", "--out", "a.txt"), "must end in .html"),
        (("RUN", "--device", "tpu9"), "tpu9"),
    ],
)
def test_what_cannot_be_reported_is_refused(snnsim, run, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    done = snnsim("report", *(run if word == "RUN" else word for word in arguments))
    assert done.code == 1 and text in done.err and not list(tmp_path.iterdir())


# --- charts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [1e-9, 2e-9], [-1e6, 1e6], [0.1, 0.7]])
def test_an_axis_shows_all_values_between_its_ends(values):
    axis = spanning(values, 10, 110)
    assert all(10 <= axis.place(value) <= 110 for value in values)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    assert all(axis.low <= tick <= axis.high for tick in ticks)
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_an_axis_is_linear():
    axis = Axis(10, 20, 100, 300)
    assert [axis.place(value) for value in (10, 12.5, 20)] == [100, 150, 300]
    assert Axis(1, 2, 0, 100).ticks(smallest=1.0) == [1, 2]


def test_a_line_leaves_out_what_is_not_finite_and_a_chart_escapes_names():
    line = Line("<b>", [1, 2, 3, 4], [1.0, None, float("nan"), 4.0])
    assert line.points == [(1, 1.0), (4, 4.0)]
    chart = str(line_chart([line, Line("b", [1], [2.0])], "epoch", "loss", 2, "<best>"))
    assert "<b>" not in chart and "&lt;b&gt;" in chart and "&lt;best&gt;" in chart
    Page(chart)


def test_estimates_have_their_intervals_at_their_places():
    chart = str(estimates([Estimate("a", 5.0, (0.0, 10.0), [4.0, 6.0])], "score"))
    (interval,) = re.findall(r'x1="([\d.]+)" x2="([\d.]+)"[^>]*class="interval"', chart)
    (value,) = re.findall(r'cx="([\d.]+)"[^>]*class="value"', chart)
    assert float(value) == pytest.approx(np.mean([float(each) for each in interval]), abs=0.2)
    assert chart.count('class="single"') == 2


# --- what is measured -----------------------------------------------------------------------------


def unpacked(layer):
    content = base64.b64decode(layer.content)
    if layer.kind == "values":
        return np.frombuffer(content, np.uint8).reshape(layer.units, layer.steps)
    both = np.frombuffer(content, "<u4")
    return both[: len(both) // 2], both[len(both) // 2 :]


def test_a_raster_has_every_spike_of_the_input_and_of_the_layers():
    data = reported_runs.classes()
    net = sn.Sequential(sn.Dense(6, 5), sn.LIF(5, dt=5.0), sn.Dense(5, 3), sn.LI(3, dt=5.0)).eval()
    found = raster_of(net, data, 7, "a", 1, 2)
    x = data.batch([7]).x[:, 0]
    step, unit = unpacked(found.layers[0])
    np.testing.assert_array_equal(np.stack([step, unit], 1), x.nonzero().numpy())
    assert [layer.title for layer in found.layers] == ["input", "layer 1: LIF", "layer 2: LI"]
    y = net(x[:, None])[0][:, 0].detach().numpy()
    last = found.layers[-1]
    shades = unpacked(last) / 255 * (last.high - last.low) + last.low
    np.testing.assert_allclose(shades.T, y, atol=(last.high - last.low) / 255)
    assert found.classes == NAMES and (found.true, found.answer) == (1, 2)


def test_an_analog_input_is_shades_and_other_outputs_have_no_names():
    net = sn.Sequential(sn.Dense(6, 5), sn.LIF(5, dt=5.0))
    found = raster_of(net, reported_runs.analog(), 0, "a", 1, 2)
    assert [layer.kind for layer in found.layers] == ["values", "spikes"]
    assert found.classes == () and found.true is None


def test_spikes_that_are_too_many_are_counted(monkeypatch):
    from snnsim_experiments.report import rasters

    monkeypatch.setattr(rasters, "MOST", 10)
    data = Arrays(np.ones((2, 12, 6)), [0, 1], dt=1.0)
    layer = raster_of(sn.Sequential(sn.Dense(6, 2)), data, 0, "a").layers[0]
    assert (layer.events, layer.left_out) == (10, 62)
    assert len(unpacked(layer)[0]) == 10


def test_some_samples_are_asked_under_their_own_numbers(run):
    found = measure(read_run(run), Limits(samples=10, rasters=3))
    numbers = [sample.number for sample in found.answers.samples]
    assert numbers == [0, 13, 26, 40, 53, 66, 79, 93, 106, 119]
    data = load("spoken-digits", "test", pool=5)
    for raster in found.rasters:
        number, name = re.match(r"test sample (\d+), true class “(\w+)”", raster.title).groups()
        assert int(number) in numbers and data.classes[data.labels[int(number)]] == name
        assert raster.classes[raster.true] == name
    assert (found.asked, found.of) == (10, 120)
    assert found.sizes == {"train": 380, "validation": 100, "test": 120} and not found.missing


def test_delays_are_counted_before_and_after():
    net = sn.Sequential(sn.Delayed(4, 3, dt=10.0, max_delay_ms=60.0))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.layers[0].delay.data[0, 0] = 0.0
    net.layers[0].delay.data[1:] += 0.25
    net.layers[0].delay.data.clamp_(0, 6)
    (found,) = delays_of(net, before)
    assert found.number == sum(found.before) == net.layers[0].delay.numel()
    assert found.edges[0] == -5 and found.edges[-1] == 65
    moved = (net.layers[0].delay.detach() - before["layers.0.delay"]).abs().mean() * 10
    assert found.moved == pytest.approx(float(moved), rel=1e-5)
    assert found.now[0] >= 1 and found.at_border >= 1 / 12
