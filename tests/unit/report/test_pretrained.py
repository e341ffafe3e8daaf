"""Networks in folders, on a hub, and those that come with the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from fake_hub import Served
from snnsim_experiments.report.card import content_of

import snnsim as sn
from snnsim import pretrained
from snnsim.errors import CheckpointError, ConfigError, SnnsimError
from snnsim.pretrained import HERE, NETWORK, reference_networks
from snnsim.training import evaluate

PROGRAM = Path(__file__).with_name("hub_program.py")
on_hub = pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="no huggingface_hub")


def net():
    torch.manual_seed(0)
    return sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0))


def same(a, b) -> bool:
    x = torch.rand(6, 2, 3)
    return torch.equal(a.eval()(x)[0], b.eval()(x)[0])


# --- folders --------------------------------------------------------------------------------------


def test_a_network_comes_back_from_a_folder_with_what_belongs_to_it(tmp_path):
    folder = sn.save_pretrained(net(), tmp_path / "a" / "b", {"classes": ["x"]})
    again = sn.from_pretrained(folder)
    assert same(net(), again) and again.about == {"classes": ["x"]} and not again.training
    assert same(again, sn.from_pretrained(str(folder)))
    card = (folder / "README.md").read_text()
    assert "library_name: snnsim" in card and "sn.from_pretrained('b')" in card


def test_what_it_was_loaded_with_is_saved_again_and_a_card_is_kept_as_given(tmp_path):
    again = sn.from_pretrained(sn.save_pretrained(net(), tmp_path / "a", {"dt": 2.0}))
    folder = sn.save_pretrained(again, tmp_path / "b", card="# Mine\n")
    assert sn.from_pretrained(folder).about == {"dt": 2.0}
    assert (folder / "README.md").read_text() == "# Mine\n"


def test_a_run_folder_is_one_of_a_network_too(run):
    found = sn.from_pretrained(run)
    assert found.about["classes"][0] == "zero"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no-such-network", "there is no network 'no-such-network'"),
        ("spoken-digits-learned", "did you mean 'spoken-digits-learned-delays'"),
        ("a/b/c", "there is no network"),
        ("../..", "neither network.safetensors nor best.safetensors"),
        ("", "neither"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path, monkeypatch, name, text):
    (tmp_path / "x" / "y").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x" / "y")
    with pytest.raises(CheckpointError, match=re.escape(text)):
        sn.from_pretrained(name)


def test_a_damaged_file_is_refused(tmp_path):
    folder = sn.save_pretrained(net(), tmp_path)
    content = bytearray((folder / NETWORK).read_bytes())
    content[-1] ^= 1
    (folder / NETWORK).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        sn.from_pretrained(folder)


def test_a_network_that_cannot_be_made_again_leaves_the_folder_as_it_was(tmp_path):
    sn.save_pretrained(net(), tmp_path, card="before")
    changed = net()
    changed.layers.append(torch.nn.LSTM(4, 4))
    with pytest.raises(ConfigError):
        sn.save_pretrained(changed, tmp_path, card="after")
    assert (tmp_path / "README.md").read_text() == "before"


@pytest.mark.parametrize("name", ["digits", "a/b/c", "a/", "/b", "../a", "a b/c", "a/" + "b" * 200])
def test_a_name_on_the_hub_has_two_parts(tmp_path, name):
    with pytest.raises(ConfigError, match="user/name"):
        sn.save_pretrained(net(), tmp_path / "a", push_to=name)
    assert not (tmp_path / "a").exists()


# --- the hub --------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    served = Served()
    yield served
    served.close()


def program(hub: Served, tmp_path: Path, what: str, name: str, token: str = "hf_good") -> dict:
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(PROGRAM), what, name, str(tmp_path / "folder")],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@on_hub
def test_a_network_goes_to_a_hub_and_comes_back_also_without_it(hub, tmp_path):
    assert program(hub, tmp_path, "push", "someone/digits") == {
        "written": ["README.md", "network.safetensors"]
    }
    assert sorted(hub.files["someone/digits"]) == ["README.md", "network.safetensors"]
    assert b"sn.from_pretrained" in hub.files["someone/digits"]["README.md"]
    expected = {"same": True, "about": {"classes": ["a"]}}
    assert program(hub, tmp_path, "pull", "someone/digits") == expected
    hub.close()
    assert program(hub, tmp_path, "pull", "someone/digits") == expected  # from its cache


@on_hub
@pytest.mark.parametrize(
    ("what", "name", "token", "texts"),
    [
        ("pull", "someone/nothing", "hf_good", ["someone/nothing cannot be had from the hub"]),
        (
            "push",
            "someone/digits",
            "hf_bad",
            ["is written but could not be uploaded", "auth login"],
        ),
    ],
)
def test_what_the_hub_refuses_is_one_error(hub, tmp_path, what, name, token, texts):
    found = program(hub, tmp_path, what, name, token)
    assert all(text in found["error"] for text in texts), found
    assert len(found["error"].splitlines()) == 1
    if what == "push":
        assert same(net(), sn.from_pretrained(tmp_path / "folder"))


@on_hub
def test_a_file_from_the_hub_that_is_damaged_is_refused(hub, tmp_path):
    program(hub, tmp_path, "push", "someone/digits")
    files = hub.files["someone/digits"]
    files[NETWORK] = files[NETWORK][:-1] + b"x"
    found = program(hub, tmp_path, "pull", "someone/digits")
    assert found["kind"] == "CheckpointError" and "damaged" in found["error"]


def test_without_its_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SnnsimError, match=r"snnsim\[hub\]"):
        sn.from_pretrained("someone/digits")


# --- networks that come with the package ----------------------------------------------------------


def test_there_are_some():
    assert len(reference_networks()) >= 3


@pytest.mark.parametrize("name", reference_networks())
def test_each_does_what_its_card_says(name):
    from snnsim_datasets import load

    card = (HERE / name / "README.md").read_text()
    said = float(re.search(r"test accuracy \(%\): ([\d.]+)", card)[1])
    found = sn.from_pretrained(name)
    about = found.about
    data = load("spoken-digits", "test", pool=about["encoder"]["pool"])
    scores = evaluate(
        found, data, readout=about["readout"], mask_padding=about["mask_padding"],
        steps=about["steps"],
    )  # fmt: skip
    assert 100 * scores.accuracy == pytest.approx(said, abs=0.9)  # one sample of 120
    assert f"`{content_of(HERE / name / NETWORK)}`" in card
    assert 'license: "apache-2.0"' in card


@pytest.mark.slow
def test_the_command_in_the_card_makes_the_same_weights(tmp_path):
    """Bit for bit, on whatever x86-64 processor this is."""
    name = "spoken-digits-no-delays"
    card = (HERE / name / "README.md").read_text()
    (command,) = re.findall(r"^\$ SNNSIM_PORTABLE=1 snnsim (.+)$", card, re.MULTILINE)
    made_with = dict(re.findall(r"(python|torch|numba) ([\w.+]+)", card))
    if made_with["torch"] != torch.__version__:
        pytest.skip(f"the card is of torch {made_with['torch']}, and this is {torch.__version__}")
    environment = os.environ | {"SNNSIM_PORTABLE": "1"}
    import shlex

    done = subprocess.run(
        [sys.executable, "-m", "snnsim_experiments", *shlex.split(command), "-q", "--out",
         str(tmp_path / "run")],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert content_of(tmp_path / "run" / "best.safetensors") == content_of(HERE / name / NETWORK)


# --- runs for others ------------------------------------------------------------------------------


def test_a_run_becomes_a_folder_with_a_card_that_the_command_line_takes(snnsim, run, tmp_path):
    folder = tmp_path / "digits"
    done = snnsim("share", run, folder, "--license", "mit", "-q", "--json")
    assert done.code == 0 and json.loads(done.out) == {"out": str(folder)}, done.err
    card = (folder / "README.md").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert f"test accuracy (%): {100 * summary['test_accuracy']:.4g}" in card
    for text in ('license: "mit"', "model-index:", "$ snnsim spoken-digits train", "SHA-256",
                 "multiply-accumulations per sample", "## Limits"):  # fmt: skip
        assert text in card, text
    assert "--out" not in card and str(run) not in card
    from command import TEST_FILE

    answers = [snnsim("predict", each, TEST_FILE, "--json").out for each in (run, folder)]
    assert answers[0] == answers[1] and len(json.loads(answers[0])) == 120


@on_hub
def test_the_head_of_a_card_is_what_the_hub_reads(snnsim, run, tmp_path):
    from huggingface_hub import ModelCard

    assert snnsim("share", run, tmp_path / "digits", "--license", "mit", "-q").code == 0
    data = ModelCard.load(tmp_path / "digits" / "README.md").data
    assert data.library_name == "snnsim" and data.license == "mit"
    assert data.tags == ["spiking-neural-network", "spoken-digits"]
    (result,) = data.eval_results
    summary = json.loads((run / "summary.json").read_text())
    assert result.metric_type == "accuracy" and result.dataset_split == "test"
    assert result.metric_value == pytest.approx(100 * summary["test_accuracy"], abs=0.01)


def test_names_from_data_do_nothing_in_a_card(snnsim, tmp_path):
    from reported_runs import NAMES, of_function

    run = of_function(snnsim, "classes", tmp_path / "run")
    done = snnsim("share", run, tmp_path / "a|b", "-q")
    assert done.code == 0, done.err
    card = (tmp_path / "a|b" / "README.md").read_text()
    assert not any(name in card for name in (NAMES[0], NAMES[2]))
    assert r"\<b\>one\</b\>" in card
    for line in card.splitlines():
        if line.startswith("|") and "---" not in line:
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4), line


@pytest.mark.parametrize(
    ("make", "text"),
    [
        ("stream", "stream of tasks"), ("young", "its first epoch is not over"),
        ("itself", "is the folder of a run"), ("nothing", "does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused(snnsim, run, tmp_path, make, text):
    from reported_runs import on_stream

    folder, out = tmp_path / "run", tmp_path / "out"
    if make == "stream":
        on_stream(snnsim, folder)
    elif make != "nothing":
        shutil.copytree(run, folder)
    if make == "young":
        (folder / "best.safetensors").unlink()
    if make == "itself":
        out = folder
    done = snnsim("share", folder, out, "-q")
    assert done.code == 1 and text in done.err, done
    assert make == "itself" or not out.exists()


def test_the_module_says_what_is_public():
    assert set(pretrained.__all__) <= set(dir(pretrained))
    assert sn.from_pretrained is pretrained.from_pretrained
