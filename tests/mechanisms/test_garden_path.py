"""Garden paths: a beginning that hints, at the wrong class in some, and a late cue that tells."""

from __future__ import annotations

import numpy as np
import pytest
from snnsim_datasets.synthetic import garden_path
from snnsim_experiments.analysis_checks import recode as check

from snnsim.analysis.report import Figure, Report
from snnsim.errors import ConfigError


@pytest.mark.parametrize("misled", [0.0, 0.3, 1.0])
def test_the_hint_is_wrong_in_as_many_samples_as_it_says_and_the_cue_in_none(misled):
    data = garden_path(400, misled=misled, steps=400, late=300, seed=3)
    groups = data.x.reshape(400, 400, 4, 6).mean(3)
    hint = groups[:, :300, :2].mean(1).argmax(1)
    cue = groups[:, 300:, 2:].mean(1).argmax(1)
    assert (cue == data.target).all() and (data.target == 1).sum() == 200
    assert (hint != data.target).sum() == round(misled * 400)
    assert np.abs(groups[:, :300, 2:].mean() - 0.05) < 0.01  # no cue before, no hint after
    assert np.abs(groups[:, 300:, :2].mean() - 0.05) < 0.01


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"samples": 0}, "samples is 0"), ({"misled": 1.1}, "misled is 1.1"),
        ({"late": 40}, "late is 40 but must be less than steps, 40"), ({"late": 0}, "late is 0"),
        ({"steps": 1}, "steps is 1"),
    ],
)  # fmt: skip
def test_paths_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        garden_path(**{"samples": 4} | wrong)


@pytest.mark.parametrize(
    ("down", "up", "passed"), [(1.0, 0.0, True), (0.995, 0.0, False), (1.0, 0.005, False)]
)
def test_the_check_wants_surer_answers_down_and_not_up(monkeypatch, down, up, passed):
    plain = {f"steps to recover at {level}": Figure(2.0, 3.0) for level in ("0", "0.05", "1", "-1")}
    plain |= {"entropy falls at 0.05": Figure(1.0), "entropy falls at -0.05": Figure(0.0)}
    changed = {"entropy falls at 0.05": Figure(down), "entropy falls at -0.05": Figure(up)}
    reports = {"spiking": plain, "gru": plain | changed}
    monkeypatch.setattr(check, "_probed", lambda kind, *_: Report("recode", reports[kind]))
    found = check.run()
    assert found.passed is passed
    assert found.figures["gru, surer"] == down and found.control["gru, surer"] == up
    assert found.figures["gru, steps at -1"] == 2.0 and found.control["gru, steps at -1"] == 3.0
