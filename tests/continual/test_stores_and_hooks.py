"""What methods are made of: codes, units, stored spikes, buffers, wrappers, hooks."""

import numpy as np
import pytest
import torch
from small import CHANNELS, STEPS, learner, lif

import snnsim as sn
from snnsim import checkpoint
from snnsim.continual import Method, methods
from snnsim.continual.activity import Trunk, pack, unpack
from snnsim.continual.buffer import Buffer
from snnsim.continual.codes import Codes, encode, most_active, nearest
from snnsim.continual.method import freeze_statistics, keeping_buffers, options_of
from snnsim.continual.presynaptic import weight_of
from snnsim.continual.units import Units
from snnsim.continual.wrapper import Wrapper
from snnsim.errors import ConfigError
from snnsim.training import distributed
from snnsim.training.rules import prepare
from snnsim.training.rules.dsr import RateLIF

# --- codes ---


@pytest.mark.parametrize(("share", "expected"), [
    (0.01, [1]), (0.5, [1]), (0.51, [1, 3]), (0.8, [1, 3]), (0.81, [1, 3, 0]), (1.0, [1, 3, 0]),
])  # fmt: skip
def test_the_most_active_units_are_the_fewest_that_hold_the_share(share, expected):
    activity = torch.tensor([2.0, 5.0, 0.0, 3.0])
    mask = most_active(activity, share)
    assert mask.dtype == torch.bool
    assert mask.nonzero()[:, 0].tolist() == sorted(expected)
    assert torch.equal(most_active(activity / 7, share), mask)  # rounding adds no unit


def test_rounding_of_a_sum_adds_no_unit():
    for count in range(2, 12):
        for held in range(1, count):
            assert int(most_active(torch.full((count,), 0.1), held / count).sum()) == held


def test_where_nothing_is_active_there_is_still_one_unit():
    assert int(most_active(torch.zeros(4), 0.9).sum()) == 1


def test_codes_hold_the_units_of_their_own_class_and_only_allowed_ones():
    features = torch.tensor(
        [[0.0, 4.0, 1.0, 9.0], [5.0, 0.0, 0.0, 9.0], [0.0, 4.0, 3.0, 9.0], [3.0, 0.0, 1.0, 9.0]]
    )
    labels = torch.tensor([7, 2, 7, 2])
    allowed = torch.tensor([True, True, True, False])
    codes = encode(features, labels, 0.6, allowed)
    one, two = [False, True, False, False], [True, False, False, False]
    assert codes.relevant.tolist() == [one, two, one, two]
    assert torch.equal(codes.features, features) and torch.equal(codes.labels, labels)
    both = [False, True, True, False]
    assert encode(features, labels, 0.7, allowed).relevant.tolist() == [both, two, both, two]
    every = encode(features, labels, 0.6, torch.ones(4) > 0).relevant.tolist()
    assert every == [[False, False, False, True]] * 4
    # a class that is silent within what is allowed has no unit, rather than one not allowed
    silent = encode(torch.tensor([[3.0, 0.0]]), torch.tensor([0]), 0.9, torch.zeros(2) > 0)
    assert not silent.relevant.any()


@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_scores_are_summed_cosines_of_the_nearest_codes_within_their_units(neighbours):
    generator = torch.Generator().manual_seed(1)
    sets = []
    for count in (4, 5):
        features = torch.rand(count, 6, generator=generator)
        labels = torch.randint(4, (count,), generator=generator)
        sets.append(Codes(features, labels, torch.rand(count, 6, generator=generator) < 0.6))
    x = torch.rand(3, 6, generator=generator)
    expected = np.zeros((3, 5))
    for i, sample in enumerate(x.numpy()):
        cosines = []
        for codes in sets:
            for code, label, within in zip(*(t.numpy() for t in codes), strict=True):
                a, b = sample[within], code[within]
                product = np.linalg.norm(a) * np.linalg.norm(b)
                cosines.append((a @ b / product if product else 0.0, label))
        for cosine, label in sorted(cosines, reverse=True)[:neighbours]:
            expected[i, label] += cosine
    found = nearest(x, sets, neighbours, 5)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_a_silent_sample_is_like_no_code():
    codes = encode(torch.eye(2), torch.tensor([0, 1]), 1.0, torch.ones(2) > 0)
    assert nearest(torch.zeros(1, 2), [codes], 2, 2).tolist() == [[0.0, 0.0]]


