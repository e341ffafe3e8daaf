"""Methods on top of others, and what they may not change."""

import pytest
import torch
from small import CHANNELS, lif, stream

import snnsim as sn
from snnsim.continual import ContinualTrainer, Learner, dense_head, task_recipe
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.continual.methods.gpm import GPM
from snnsim.continual.methods.hlop import HLOP
from snnsim.continual.methods.ilora import ILoRA
from snnsim.continual.methods.lwf import LwF
from snnsim.continual.methods.owm import OWM
from snnsim.continual.methods.refresh import Refresh
from snnsim.continual.methods.rehearsal import Rehearsal
from snnsim.continual.methods.sharp import SHARP
from snnsim.errors import ConfigError


def normed(scenario="task"):
    torch.manual_seed(0)
    layers = (sn.Dense(CHANNELS, 10), sn.BatchNorm(10), lif(10), sn.Dense(10, 10), lif(10))
    return Learner(sn.Sequential(*layers), dense_head(10), stream(scenario))


def batch_of(learner, task):
    return learner.stream.tasks[task].train.batch(range(12))


def statistics(learner):
    return [b.clone() for name, b in learner.named_buffers() if "running" in name]


@pytest.mark.parametrize("inner", [HLOP(), GPM(), OWM()], ids=["hlop", "gpm", "owm"])
def test_unlearning_leaves_alone_what_the_method_within_protects(inner):
    torch.manual_seed(0)
    layers = (sn.Dense(CHANNELS, 16), lif(16))
    learner = Learner(sn.Sequential(*layers), dense_head(16), stream("domain"))
    method = Refresh(inner=inner, size=0.1)
    trainer = ContinualTrainer(learner, method, task_recipe(batch_size=16))
    trainer._run_task()
    method.on_task_start(1)
    learner.train()
    method.on_epoch_start(1)
    name, module = next(iter(inner.connections.items()))
    before = module.weight.detach().clone()
    method.on_batch(batch_of(learner, 1), 1)
    change = (module.weight - before).detach()
    assert change.norm() > 1e-4
    if isinstance(inner, OWM):
        values, axes = torch.linalg.eigh(inner.projectors[name])
        protected = axes[:, values < 0.1]
        assert protected.shape[1] > 0
        assert (change @ protected).norm() < 0.1 * change.norm()
    else:
        frozen = inner.subspaces[name].frozen
        assert len(frozen) > 0
        assert (change @ frozen.t()).abs().max() < 1e-6


def test_unlearning_leaves_batch_statistics_alone():
    learner = normed()
    method = Refresh(inner=FineTuning())
    method.attach(learner)
    learner.train()
    before = statistics(learner)
    method.on_batch(batch_of(learner, 0), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(learner), strict=True))


def test_the_teacher_answers_as_in_evaluation_and_stays():
    learner = normed()
    learner.train()
    learner.scores(batch_of(learner, 0).x, 0)  # statistics unlike those of a batch of task 1
    method = LwF()
    method.attach(learner)
    method.on_task_start(1)
    teacher = {name: value.clone() for name, value in method.kept.items()}
    batch = batch_of(learner, 1)
    found = method.loss(torch.zeros(()), batch, None, 1, range(12))
    learner.load_state_dict(teacher)
    learner.train()
    now = learner.scores(batch.x, 0, batch.lengths)
    learner.load_state_dict(teacher)
    learner.eval()
    exact = learner.scores(batch.x, 0, batch.lengths)
    expected = torch.nn.functional.kl_div(
        (now / 2).log_softmax(1), (exact / 2).softmax(1), reduction="batchmean"
    )
    torch.testing.assert_close(found, 4 * expected, rtol=1e-2, atol=0)
    for name, value in method.kept.items():
        assert torch.equal(value, teacher[name]), name


@pytest.mark.parametrize("wrapper", [Refresh, Rehearsal])
def test_a_method_without_class_scores_cannot_be_wrapped(wrapper):
    with pytest.raises(ConfigError, match="SHARP answers without any"):
        wrapper(inner=SHARP()).attach(normed())


def test_rehearsal_is_refused_where_it_would_train_nothing():
    with pytest.raises(ConfigError, match="ILoRA is tested with other weights"):
        Rehearsal(inner=ILoRA()).attach(normed())
    with pytest.raises(ConfigError, match="tested with other weights"):
        Rehearsal(inner=Refresh(inner=ILoRA())).attach(normed())


def test_modes_of_modules_survive_a_look_in_evaluation():
    learner = normed()
    learner.train()
    method = LwF()
    method.attach(learner)
    method.on_task_start(1)
    learner.body[1].eval()
    method.loss(torch.zeros(()), batch_of(learner, 1), None, 1, range(12))
    assert not learner.body[1].training and learner.body[0].training
