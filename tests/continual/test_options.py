"""Options of methods and recipes that make no sense are refused by name."""

import json
import math

import pytest
import torch
from small import learner
from snnsim_experiments import resolve
from snnsim_experiments.experiment import Experiment

from snnsim.continual import ContinualTrainer, Subspace, methods, task_recipe
from snnsim.errors import CheckpointError, ConfigError
from snnsim.training import checkpoint

WRONG = {
    "der": [{"alpha": -1}, {"beta": -0.1}, {"size": 0}, {"batch_size": 0}],
    "ewc": [{"strength": -1}, {"decay": -1}, {"samples": 0}],
    "gpm": [{"fraction": 5}, {"samples": 0}],
    "hlop": [
        {"fraction": 5}, {"fraction": -1}, {"levels": -5}, {"iterations": -1}, {"max_rows": -1},
        {"sizes": []}, {"sizes": [[-3]]}, {"rates": 0}, {"rates": [0.1, -0.1]},
    ],
    "hypernetwork": [{"chunk": 0}, {"hidden": 0}, {"embedding": 0}, {"strength": -1}],
    "ilora": [{"max_keep": 2}, {"rank": 0}, {"scale": 0}, {"strength": -1}],
    "lwf": [{"strength": -1}, {"temperature": 0}],
    "owm": [{"alpha": -1}, {"alpha": 0}],
    "refresh": [{"size": -1}, {"noise": -1}, {"damping": -1}, {"on": "nothing"}],
    "rehearsal": [{"lr": -1}, {"lr": 0}, {"epochs": 0}, {"per_class": 0}],
    "replay": [{"size": 0}, {"batch_size": 0}],
    "sharp": [
        {"neighbours": -1}, {"phases": 0}, {"horizon": -1}, {"density": 0}, {"temperature": 0},
        {"per_class": 0}, {"samples": 0},
    ],
    "si": [{"strength": -1}, {"damping": 0}],
    "unified": [
        {"outputs": ["logits", "labels"]}, {"alphas": [1]}, {"parameters": "kl"}, {"beta": -1},
        {"temperature": 0}, {"size": 0}, {"batch_size": 0}, {"decay": -1}, {"samples": 0},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"), [(name, each) for name, wrong in WRONG.items() for each in wrong], ids=str
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(ConfigError) as error:
        methods.get(name)(**options)
    wanted = "nothing" if "on" in options else next(iter(options))
    assert wanted in str(error.value)


def test_one_rate_may_be_a_whole_number():
    assert methods.get("hlop")(rates=1).rates == 1


@pytest.mark.parametrize(
    "options",
    [
        {"lr": math.nan}, {"lr": math.inf}, {"lr": -1}, {"later_lr": -1}, {"epochs": 0},
        {"batch_size": 0}, {"momentum": -1}, {"weight_decay": math.nan}, {"until": -1},
        {"lr_delay": -1}, {"checkpoint_steps": -1}, {"optimizer": "adm"}, {"schedule": "cos"},
    ],
    ids=str,
)  # fmt: skip
def test_recipes_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        task_recipe(**options)


# --- names of before -----------------------------------------------------------------------------

RENAMED = [
    ("hlop", "share", "fraction", 0.25), ("hlop", "most_rows", "max_rows", 7),
    ("gpm", "share", "fraction", 0.25), ("ilora", "most", "max_keep", 0.5),
]  # fmt: skip
renamed_options = pytest.mark.parametrize(("name", "before", "now", "value"), RENAMED)


@renamed_options
def test_options_of_before_are_understood_with_one_sentence(name, before, now, value):
    with pytest.warns(FutureWarning, match=f"{before} is now called {now}; the old name works"):
        method = methods.get(name)(**{before: value})
    same = methods.get(name)(**{now: value})
    for made in (method, same):
        options = vars(made) | vars(made).get("options", {})
        assert options[now] == value and before not in options
    with pytest.raises(ConfigError, match=f"{before} and {now} are the same; give one"):
        methods.get(name)(**{before: value, now: value})


def test_a_subspace_takes_its_rows_by_the_name_of_before():
    with pytest.warns(FutureWarning, match="most_rows is now called max_rows"):
        assert Subspace(4, most_rows=3).max_rows == 3


@renamed_options
def test_settings_of_before_are_understood_with_one_sentence(name, before, now, value, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(f"[method]\n{before} = {value}\n[method-{name}]\n{before} = {value}\n")
    ways = [{"changes": [f"method.{before}={value}"]}, {"config": str(file)}]
    for way in ways:
        with pytest.warns(FutureWarning, match=f"method.{before} is now called method.{now}"):
            found = resolve("pmnist", method=name, **way).method_options
        assert found[now] == value and before not in found


@renamed_options
def test_a_run_folder_of_before_has_the_options_of_today(name, before, now, value):
    experiment = resolve("pmnist", method=name, changes=[f"method.{now}={value}"])
    stored = json.loads(json.dumps(experiment.as_json()))
    stored["method_options"][before] = stored["method_options"].pop(now)
    assert Experiment.from_json(stored) == experiment


@pytest.mark.parametrize("wrapped", [False, True])
@renamed_options
def test_a_checkpoint_of_before_is_gone_on_with(name, before, now, value, wrapped, tmp_path):
    def made(value):
        torch.manual_seed(1)
        method = methods.get(name)(**{now: value})
        method = methods.get("refresh")(inner=method, samples=6) if wrapped else method
        recipe = task_recipe(epochs=1, batch_size=42)
        return ContinualTrainer(learner("class"), method, recipe, out=tmp_path)

    trainer = made(value)
    trainer._run_task()
    tensors, values = checkpoint.load(tmp_path / "last.safetensors")
    options = values["method's options"]
    options = options["inner"] if wrapped else options
    options[before] = options.pop(now)
    checkpoint.save(tmp_path / "last.safetensors", tensors, values)
    again = made(value)
    assert again.resume() and again.position.task == 1
    with pytest.raises(CheckpointError, match=f"another method's options: .*{now}"):
        made(value / 2).resume()