# --- units ---


def chain():
    return prepare(
        sn.Sequential(
            sn.Conv2d(2, 4, 3, padding=1), lif((4, 2, 3)), torch.nn.Flatten(2), sn.Dense(24, 5),
            sn.Recurrent(lif(5)), sn.Dense(5, 3, bias=True),
        )
    )  # fmt: skip


def test_blocks_lead_from_units_to_units():
    units = Units(chain())
    assert units.sizes == [4, 5, 3]
    assert [(b.before, b.after) for b in units.blocks] == [(-1, 0), (0, 1), (1, 1), (1, 2)]
    assert [tuple(b.mask.shape) for b in units.blocks] == [(4, 2), (5, 4), (5, 5), (3, 5)]
    assert all(b.mask.dtype == torch.bool and b.mask.all() for b in units.blocks)
    last = units.blocks[-1]
    assert any(p is weight_of(last.module) for p in last.rows())
    assert sorted(tuple(p.shape) for p in last.rows()) == [(3,), (3, 5)]


def test_a_pair_of_channels_has_a_kernel_and_a_channel_all_of_its_pixels():
    image, flat = Units(chain()).blocks[:2]
    mask = torch.zeros(4, 2, dtype=torch.bool)
    mask[1, 0] = mask[3, 1] = True
    full = image.full(mask)
    assert full.shape[:2] == (4, 2)
    flattened = full.flatten(2)
    assert torch.equal(flattened.all(-1), mask) and torch.equal(flattened.any(-1), mask)
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[2, 1] = True
    full = flat.full(mask)
    assert full.shape == (5, 24)
    assert full.nonzero().tolist() == [[2, k] for k in range(6, 12)]


def test_only_what_has_a_row_for_every_unit_is_a_row():
    axonal = sn.Delayed(4, 3, dt=1.0, max_delay_ms=2.0, granularity="axonal", learn_sigma=True)
    assert [tuple(p.shape) for p in Units(sn.Sequential(axonal)).blocks[0].rows()] == [(3, 4, 1)]
    dendritic = sn.Delayed(4, 3, dt=1.0, max_delay_ms=2.0, granularity="dendritic")
    rows = Units(sn.Sequential(dendritic)).blocks[0].rows()
    assert sorted(tuple(p.shape) for p in rows) == [(3, 1), (3, 4, 1)]


def test_activity_is_the_mean_size_of_what_each_unit_sends():
    torch.manual_seed(0)
    net = prepare(
        sn.Sequential(sn.Conv2d(1, 3, 2), torch.nn.Flatten(2), sn.Dense(18, 4), sn.Dense(4, 2))
    )
    x = torch.randn(5, 2, 1, 3, 4)
    first = net[0](x)[0].detach()
    second = net[2](first.flatten(2))[0].detach()
    third = net[3](second)[0].detach()
    found = Units(net).activity(x)
    expected = [first.abs().mean((0, 1, 3, 4)), second.abs().mean((0, 1)), third.abs().mean((0, 1))]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
        assert not a.requires_grad
    assert float(first.min()) < 0
    assert not any(m._forward_pre_hooks for m in net.modules())
    with pytest.raises(Exception, match="18"):
        Units(net).activity(torch.randn(5, 2, 1, 9, 9))
    assert not any(m._forward_pre_hooks for m in net.modules())


def test_networks_that_are_no_chain_of_units_are_refused():
    skipping = sn.Sequential(sn.Dense(4, 4), sn.Skip(sn.Sequential(sn.Dense(4, 4))))
    with pytest.raises(ConfigError, match="chains of layers only"):
        Units(prepare(skipping))
    grouped = sn.Sequential(sn.Dense(3, 4), sn.OverTime(torch.nn.Conv1d(4, 4, 1, groups=2)))
    with pytest.raises(ConfigError, match="from 2 inputs cannot follow 4 units"):
        Units(prepare(grouped))


# --- stored spikes ---


