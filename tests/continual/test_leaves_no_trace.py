"""A method that is detached leaves a learner as it found it, also where something broke off."""

import contextlib
import copy
import itertools
import linecache
import sys
from pathlib import Path

import pytest
import torch
from small import learner

from snnsim import continual
from snnsim.continual import ContinualTrainer, ContinualWatcher, Method, methods, task_recipe
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.errors import ConfigError
from snnsim.synapses import Delayed

RECIPE = task_recipe(epochs=1, batch_size=42, lr=0.1)  # a step per task
NAMES = methods.names()
KINDS = ("dense", "axonal", "recurrent")
PLAIN = (bool, int, float, str, type(None))
OF_TRAINING = ("_width_is_managed", "_has_trained")  # a delayed layer's own notes of it
PACKAGE = str(Path(continual.__file__).parent)
OF_ALL_MODULES = [name for name in vars(torch.nn.modules.module) if name.startswith("_global")]


def takes(name, kind):
    """Whether a method takes the small network of this kind: SHARP needs layers behind neurons."""
    return name != "sharp" or kind == "dense"


def detach(method):
    """What lets go of a learner: all that ``attach`` and training put there is taken away."""
    method.detach()


def made_for(name, kind="dense"):
    return learner("task" if name == "hypernetwork" else "class", kind)


def identity(value):
    """A value if it is a plain one, else which object it is; of a dict (hooks, parameters) both."""
    if isinstance(value, dict):
        return [(key, identity(each)) for key, each in value.items()]
    return value if isinstance(value, PLAIN) else id(value)


