"""``snnsim continual`` as a user types it."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from command import snnsim
from snnsim_datasets import images
from snnsim_datasets.tools.images import Images
from snnsim_experiments import Place
from snnsim_experiments.configuration import config_names, resolve
from snnsim_experiments.continual import networks
from snnsim_experiments.continual.streams import build, names

from snnsim.continual import (
    ContinualTrainer,
    ContinualWatcher,
    methods,
    split_by_class,
    task_recipe,
)
from snnsim.errors import ConfigError, DataError

SMALL = ["--set", "network.hidden=[12]", "--set", "training.epochs=1", "--set", "stream.per_task=5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 200 and 100 made-up images in MNIST's packed form."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 200), ("test", 100)):
        labels = np.arange(count) % 10
        noise = generator.integers(0, 80, (count, 28, 28))
        noise[np.arange(count), labels * 2] += 150
        arrays[f"x_{part}"], arrays[f"y_{part}"] = noise.astype(np.uint8), labels.astype(np.uint8)
    path = tmp_path_factory.mktemp("mnist")
    np.savez(path / "mnist_full.npz", **arrays)
    return path


def test_a_run_writes_what_it_promises(tmp_path):
    out = tmp_path / "run"
    options = ["--stream", "spoken-digits", "--method", "hlop", "--out", out, "-q", *SMALL]
    result = snnsim("run", *options, "--seeds", "0,1", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(result.stdout)["acc"] == summary["acc"]
    assert {"acc", "bwt", "fwt", "forgetting", "matrix", "memory_bytes"} <= summary.keys()
    assert summary["seeds"] == [0, 1] and len(summary["seconds_per_task"]) == 4
    each = [json.loads((out / f"seed{s}" / "summary.json").read_text()) for s in (0, 1)]
    assert summary["acc"] == pytest.approx(np.mean([s["acc"] for s in each]))
    assert summary["std"]["acc"] == pytest.approx(np.std([s["acc"] for s in each], ddof=1))
    matrix = np.array(each[0]["matrix"])
    assert each[0]["acc"] == pytest.approx(matrix[-1].mean())
    again = snnsim("run", *options)
    assert isinstance(again.exception, ConfigError) and "--resume" in str(again.exception)
    resumed = snnsim("run", *options, "--seeds", "0,1", "--resume", "--json")
    assert json.loads(resumed.stdout)["matrix"] == summary["matrix"]


def test_compare_goes_on_when_a_method_is_refused(tmp_path):
    result = snnsim(
        "compare", "--stream", "spoken-digits", "--methods", "fine-tuning,hlop", "--out",
        tmp_path / "c", "-q", *SMALL, "--set", "network.connections=synaptic",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert rows[0]["method"] == "fine-tuning" and "acc" in rows[0]
    assert "own delays" in rows[1]["refused"]


COMPARE = ["compare", "--stream", "spoken-digits", "-q", *SMALL]


def test_mistakes_stop_a_comparison_before_it_writes(tmp_path):
    out = tmp_path / "c"
    for options, words in (
        (["--methods", "ewc", "--seeds", "0,0"], "different values"),
        (["--methods", "ewc,ewc"], "different values"),
        (["--methods", "ewc,"], "different values"),
        (["--methods", "ewc", "--set", "network.hidden=[0]"], "layer's size is 0"),
        (["--methods", "ewc", "--root", tmp_path / "none"], "no root"),
    ):
        result = snnsim(*COMPARE, *options, "--out", out)
        assert isinstance(result.exception, ConfigError | DataError), (options, result.output)
        assert words in str(result.exception)
        assert not out.exists()


def test_a_comparison_is_not_overwritten_and_goes_on(tmp_path):
    out = tmp_path / "c"
    assert snnsim(*COMPARE, "--methods", "fine-tuning", "--out", out).exit_code == 0
    before = (out / "comparison.json").read_text()
    again = snnsim(*COMPARE, "--methods", "fine-tuning", "--out", out)
    assert isinstance(again.exception, ConfigError) and "--resume" in str(again.exception)
    assert (out / "comparison.json").read_text() == before
    more = snnsim(*COMPARE, "--methods", "ewc", "--out", out, "--resume")
    assert more.exit_code == 0, more.output
    rows = json.loads((out / "comparison.json").read_text())
    assert [row["method"] for row in rows] == ["fine-tuning", "ewc"]
    assert rows[0] == json.loads(before)[0]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    foreign = snnsim(*COMPARE, "--methods", "ewc", "--out", tmp_path / "other", "--resume")
    assert "not a comparison" in str(foreign.exception)


def test_a_method_that_diverges_does_not_stop_the_others(tmp_path, monkeypatch):
    ewc = methods.get("ewc")
    monkeypatch.setattr(ewc, "loss", lambda self, ce, *_: ce * float("nan"))
    out = tmp_path / "c"
    result = snnsim(*COMPARE, "--methods", "ewc,fine-tuning", "--out", out)
    assert result.exit_code == 1
    rows = json.loads((out / "comparison.json").read_text())
    assert "not finite" in rows[0]["failed"] and "acc" in rows[1]
    assert "not finite" in result.output


def test_a_run_leaves_alone_what_is_not_its_own(tmp_path):
    options = ["run", "--stream", "spoken-digits", "-q", *SMALL]
    file = tmp_path / "file"
    file.write_text("mine")
    result = snnsim(*options, "--method", "ewc", "--out", file)
    assert "is a file" in str(result.exception)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "summary.json").write_text("{}")
    result = snnsim(*options, "--method", "ewc", "--out", foreign)
    assert "not a run" in str(result.exception)
    out = tmp_path / "run"
    assert snnsim(*options, "--method", "ewc", "--out", out).exit_code == 0
    before = (out / "summary.json").read_text()
    for extra in (["--method", "si"], ["--method", "si", "--resume"], ["--method", "ewc"]):
        assert isinstance(snnsim(*options, *extra, "--out", out).exception, ConfigError)
    other = ["--method", "ewc", "--resume", "--set", "method.strength=3"]
    assert "method.strength" in str(snnsim(*options, *other, "--out", out).exception)
    assert (out / "summary.json").read_text() == before


def test_a_refused_run_leaves_its_folder_free(tmp_path):
    options = ["run", "--stream", "spoken-digits", "-q", *SMALL, "--out", tmp_path / "r"]
    refused = snnsim(*options, "--method", "hypernetwork", "--set", "stream.scenario=class")
    assert "not known at test time" in str(refused.exception)
    assert snnsim(*options, "--method", "fine-tuning").exit_code == 0


def test_resuming_nothing_says_so(tmp_path):
    options = ["run", "--stream", "spoken-digits", "--method", "ewc", *SMALL]
    result = snnsim(*options, "--resume", "--out", tmp_path / "new")
    assert result.exit_code == 0 and "there is no run in" in result.output


def test_list_names_everything():
    found = json.loads(snnsim("list", "--json").stdout)
    assert set(found["methods"]) == set(methods.names())
    assert set(found["streams"]) == set(names())
    assert all(found["methods"].values())


@pytest.mark.parametrize("name", config_names("pmnist", stream=True))
@pytest.mark.parametrize("method", methods.names())
def test_every_configuration_fits_every_method(name, method):
    assert resolve("pmnist", method=method, config=name).method == method


def test_mistakes_are_named():
    for stream, method, changes, words in (
        ("pminst", "hlop", [], "pmnist"),
        ("pmnist", "hlp", [], "hlop"),
        ("pmnist", "ewc", ["method.strengh=3"], "strength"),
        ("pmnist", "ewc", ["training.lr=-1"], "finite number at least 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve(stream, method=method, changes=changes)


def test_streams_of_images(folder):
    permuted = build("pmnist", str(folder), tasks=3, validation=False)
    assert len(permuted) == 3 and len(permuted.tasks[0].train) == 200
    turned = build("rotated-mnist", str(folder), tasks=2, turn=90.0)
    still, quarter = (task.test.batch([0]).x.view(28, 28) for task in turned.tasks)
    assert np.abs(np.rot90(still.numpy(), 1) - quarter.numpy()).max() < 1e-3 or (
        np.abs(np.rot90(still.numpy(), -1) - quarter.numpy()).max() < 1e-3
    )
    split = build("split-mnist", str(folder), scenario="class", per_task=2)
    assert [task.classes for task in split.tasks] == [2, 4, 6, 8, 10]


def test_options_are_chosen_on_what_is_held_out(folder):
    apart = build("split-mnist", str(folder), evaluate="validation")
    usual = build("split-mnist", str(folder))
    for mine, task in zip(apart.tasks, usual.tasks, strict=True):
        assert (
            mine.validation is None and mine.train.indices.tolist() == task.train.indices.tolist()
        )
        assert mine.test.indices.tolist() == task.validation.indices.tolist()
    with pytest.raises(ConfigError, match="nothing is held out"):
        build("split-mnist", str(folder), evaluate="validation", validation=False)
    voices = build("speakers-spoken-digits", None, evaluate="validation")
    for mine, task in zip(voices.tasks, build("speakers-spoken-digits", None).tasks, strict=True):
        both = np.concatenate([mine.train.indices, mine.test.indices])
        assert sorted(both) == list(range(len(task.train)))
        assert len(task.train) // 5 <= len(mine.test) <= -(-len(task.train) // 5)
    trained = {label for task in voices.tasks for label in task.train.labels}
    assert trained == set(range(20))  # no class is only ever tested


def test_five_sets_on_one_canvas_through_convolutions(folder, tmp_path):
    root = tmp_path / "five"
    with np.load(folder / "mnist_full.npz") as stored:
        grey = {name: stored[name] for name in stored}
    colour = {n: np.stack([v] * 3, -1) if n[0] == "x" else v for n, v in grey.items()}
    names = {
        "cifar10": "cifar10_small.npz", "mnist": "mnist_full.npz", "svhn": "svhn.npz",
        "fashion_mnist": "fashion_full.npz", "notmnist": "notmnist.npz",
    }  # fmt: skip
    for name, file in names.items():
        (root / name).mkdir(parents=True)
        np.savez(root / name / file, **(colour if name in ("cifar10", "svhn") else grey))
    stream = build("5-datasets", str(root))
    shapes = {tuple(task.test.batch([0, 1]).x.shape) for task in stream.tasks}
    assert shapes == {(1, 2, 3, 32, 32)}
    result = snnsim(
        "run", "--stream", "5-datasets", "--method", "hlop", "--root", root, "--out",
        tmp_path / "f", "-q", "--set", "network.convolutions=[4, 5]", "--set",
        "network.residual=[]", "--set", "network.steps=3", "--set", "training.epochs=1", "--set",
        "method.sizes=[[3, 4]]", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["matrix"]) == 5


@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({"residual": [20, 40, 80, 160]}, 1_094_207),
        ({"convolutions": [64, 128, 256], "norm": True}, 412_237),
    ],
    ids=["resnet18", "cnn"],
)
def test_networks_of_the_published_protocols_have_their_size(options, published):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (20, 3, 32, 32)).astype(np.uint8)
    names_ = tuple("abcdefghij")
    data = Images(pixels, np.arange(20) % 10, names_, (0.5,) * 3, (0.2,) * 3, flat=False)
    stream = split_by_class("ten", (data, None, data), 10, "task")
    learner = networks.build(stream, learning="dsr", steps=2, **options)
    biases_of_the_head = 10  # the head of this project has none
    assert sum(p.numel() for p in learner.parameters()) == published - biases_of_the_head
    scores = learner.scores(data.batch(range(4)).x, 0)
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters())


@pytest.mark.parametrize(
    ("name", "size", "classes"),
    [("split-cifar100", 32, 100), ("5-datasets", 32, 10), ("split-mini-imagenet", 84, 100)],
)
def test_published_subspaces_fit_the_published_networks(name, size, classes):
    config = resolve(name, method="hlop")
    pixels = np.zeros((classes, 3, size, size), dtype=np.uint8)
    labels, names_ = np.arange(classes), tuple(map(str, range(classes)))
    data = Images(pixels, labels, names_, (0.5,) * 3, (0.2,) * 3, flat=False)
    per_task = config.data["per_task"] if name != "5-datasets" else classes
    stream = split_by_class(name, (data, None, data), per_task, "task")
    learner = networks.build(stream, model=config.model, **config.network)
    method = methods.get("hlop")(**config.method_options)
    method.attach(learner, config.recipe.plain)
    method.on_task_start(0)
    for subspace, count in zip(
        method.subspaces.values(), config.method_options["sizes"][0], strict=True
    ):
        assert len(subspace.rows) == count <= subspace.size


def test_hlop_protects_a_residual_network():
    pixels = np.random.default_rng(1).integers(0, 255, (40, 3, 12, 12)).astype(np.uint8)
    names_ = tuple("abcd")
    data = Images(pixels, np.arange(40) % 4, names_, (0.5,) * 3, (0.2,) * 3, flat=False)
    stream = split_by_class("four", (data, None, data), 2, "task")
    learner = networks.build(stream, residual=[4, 6], steps=2, gain=2.0)
    method = methods.get("hlop")(solver="covariance", fraction=0.001)
    recipe = task_recipe(batch_size=8, lr=0.01)
    assert np.isfinite(ContinualTrainer(learner, method, recipe).run()["matrix"]).all()
    sizes = {name: len(s.frozen) + len(s.rows) for name, s in method.subspaces.items()}
    assert len(sizes) == 10 and min(sizes.values()) > 0, sizes  # stem, 4 x 2, a shortcut


def test_mini_imagenet_is_read_without_running_what_a_pickle_asks_for(tmp_path):
    generator = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 12)):
        stored = {
            "images": list(generator.integers(0, 255, (count, 84, 84, 3)).astype(np.uint8)),
            "labels": [i % 6 for i in range(count)],
        }
        (tmp_path / f"{part}.pkl").write_bytes(pickle.dumps(stored))
    data = images.load("mini-imagenet", "test", tmp_path)
    assert data.batch([0, 1]).x.shape == (1, 2, 3, 84, 84)
    assert len(images.load("mini-imagenet", "train_all", tmp_path)) == 60
    (tmp_path / "test.pkl").write_bytes(pickle.dumps({"images": Path("x"), "labels": []}))
    with pytest.raises(DataError, match="asks for pathlib"):
        images.load("mini-imagenet", "test", tmp_path)
    with pytest.raises(DataError, match="put train.pkl and test.pkl"):
        images.load("mini-imagenet", "test", tmp_path / "empty")


def test_a_curriculum_goes_on_when_a_task_is_learnt(tmp_path):
    options = ["--stream", "parity", "--method", "fine-tuning", "-q", "--out", tmp_path / "r"]
    sets = ["stream.tasks=2", "stream.samples=64", "network.hidden=[8]", "training.epochs=4"]
    changes = [a for text in [*sets, "training.until=0.01"] for a in ("--set", text)]
    result = snnsim("run", *options, *changes, "--json")
    assert result.exit_code == 0, result.output
    learner = networks.build(build("parity", None, tasks=2, samples=64), hidden=[8])
    counted = []

    class Count(ContinualWatcher):
        def step_done(self, task, step, loss):
            counted.append((task, step))

    for until, epochs in ((0.01, 1), (1.0, 3)):
        counted.clear()
        recipe = task_recipe(epochs=3, batch_size=32, until=until)
        method = methods.get("fine-tuning")()
        ContinualTrainer(learner, method, recipe, watcher=Count()).run()
        assert len(counted) == 2 * 2 * epochs  # tasks, steps per epoch


def test_a_split_of_its_own_is_chosen_by_name(folder):
    with pytest.raises(ConfigError, match="has only one split"):
        build("split-mnist", str(folder), protocol="speaker")
    with pytest.raises(ConfigError, match="protocol"):
        build("split-gsc", str(folder), protocol="speakers")


def test_a_curriculum_of_bits_has_the_right_answers():
    stream = build("parity", None, tasks=3, samples=200)
    for memory, task in zip((2, 3, 4), stream.tasks, strict=True):
        batch = task.train.batch(range(200))
        assert memory + 2 <= int(batch.lengths.min()) <= int(batch.lengths.max()) <= 4 * memory + 2
        for b in range(200):
            bits = batch.x[: int(batch.lengths[b]), b, 0]
            assert int(bits[-memory:].sum()) % 2 == int(batch.labels[b])
            assert not batch.x[int(batch.lengths[b]) :, b].any()
    assert 0.3 < stream.tasks[2].train.labels.mean() < 0.6
    with pytest.raises(ConfigError, match="same two answers"):
        build("parity", None, scenario="class")


def test_every_step_of_a_repeated_image_counts(folder):
    stream = build("split-mnist", str(folder), per_task=5)
    learner = networks.build(stream, hidden=[30], steps=4)
    batch = stream.tasks[0].test.batch(range(8))
    y = learner.outputs(batch.x, 0)
    assert y.shape[0] == 4 and not torch.equal(y[0], y[1])
    assert torch.equal(learner.scores(batch.x, 0, batch.lengths), y.mean(0))


def test_published_protocol_runs_on_images(folder, tmp_path):
    result = snnsim(
        "run", "--stream", "pmnist", "--method", "hlop", "--root", folder, "--out",
        tmp_path / "p", "-q", "--set", "stream.tasks=2", "--set", "network.hidden=[20, 20]",
        "--set", "method.sizes=[[5, 4, 4], [3, 3, 3]]", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["matrix"]) == 2


def test_missing_files_are_named_with_the_place_to_put_them(tmp_path):
    for name in images.names():
        with pytest.raises(DataError, match="put"):
            images.load(name, "train", tmp_path, download=False)


def test_damaged_image_files_are_refused(tmp_path):
    (tmp_path / "mnist_full.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a readable"):
        images.load("mnist", "train", tmp_path)


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        ("split-spoken-digits", "stream.tasks=4"),
        ("speakers-spoken-digits", "stream.per_task=2"),
        ("pmnist", "stream.turn=20"),
        ("pmnist", "stream.scenario=class"),
        ("parity", "stream.order_seed=3"),
        ("5-datasets", "stream.protocol=speaker"),
    ],
)
def test_an_option_that_a_stream_would_ignore_is_refused(stream, change, tmp_path):
    options = ["--stream", stream, "--method", "fine-tuning", "--out", tmp_path / "r"]
    result = snnsim("run", *options, "--set", change)
    assert result.exit_code
    assert f"{change.split('=')[0]} has no effect on {stream}" in str(result.exception)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("stream", "changes", "name"),
    [
        ("parity", ["network.dropout=0.5"], "dropout"),
        ("parity", ["network.steps=50"], "steps"),
        ("pmnist", ["network.stem=5"], "stem"),
        ("pmnist", ["network.max_delay_steps=3"], "max_delay_steps"),
        ("pmnist", ["network.learning=dsr", "network.tau_mem=3.0"], "tau_mem"),
        ("split-spoken-digits", ["network.baseline=gru", "network.hidden=[3]"], "hidden"),
    ],
)
def test_an_option_that_a_network_would_ignore_is_refused(stream, changes, name):
    with pytest.raises(ConfigError, match=f"network.{name} has no effect"):
        resolve(stream, method="fine-tuning", changes=changes)


def test_a_comparison_does_not_mix_seeds(tmp_path):
    out = tmp_path / "c"
    both = [*COMPARE, "--out", out, "--methods"]
    assert snnsim(*both, "fine-tuning,owm").exit_code == 0
    mixed = snnsim(*both, "fine-tuning", "--seeds", "0,1", "--resume")
    assert isinstance(mixed.exception, ConfigError)
    assert f"owm in {out} was run with seeds=[0] and not [0, 1]" in str(mixed.exception)
    assert snnsim(*both, "fine-tuning,owm", "--seeds", "0,1", "--resume").exit_code == 0


def test_every_seed_has_a_stream_of_its_own(tmp_path, monkeypatch):
    from snnsim_experiments.continual import run

    asked, original = [], run.streams.build

    def noting(name, root, *rest, **options):
        asked.append(options["seed"])
        return original(name, root, *rest, **options)

    changes = ["stream.tasks=2", "stream.samples=8", "stream.seed=10", "training.epochs=1"]
    config = resolve("parity", method="fine-tuning", changes=changes)
    other = [*changes, "network.connections=dense", "network.learning=dsr"]
    assert resolve("parity", method="fine-tuning", changes=other).network["learning"] == "dsr"
    monkeypatch.setattr(run.streams, "build", noting)
    run.run(config, [2, 5], Place(out=tmp_path / "run", quiet=True))
    assert asked == [12, 15]