@pytest.mark.parametrize("first", [lif(5), sn.Recurrent(lif(5)), RateLIF(5)])
def test_a_network_is_cut_behind_its_first_neurons(first):
    torch.manual_seed(0)
    net = prepare(sn.Sequential(sn.Dense(4, 5), first, sn.Dense(5, 3), lif(3)))
    trunk = Trunk(net)
    assert trunk.cut == 2
    x = 2 * torch.rand(6, 2, 4)
    early = trunk.early(x)
    assert not early.requires_grad
    assert torch.equal(early, net[1](net[0](x)[0])[0].detach())
    late = trunk.late(early)
    assert late.requires_grad and torch.equal(late, net(x)[0])
    dense, neurons, more, _ = net
    for short in ([dense, neurons], [dense, more]):
        with pytest.raises(ConfigError, match="give the network another layer"):
            Trunk(sn.Sequential(*short))


@pytest.mark.parametrize("shape", [(3,), (8,), (2, 3, 3)])
@pytest.mark.parametrize("height", [1.0, 0.25])
def test_spikes_of_any_shape_and_height_are_packed_as_bits(shape, height):
    generator = torch.Generator().manual_seed(2)
    z = (torch.rand(4, 3, *shape, generator=generator) < 0.4) * height
    packed = pack(z)
    assert torch.equal(unpack(packed), z) and unpack(packed).dtype == z.dtype
    assert packed["bits"].shape == (4, 3, -(-int(np.prod(shape)) // 8))
    assert float(packed["height"]) == height
    silent = torch.zeros(4, 3, *shape)
    assert torch.equal(unpack(pack(silent)), silent)


@pytest.mark.parametrize("value", [0.5, -1.0, 1.0001])
def test_what_is_not_all_of_one_height_is_not_packed(value):
    z = torch.zeros(2, 2, 3)
    z[0, 0, 0], z[1, 1, 1] = 1.0, value
    with pytest.raises(ConfigError, match="all of one height"):
        pack(z)


# --- buffers ---


def test_a_buffer_counts_a_byte_per_value_and_four_per_score():
    made = learner("class")
    buffer = Buffer(3, made, scores=True)
    assert buffer.memory_bytes() == 0 and len(buffer) == 0
    assert buffer.scores.shape == (0, 6)
    long = made.stream.tasks[0].train.batch(range(2)).x
    buffer.add(0, np.array([4, 5]), long, torch.ones(2, 2, requires_grad=True))
    assert buffer.memory_bytes() == 2 * STEPS * CHANNELS + 2 * 6 * 4
    buffer.add(0, np.array([6]), long[:2, :1], torch.ones(1, 2))
    assert buffer.memory_bytes() == 3 * STEPS * CHANNELS + 3 * 6 * 4
    assert not buffer.scores.requires_grad
    plain = Buffer(3, made)
    plain.add(0, np.array([4]), long)
    assert plain.memory_bytes() == STEPS * CHANNELS and plain.scores is None


@pytest.mark.parametrize("scores", [True, False])
def test_a_buffer_comes_back_as_it_was_and_stands_alone(scores):
    torch.manual_seed(0)
    made = learner("class")
    buffer = Buffer(4, made, scores)
    for numbers in ([4, 5, 6], [7, 8, 9]):
        x = made.stream.tasks[1].train.batch(numbers).x
        buffer.add(1, np.array(numbers), x, torch.rand(3, 4) if scores else None)
    stored = buffer.tensors()
    kept = {name: t.clone() for name, t in stored.items()}
    assert int(stored["seen"]) == 6 and int(stored["bytes"]) == STEPS * CHANNELS
    assert ("scores" in stored) == scores
    again = Buffer(4, made, scores)
    again.load(stored)
    assert again.tensors().keys() == kept.keys()
    assert all(torch.equal(t, kept[name]) for name, t in again.tensors().items())
    again.tasks.fill_(0)
    again.numbers.fill_(0)
    if scores:
        again.scores.fill_(0)
    for name, t in kept.items():
        assert torch.equal(buffer.tensors()[name], t), name


def test_buffers_that_hold_nothing_are_refused():
    for size in (0, -3):
        with pytest.raises(ConfigError, match=f"a buffer of {size} samples cannot hold any"):
            Buffer(size, learner("class"))
    Buffer(1, learner("class"))


# --- wrappers ---

ANSWERS = {
    "allowed": torch.tensor(3.0), "training_data": "data", "loss": torch.tensor(5.0),
    "trains": False, "tensors": {"a": torch.tensor(1.0)}, "memory_bytes": 17,
}  # fmt: skip
PASSED = {
    "attach", "detach", "allowed", "on_task_start", "on_epoch_start", "training_data",
    "on_step_start", "on_batch", "loss", "on_gradients", "on_step_end", "on_task_end",
    "trains", "tensors", "load", "memory_bytes",
}  # fmt: skip


class Spy(Method):
    """A method within that writes down what it is asked."""

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name not in PASSED:
            return super().__getattribute__(name)
        calls = super().__getattribute__("calls")
        return lambda *arguments: (calls.append((name, arguments)), ANSWERS.get(name))[1]


def test_a_wrapper_passes_every_call_on_as_it_is():
    spy = Spy()
    outer = Wrapper(spy)
    made = learner("task")
    outer.attach(made, "adam")
    assert spy.calls == [("detach", ()), ("attach", (made, "adam"))]
    assert outer.learner is made
    weight, change = made.body[0].weight, torch.ones(2)
    asked = [
        ("allowed", (weight, change)), ("on_task_start", (1,)), ("on_epoch_start", (2,)),
        ("training_data", (1,)), ("on_step_start", (1, 2, 3)), ("on_batch", ("batch", 2)),
        ("loss", (change, "batch", None, 1, np.arange(2))), ("on_gradients", (2,)),
        ("on_step_end", (1,)), ("on_task_end", (2,)), ("trains", ("name", weight, 1)),
        ("memory_bytes", ()),
    ]  # fmt: skip
    for name, arguments in asked:
        spy.calls.clear()
        found = getattr(outer, name)(*arguments)
        assert len(spy.calls) == 1 and spy.calls[0][0] == name
        assert all(a is b for a, b in zip(spy.calls[0][1], arguments, strict=True))
        assert found is ANSWERS.get(name)
    assert list(outer.tensors()) == ["inner.a"]
    spy.calls.clear()
    outer.load({"inner.a": change, "other.a": weight, "inner.b.inner.c": weight})
    assert spy.calls == [("load", ({"a": change, "b.inner.c": weight},))]
    spy.calls.clear()
    outer.detach()
    assert spy.calls == [("detach", ())]


def test_a_wrapper_says_of_itself_what_the_method_within_says():
    for name in ("replay", "ilora", "hlop"):
        inner = methods.get(name)()
        outer = Wrapper(inner)
        assert outer.rehearses == inner.rehearses == (name != "hlop")
        assert outer.answers_as_trained == inner.answers_as_trained == (name != "ilora")
    given = {"a.x": 1, "a.a.y": 2, "b.a.x": 3}
    assert checkpoint.without_prefix("a", given) == {"x": 1, "a.y": 2}


def test_a_refused_wrapper_lets_go_of_the_learner():
    made = learner("task")
    with pytest.raises(ConfigError, match="Wrapper trains class scores, but SHARP answers"):
        Wrapper(methods.get("sharp")()).attach(made)
    assert made.answer is None and not made.body._forward_hooks


# --- methods ---


def test_fine_tuning_changes_nothing():
    method, made = methods.get("fine-tuning")(), learner("task")
    method.attach(made)
    ce = torch.tensor(2.5)
    assert method.loss(ce, None, None, 1, np.arange(2)) is ce
    assert method.allowed(made.body[0].weight, ce) is ce
    assert method.training_data(2) is made.stream.tasks[2].train
    assert method.trains("x", made.body[0].weight, 4) is True
    assert method.tensors() == {} and method.memory_bytes() == 0
    assert method.device == torch.device("cpu")


def test_what_is_undone_is_undone_once_and_last_first():
    method, done = Method(), []
    method.attach(learner("task"))
    method.on_detach(done.append, 1)
    method.on_detach(done.append, 2)
    method.detach()
    assert done == [2, 1]
    method.detach()
    assert done == [2, 1]
    method.on_detach(done.append, 3)
    method.attach(learner("task"))  # takes its hands off the one before
    assert done == [2, 1, 3]


@pytest.mark.parametrize("rehearses", [True, False])
def test_parameters_are_those_trained_in_the_task_or_in_all_so_far(rehearses):
    class Some(Method):
        def trains(self, name, parameter, task):
            asked.append(task)
            return "heads.0" not in name or task == 2

    asked, method, made = [], Some(), learner("task")
    method.rehearses = rehearses
    method.attach(made)

    def heads(task):
        asked.clear()
        found = method.parameters(task)
        assert set(asked) == {task}
        assert all(found[name] is made.get_parameter(name) for name in found)
        assert sum(name.startswith("body") for name in found) == 2
        return {name.split(".")[1] for name in found if name.startswith("heads")}

    assert heads(1) == {"1"}
    assert heads(2) == ({"0", "1", "2"} if rehearses else {"2"})
    assert heads(0) == set()


def test_memory_is_counted_in_bytes_of_each_kind_of_number():
    method = Method()
    method.tensors = lambda: {
        "a": torch.zeros(3, 5), "b": torch.zeros(2, dtype=torch.float64), "c": torch.ones(7) > 0
    }  # fmt: skip
    assert method.memory_bytes() == 60 + 16 + 7


def test_options_are_as_they_come_back_from_a_file():
    class Odd(Method):
        def __init__(self, a=1, b=(1, (2.5, "x")), c=None, d=None, e=True, lost=3):
            self.a, self.b, self.c, self.d, self.e = a, b, c, d, e
            self.options = {"more": (4,)}

    inner = Odd(a=7)
    assert options_of(Odd(c=inner, d=np.zeros(2))) == {
        "a": 1, "b": [1, [2.5, "x"]], "c": options_of(inner), "e": True, "more": [4],
    }  # fmt: skip
    assert options_of(inner)["a"] == 7 and options_of(inner)["d"] is None


def test_buffers_come_back_also_where_something_breaks():
    norm = sn.BatchNorm(4)
    before = {name: b.clone() for name, b in norm.named_buffers()}
    kept = [id(b) for b in norm.buffers()]

    def breaks():
        with keeping_buffers(norm):
            norm(torch.randn(3, 5, 4))
            assert not all(torch.equal(b, before[name]) for name, b in norm.named_buffers())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert all(torch.equal(b, before[name]) for name, b in norm.named_buffers())
    assert [id(b) for b in norm.buffers()] == kept


def test_statistics_and_delays_are_frozen_until_the_method_lets_go():
    made = learner("task", "axonal")
    norm = next(m for m in made.modules() if isinstance(m, sn.BatchNorm))
    delayed = made.body[0]
    assert delayed.profile == "gauss"
    before = delayed.delay.detach().clone()
    method = Method()
    method.attach(made)
    freeze_statistics(method, 0)
    assert norm.training and delayed.profile == "gauss" and torch.equal(delayed.delay, before)
    assert not torch.equal(before, before.round())
    freeze_statistics(method, 1)
    assert not norm.training and made.training and delayed.training
    assert delayed.profile == "one_tap" and torch.equal(delayed.delay, before.round())
    freeze_statistics(method, 2)
    method.detach()
    assert norm.training and delayed.profile == "gauss"


def test_a_normalisation_that_was_frozen_before_stays_so():
    made = learner("task", "axonal")
    norm = next(m for m in made.modules() if isinstance(m, sn.BatchNorm))
    norm.eval()
    method = Method()
    method.attach(made)
    freeze_statistics(method, 1)
    method.detach()
    assert not norm.training


def test_only_methods_that_need_whole_sequences_refuse_online_training():
    made = learner("task", training="ottt")
    Method().attach(made)

    class Needs(Method):
        needs_scores = True

    Needs().attach(learner("task", training="dsr"))
    with pytest.raises(ConfigError, match="Needs needs the scores of whole sequences"):
        Needs().attach(made)


def test_spikes_are_stored_in_one_process_only(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(ConfigError, match="SHARP stores spikes and runs in one process"):
        methods.get("sharp")().attach(learner("task"))


def test_a_recurrent_layer_of_torch_has_no_units():
    with pytest.raises(ConfigError, match="one connection each"):
        Units(sn.Sequential(sn.baselines.get("gru")(4, 3)))