def structure(made):
    """Everything about a learner but the values of its tensors.

    Of every module: its class and all its attributes, among which are its training mode and the
    dictionaries of its hooks, parameters and modules; of every parameter also its hooks and
    whether it is trained; and the hooks of all modules together.
    """
    found = {name: identity(getattr(torch.nn.modules.module, name)) for name in OF_ALL_MODULES}
    for name, module in made.named_modules():
        attributes = vars(module) | {"_buffers": dict.fromkeys(module._buffers)}
        found[name] = {key: identity(value) for key, value in attributes.items()}
        found[name] |= {"type": type(module)} | dict.fromkeys(OF_TRAINING)
    for name, parameter in made.named_parameters():
        hooks = (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
        found[name] = (parameter.requires_grad, [list((each or {}).values()) for each in hooks])
    return found


@contextlib.contextmanager
def interrupted(count):
    """Ctrl-C before the ``count``-th line of the methods' package that is run; it stays in here.

    Yields what has been seen: the number of lines, and whether one of them was interrupted.
    """
    seen = {"lines": 0, "interrupted": False}

    def follow(frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not text.startswith("with "):  # which is also the line of its end
            seen["lines"] += 1
            if seen["lines"] == count:
                seen["interrupted"] = True
                raise KeyboardInterrupt
        return follow

    before = sys.gettrace()
    sys.settrace(follow)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield seen
    finally:
        sys.settrace(before)


def assert_same(found, expected):
    for key in expected.keys() | found.keys():
        assert found.get(key) == expected.get(key), key


class Interrupt(ContinualWatcher):
    """Ctrl-C when the body is about to run for the n-th time; one use, and it is gone."""

    def __init__(self, made, count):
        self.left = count
        self.layer = made.body[len(made.body) - 1]
        self.handle = self.layer.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        self.left -= 1
        if self.left == 0:
            self.release()
            raise KeyboardInterrupt

    def release(self):
        self.handle.remove()


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in NAMES for k in KINDS if takes(n, k)])
def test_attached_and_detached_is_as_before(name, kind):
    made, method = made_for(name, kind), methods.get(name)()
    before, values = structure(made), copy.deepcopy(made.state_dict())
    method.attach(made)
    detach(method)
    assert_same(structure(made), before)
    assert made.state_dict().keys() == values.keys()
    for key, value in made.state_dict().items():
        assert torch.equal(value, values[key]), key


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in NAMES for k in KINDS if takes(n, k)])
def test_attach_that_breaks_off_at_any_line_leaves_nothing(name, kind):
    made = made_for(name, kind)
    before, values = structure(made), copy.deepcopy(made.state_dict())
    for count in itertools.count(1):
        method = methods.get(name)()
        with interrupted(count) as seen:
            method.attach(made)
        if not seen["interrupted"]:
            break
        assert_same(structure(made), before)
    assert count > 1
    detach(method)
    assert all(torch.equal(value, values[key]) for key, value in made.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_tasks_that_break_off_anywhere_leave_nothing_once_detached(name):
    def run(count):
        torch.manual_seed(1)
        trainer = ContinualTrainer(made, methods.get(name)(), RECIPE)
        with interrupted(count) as seen:
            trainer._run_task()
            trainer._run_task()
        detach(trainer.method)
        assert_same(structure(made), before)
        return seen

    made = made_for(name, "axonal" if takes(name, "axonal") else "dense")
    before = structure(made)
    lines = run(0)["lines"]
    for part in range(12):
        assert run(1 + part * lines // 13)["interrupted"]


@pytest.mark.parametrize("name", NAMES)
def test_a_trainer_that_is_refused_lets_go_of_the_learner(name):
    made = made_for(name)
    before = structure(made)
    with pytest.raises(ConfigError, match="the network has no delays"):
        ContinualTrainer(made, methods.get(name)(), task_recipe(lr_delay=0.1))
    assert_same(structure(made), before)


def test_a_trainer_lets_go_also_where_a_method_has_its_own_attach():
    class Own(Method):
        def attach(self, learner, optimizer="sgd"):
            super().attach(learner, optimizer)
            self.on_detach(learner.body.register_forward_hook(lambda *_: None).remove)
            raise ZeroDivisionError

    made = made_for("fine-tuning")
    before = structure(made)
    with pytest.raises(ZeroDivisionError):
        ContinualTrainer(made, Own(), RECIPE)
    assert_same(structure(made), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_in_evaluation_stays_so_when_it_is_let_go(name):
    trainer = ContinualTrainer(
        made_for(name, "axonal" if takes(name, "axonal") else "dense"), methods.get(name)(), RECIPE
    )
    trainer._run_task()
    trainer._run_task()
    trainer.learner.eval()
    detach(trainer.method)
    assert not any(module.training for module in trainer.learner.modules())


@pytest.mark.parametrize(
    ("name", "kind", "tasks"),
    [
        (name, kind, tasks)
        for name in NAMES
        for kind, tasks in [("axonal", 1), ("axonal", 2), ("dense", 2)]
        if takes(name, kind)
    ],
)
def test_only_values_have_changed_where_tasks_were_trained(name, tasks, kind):
    torch.manual_seed(1)
    made = made_for(name, kind)
    before = structure(made)
    trainer = ContinualTrainer(made, methods.get(name)(), RECIPE)
    for _ in range(tasks):
        trainer._run_task()
    detach(trainer.method)
    assert_same(structure(made), before)
    assert all(torch.isfinite(value).all() for value in made.state_dict().values())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("hypernetwork", "sharp")])
def test_a_network_answers_after_the_method_has_gone_as_it_did_before(name):
    torch.manual_seed(1)
    trainer = ContinualTrainer(made_for(name), methods.get(name)(), RECIPE)
    trainer._run_task()
    trainer._run_task()
    made = trainer.learner.eval()
    batch = made.stream.tasks[1].train.batch(range(12))
    with torch.no_grad():
        expected = made.scores(batch.x, 1, batch.lengths)
        detach(trainer.method)
        torch.testing.assert_close(
            made.scores(batch.x, 1, batch.lengths), expected, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("name", NAMES)
def test_fine_tuning_afterwards_is_bit_for_bit_that_of_a_fresh_learner(name):
    results = []
    for attached in (False, True):
        made = made_for(name, "axonal" if takes(name, "axonal") else "dense")
        if attached:
            method = methods.get(name)()
            method.attach(made)
            detach(method)
        torch.manual_seed(3)
        trainer = ContinualTrainer(made, FineTuning(), RECIPE)
        summary = trainer.run()
        results.append((summary["matrix"], summary["parameters"], made.state_dict()))
    (matrix, count, values), (again, count_again, found) = results
    assert found.keys() == values.keys()
    assert all(torch.equal(found[key], value) for key, value in values.items())
    assert (again, count_again) == (matrix, count)


@pytest.mark.parametrize("name", NAMES)
def test_a_learner_can_be_given_to_one_method_after_the_other(name):
    made, first = made_for(name), methods.get(name)()
    first.attach(made)
    detach(first)
    second = methods.get(name)()
    torch.manual_seed(3)
    ContinualTrainer(made, second, RECIPE)._run_task()
    fresh = made_for(name)
    torch.manual_seed(3)
    ContinualTrainer(fresh, methods.get(name)(), RECIPE)._run_task()
    assert made.state_dict().keys() == fresh.state_dict().keys()
    assert all(torch.equal(v, fresh.state_dict()[k]) for k, v in made.state_dict().items())


def test_detaching_twice_or_before_attaching_does_no_harm():
    for name in NAMES:
        method, made = methods.get(name)(), made_for(name)
        detach(method)
        before = structure(made)
        method.attach(made)
        detach(method)
        detach(method)
        assert_same(structure(made), before)


@pytest.mark.parametrize("call", [2, 5, 9])
@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_run_can_be_detached_too(name, call):
    torch.manual_seed(1)
    made = made_for(name, "axonal" if takes(name, "axonal") else "dense")
    before = structure(made)
    trainer = ContinualTrainer(made, methods.get(name)(), RECIPE)
    interrupt = Interrupt(made, call)
    with contextlib.suppress(KeyboardInterrupt):
        trainer.run()
    interrupt.release()
    detach(trainer.method)
    assert_same(structure(made), before)


def switches(trainer):
    """Modes and switches that a look at the network may only turn for the moment."""
    made, method = trainer.learner, trainer.method
    inner = getattr(method, "inner", method)
    return {
        "observes": (method.observes, inner.observes),
        "learning now": getattr(inner, "learning_now", None),
        "modes": {name: module.training for name, module in made.named_modules()},
        "delays": [m.profile for m in made.modules() if isinstance(m, Delayed)],
    }


@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("name", [n for n in NAMES if n != "fine-tuning"])
def test_an_interruption_anywhere_leaves_no_switch_turned(name, call):
    torch.manual_seed(1)
    trainer = ContinualTrainer(made_for(name), methods.get(name)(), RECIPE)
    trainer._run_task()
    trainer.learner.train()
    before = switches(trainer)
    interrupt = Interrupt(trainer.learner, call)
    with contextlib.suppress(KeyboardInterrupt):
        trainer._run_task()
    interrupt.release()
    assert_same(switches(trainer), before)


def test_parameters_are_in_their_order_when_adapters_have_gone():
    made, method = made_for("ilora", "axonal"), methods.get("ilora")()
    before = [name for name, _ in made.named_parameters()]
    method.attach(made)
    detach(method)
    assert [name for name, _ in made.named_parameters()] == before


@pytest.mark.parametrize("on", ["hlop", "gpm", "owm", "ewc"])
def test_subspaces_learn_on_after_an_interrupted_refresh(on):
    torch.manual_seed(1)
    trainer = ContinualTrainer(made_for(on), methods.get("refresh")(on=on), RECIPE)
    trainer._run_task()
    batch = trainer.stream.tasks[1].train.batch(range(12))
    interrupt = Interrupt(trainer.learner, 1)
    buffers = [b.clone() for b in trainer.learner.buffers()]
    with pytest.raises(KeyboardInterrupt):
        trainer.method.on_batch(batch, 1)
    interrupt.release()
    assert trainer.method.observes and trainer.method.inner.observes
    assert all(torch.equal(a, b) for a, b in zip(buffers, trainer.learner.buffers(), strict=True))


def test_hooks_of_before_are_called_and_named_once():
    called = []
    with pytest.warns(FutureWarning, match="Old.begin_task is now called Old.on_task_start"):

        class Old(Method):
            def begin_task(self, task):
                called.append(("begin_task", task))

            def after_step(self, task):
                called.append(("after_step", task))

    made = learner("class")
    recipe = task_recipe(epochs=1, batch_size=100)
    ContinualTrainer(made, Old(), recipe).run()
    tasks = range(len(made.stream))
    assert called == [(name, task) for task in tasks for name in ("begin_task", "after_step")]
