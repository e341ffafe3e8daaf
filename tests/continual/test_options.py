"""Options of methods and recipes that make no sense are refused by name."""

import math

import pytest

from snnsim.continual import methods, task_recipe
from snnsim.errors import ConfigError

WRONG = {
    "der": [{"alpha": -1}, {"beta": -0.1}, {"size": 0}, {"batch_size": 0}],
    "ewc": [{"strength": -1}, {"decay": -1}, {"samples": 0}],
    "gpm": [{"share": 5}, {"samples": 0}],
    "hlop": [
        {"share": 5}, {"share": -1}, {"levels": -5}, {"iterations": -1}, {"most_rows": -1},
        {"sizes": []}, {"sizes": [[-3]]}, {"rates": 0}, {"rates": [0.1, -0.1]},
    ],
    "hypernetwork": [{"chunk": 0}, {"hidden": 0}, {"embedding": 0}, {"strength": -1}],
    "ilora": [{"most": 2}, {"rank": 0}, {"scale": 0}, {"strength": -1}],
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
