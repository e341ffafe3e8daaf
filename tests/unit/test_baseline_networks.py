"""What stands around the models: encoder, network, sizes, options."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from snnsim.baselines import RateEncoder, RateNetwork, cost_of, names, width_for
from snnsim.baselines.forecast import Forecaster
from snnsim.baselines.models.bidirectional import Bidirectional
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.regenn import GraphMixer
from snnsim.baselines.options.attend import Attend
from snnsim.baselines.options.chunks import ChunkRecurrent
from snnsim.baselines.options.join import JOINS, Join
from snnsim.baselines.options.recode import Recode
from snnsim.baselines.options.sparse import matrices, sparsify
from snnsim.baselines.options.think import Think
from snnsim.errors import ConfigError, ShapeError
from snnsim.layer import add_auxiliary_loss, auxiliary_losses
from snnsim.networks import delay_network
from snnsim.synapses import Delayed
from snnsim.training.evaluate import predict, run_padded


def counts(steps=9, batch=3, channels=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full((steps, batch, channels), 0.7), generator=generator)


def test_the_encoder_merges_clips_and_tames_in_this_order():
    x = torch.tensor([[[4.0, 0.0, 1.0]], [[5.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]]])
    y, _ = RateEncoder(3, bins=2, pool=2, clip=4, norm="sqrt")(x)
    assert torch.equal(y[:, 0], torch.tensor([[2.0, 1.0], [2.0**0.5, 0.0]]))
    assert RateEncoder(3, bins=2).lengths(torch.tensor([1, 2, 3])).tolist() == [1, 1, 2]
    y, _ = RateEncoder(3, norm="log1p")(-x)
    assert torch.equal(y, -torch.log1p(x))
    y, _ = RateEncoder(3, norm="layer")(x)
    torch.testing.assert_close(y.mean(-1), torch.zeros(3, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bins": 0}, {"pool": 0}, {"bins": 2.5}, {"clip": -1.0}, {"clip": float("nan")},
        {"norm": "max"},
    ],
)  # fmt: skip
def test_the_encoder_refuses_what_makes_no_sense(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"{name} is {value!r} but must be"):
        RateEncoder(3, **wrong)
    with pytest.raises(ShapeError, match="4 channels but the encoder is for 3"):
        RateEncoder(3)(torch.zeros(1, 1, 4))


@pytest.mark.parametrize("name", names())
def test_networks_of_every_model_stream_and_pad(name):
    torch.manual_seed(0)
    net = RateNetwork(6, 3, name, width=8, depth=2, encoder={"norm": "sqrt"}).double().eval()
    x, lengths = counts().double(), torch.tensor([9, 5, 2])
    whole, _ = net(x)
    assert whole.shape == (9, 3, 3)
    if net.streaming == "exact":
        first, state = net(x[:4])
        second, state = net(x[4:8], state)
        last, _ = net.step(x[8], state)
        torch.testing.assert_close(torch.cat([first, second, last[None]]), whole)
    for i, length in enumerate(lengths):
        x[length:, i] = 7
    y, ends = run_padded(net, x, lengths)
    assert torch.equal(ends, lengths)
    for i, length in enumerate(lengths):
        alone, _ = net(x[:length, i : i + 1])
        torch.testing.assert_close(y[:length, i], alone[:, 0])


@pytest.mark.parametrize("bins", [2, 3, 4])
def test_what_is_behind_a_samples_end_does_not_reach_its_last_merged_bin(bins):
    torch.manual_seed(0)
    net = RateNetwork(6, 3, "gru", width=8, encoder={"bins": bins}).eval()
    x, lengths = torch.rand(13, 4, 6), torch.tensor([13, 8, 7, 5])
    y, _ = net(x, None, lengths)  # what is padding is not silent
    for i, length in enumerate(lengths.tolist()):
        alone, _ = net(x[:length, i : i + 1], None, lengths[i : i + 1])
        assert torch.allclose(y[: len(alone), i], alone[:, 0], atol=1e-6)


def test_merged_bins_shorten_the_outputs_and_their_lengths():
    net = RateNetwork(6, 3, "gru", width=8, encoder={"bins": 4})
    y, ends = run_padded(net, counts(), torch.tensor([9, 4, 5]))
    assert len(y) == 3 and ends.tolist() == [3, 1, 2] and net.streaming == "chunked"
    with pytest.raises(ConfigError, match="bins=1"):
        net.step(counts()[0])
    assert predict(net, counts(), "mean", torch.tensor([9, 4, 5])).shape == (3, 3)


def test_a_network_that_looks_ahead_has_no_single_step():
    net = RateNetwork(6, 3, "bidirectional", width=8)
    assert not net.causal and net.streaming == "none"
    with pytest.raises(ConfigError, match="not causal"):
        net.step(counts()[0])


def test_a_width_that_does_not_fit_the_heads_is_refused():
    with pytest.raises(ConfigError, match="multiple of 4"):
        RateNetwork(6, 3, "aaren", width=10)


@pytest.mark.parametrize("join", JOINS)
def test_joins_and_attention_are_options_of_the_network(join):
    net = RateNetwork(6, 3, "s6", width=8, depth=2, join=join, attend=3).double().eval()
    x = counts().double()
    whole, _ = net(x)
    first, state = net(x[:5])
    second, _ = net(x[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    plain = RateNetwork(6, 3, "s6", width=8, depth=2)
    assert sum(p.numel() for p in net.parameters()) > sum(p.numel() for p in plain.parameters())


def test_the_gate_of_a_join_goes_from_one_side_to_the_other():
    join = Join(2, "input")
    x, f = torch.zeros(1, 2), torch.ones(1, 2)
    with torch.no_grad():
        join.gate.bias.fill_(50.0)
        assert torch.allclose(join(x, f), x)
        join.gate.bias.fill_(-50.0)
        assert torch.allclose(join(x, f), f)


# ---- costs


def test_what_looks_ahead_has_no_state_to_limit():
    def make(width):
        return RateNetwork(10, 4, "bidirectional", width=width)

    assert cost_of(make(8), 10).state is None
    with pytest.raises(ConfigError, match="keeps the whole sequence"):
        width_for(make, 10, 500, "state", multiple=2)


def test_the_cost_of_a_gru_is_what_its_equations_say():
    net = RateNetwork(10, 4, "gru", width=7)
    cost = cost_of(net, 10)
    assert cost.parameters == 3 * 7 * (10 + 7 + 2) + 4 * 8
    assert cost.state == 7
    products = 3 * 7 * (10 + 7) + 4 * 7
    assert products <= cost.operations <= products + 5 * 7  # and a few elementwise ones


def test_operations_are_those_of_a_step_not_of_a_parallel_scan():
    costs = [cost_of(RateNetwork(10, 4, "aaren", width=8), 10, steps) for steps in (5, 80)]
    assert costs[0] == costs[1]


@pytest.mark.parametrize("measure", ["parameters", "state", "operations"])
def test_the_width_for_a_budget_is_the_largest_that_fits(measure):
    def make(width):
        return RateNetwork(10, 4, "linear-attention", width=width)

    width = width_for(make, 10, 5000, measure, 4)
    assert width % 4 == 0
    assert getattr(cost_of(make(width), 10), measure) <= 5000
    assert getattr(cost_of(make(width + 4), 10), measure) > 5000


def test_budgets_that_nothing_or_everything_fits_are_refused():
    def make(width):
        return RateNetwork(10, 4, "gru", width=width)

    with pytest.raises(ConfigError, match="too small"):
        width_for(make, 10, 10)


# ---- auxiliary losses


def test_auxiliary_losses_add_up_within_their_context_only():
    add_auxiliary_loss("a", torch.tensor(1.0))
    with auxiliary_losses() as outer:
        add_auxiliary_loss("a", torch.tensor(1.0))
        with auxiliary_losses() as inner:
            add_auxiliary_loss("b", torch.tensor(2.0))
        add_auxiliary_loss("a", torch.tensor(3.0))
    assert {k: float(v) for k, v in outer.items()} == {"a": 4.0}
    assert {k: float(v) for k, v in inner.items()} == {"b": 2.0}


def test_the_ponder_cost_reaches_the_halting_unit():
    net = RateNetwork(6, 3, "universal", width=8)
    with auxiliary_losses() as extra:
        net(counts())
    (g,) = torch.autograd.grad(extra["ponder"], net.layers[0].halting.score.bias)
    assert float(g) < 0  # halting earlier costs less


# ---- sparsity


@pytest.mark.parametrize("way", ["random", "magnitude"])
def test_a_mask_keeps_its_share_and_what_is_gone_stays_gone(way):
    torch.manual_seed(0)
    net = RateNetwork(6, 3, "gru", width=8)
    before = {n: w.detach().clone() for m, n, w in matrices(net)}
    share = sparsify(net, 0.25, way, seed=1)
    assert share == pytest.approx(0.25, abs=0.01)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        net(counts())[0].square().sum().backward()
        optimizer.step()
    gru = net.layers[0].module
    kept = gru.parametrizations.weight_hh_l0[0].mask
    assert bool((gru.weight_hh_l0[kept == 0] == 0).all())
    if way == "magnitude":
        everything = torch.cat([w.abs().flatten() for w in before.values()])
        limit = everything.quantile(0.75)
        assert torch.equal(kept > 0, before["weight_hh_l0"].abs() > limit)


def test_wrong_densities_are_refused():
    with pytest.raises(ConfigError, match="above 0"):
        sparsify(GRU(2, 3), 0.0)


# ---- thinking


def test_a_layer_thinks_as_long_as_it_sees_fit_and_streams():
    torch.manual_seed(0)
    net = Think(6, 8, GRU, steps=4).double().eval()
    with torch.no_grad():
        net.halting.score.bias.fill_(-1.0)
        net.halting.score.weight.mul_(4)
    x = counts(12).double()
    with auxiliary_losses() as extra:
        whole, _ = net(x)
    assert 2 < float(extra["ponder"].detach()) / net.ponder <= 5
    first, state = net(x[:5])
    second, _ = net(x[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(net(x[:, :1])[0], whole[:, :1])
    with torch.no_grad():  # who stops at once is the model itself
        net.halting.score.bias.fill_(50.0)
    plain, _ = net.inner(torch.cat([x, torch.ones(12, 3, 1).double()], 2))
    torch.testing.assert_close(net(x)[0], plain)
    with pytest.raises(ConfigError, match="step by step"):
        Think(6, 8, Bidirectional, steps=2)


def test_thinking_chunks_and_sparsity_are_options_of_the_network():
    net = RateNetwork(6, 3, "gru", width=8, think=2, chunk=4, density=0.5).double().eval()
    x = counts().double()
    whole, _ = net(x)
    first, state = net(x[:5])
    second, _ = net(x[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    dense = RateNetwork(6, 3, "gru", width=8, think=2, chunk=4)
    weights = sum(w.numel() for _, _, w in matrices(dense))
    saved = cost_of(dense, 6).parameters - cost_of(net, 6).parameters
    assert saved == pytest.approx(weights / 2, abs=5)


# ---- recoding


@pytest.mark.parametrize("inner", [GRU, Leaky])
def test_recoding_by_a_small_step_makes_every_answer_surer(inner):
    torch.manual_seed(0)
    decoder = torch.nn.Linear(8, 4)
    net = Recode(inner(6, 8), decoder, alpha=0.05).eval()
    h = torch.randn(100, 8)
    before, after = net.entropy(h), net.entropy(net.moved(h))
    assert bool((after < before).all())
    with torch.no_grad():
        decoder.weight.mul_(30)  # a sure decoder: steep, so a long step overshoots
    far = Recode(inner(6, 8), decoder, alpha=3.0).eval()
    assert not bool((far.entropy(far.moved(h)) < far.entropy(h)).all())
    x = counts()
    whole, _ = net(x)
    first, state = net(x[:4])
    second, _ = net(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    net.train()(x)[0].sum().backward()
    assert all(p.grad is not None for p in net.inner.parameters())


def test_a_state_of_another_network_is_refused_by_name():
    net, x = RateNetwork(6, 3, "gru", width=8, depth=2), counts()
    _, state = net(x)
    assert torch.equal(net(x, state)[0], net(x, list(state))[0])
    for wrong, told in ((state[:1], "has 1 entries"), ((*state, None), "has 3"), ({}, "dict")):
        with pytest.raises(ShapeError, match=f"{told}.* but the network 2 layers.*afresh"):
            net(x, wrong)


def test_recoding_needs_a_state_that_is_the_output():
    with pytest.raises(ConfigError, match="that of Attend is not; choose a model"):
        Recode(Attend(LSTM(6, 8), reach=2), torch.nn.Linear(8, 2), alpha=0.1)


def test_gradients_through_recoding_are_those_of_the_whole_step():
    torch.manual_seed(0)
    net = Recode(GRU(3, 4), torch.nn.Linear(4, 2), alpha=0.3).double().eval()
    torch.autograd.gradcheck(lambda x: net(x)[0], torch.rand(3, 1, 3).double().requires_grad_())


def test_a_graph_of_channels_is_found_behind_attention_and_refused_behind_thinking():
    net = RateNetwork(6, 3, "regenn", width=8, attend=2)
    net.prepare(counts())
    assert not torch.equal(net.layers[0].inner.mixer.together, torch.eye(6))
    with pytest.raises(ConfigError, match="think or chunk adds channels.*remove them"):
        RateNetwork(6, 3, "regenn", width=8, think=2).prepare(counts())


# ---- chunks


def test_chunks_stream_with_a_constant_state_and_remember():
    torch.manual_seed(0)
    net = ChunkRecurrent(6, 8, GRU, chunk=4, similar=2, slots=5).double().eval()
    x = counts(30).double()
    whole, end = net(x)
    for cut in (1, 4, 7, 29):
        first, state = net(x[:cut])
        second, _ = net(x[cut:], state)
        torch.testing.assert_close(torch.cat([first, second]), whole)
    assert net.state_size == 8 + 3 * 8 + 5 * 8 + 1
    changed = x.clone()
    changed[0] += 1  # six chunks before the end, which the model itself does not see
    other, _ = net(changed)
    assert not torch.allclose(other[-1], whole[-1])
    assert end["codes"].shape == (3, 5, 8)


# ---- forecasting


def test_a_forecaster_starts_from_the_window_and_stays_positive():
    net = Forecaster(GRU(3, 5), 4, 2)
    y = net(torch.rand(4, 2, 3))
    assert y.shape == (2, 2, 3) and bool((y >= 0).all())
    with torch.no_grad():
        net.out.weight.zero_()
        net.out.bias.zero_()
    x = torch.rand(4, 2, 3)
    torch.testing.assert_close(net(x), x.mean(0).expand(2, 2, 3))


def test_spiking_networks_count_every_synapse_and_the_history_of_delays():
    options = {"dt": 10.0, "tau_mem": 10.05, "max_delay_ms": 240.0, "dropout": 0.0}
    make = partial(delay_network, (14, 8, 8, 3), **options)
    synapses = 14 * 8 + 8 * 8 + 8 * 3
    none = cost_of(make(delays="none"), 14)
    assert none.operations == synapses and none.state == 8 + 8 + 3
    learned = make(delays="learned")
    reach = next(m for m in learned.modules() if isinstance(m, Delayed)).length - 1
    found = cost_of(learned, 14)
    assert found.operations == synapses and found.state == none.state + reach * (14 + 8 + 8)
    assert cost_of(make(delays="learned", padding="causal"), 14).state == found.state
    adapting = make(delays="none", neuron="adlif", recurrent=True, tau_adapt=500.0)
    assert cost_of(adapting, 14).operations == synapses + 2 * 8 * 8


def test_the_graph_is_taken_from_encoded_data():
    net = RateNetwork(6, 3, "regenn", width=8)
    x = counts(channels=6)
    net.prepare(x)
    mixer = net.layers[0].mixer
    expected = GraphMixer(6)
    expected.count_together(net.encoder(x)[0])
    assert torch.equal(mixer.together, expected.together) and not torch.equal(
        mixer.together, torch.eye(6)
    )


def test_a_forecaster_with_a_mixer_shares_its_core_between_channels():
    mixer = GraphMixer(3)
    with torch.no_grad():
        mixer.scale.zero_()
        mixer.shift.zero_()
    net = Forecaster(GRU(1, 5), 4, 2, mixer)
    x = torch.rand(4, 2, 3)
    torch.testing.assert_close(net(x.flip(2)), net(x).flip(2))
    alone = Forecaster(GRU(1, 5), 4, 2)
    alone.load_state_dict({k: v for k, v in net.state_dict().items() if "mixer" not in k})
    torch.testing.assert_close(net(x)[..., 1:2], alone(x[..., 1:2]))
    with pytest.raises(ConfigError, match="one channel at a time"):
        Forecaster(GRU(3, 5), 4, 2, GraphMixer(3))


# ---- what is counted


def test_attention_counts_its_window_but_projects_each_step_once():
    width, found = 16, {}
    for reach in (20, 50, 100):
        net = RateNetwork(6, 3, "softmax-attention", width=width, options={"reach": reach})
        found[reach] = cost_of(net, 6).operations
    # per step of the past: a query times a key, and a share times a value
    assert found[100] - found[50] == pytest.approx(50 * 2 * width, rel=0.1)
    assert found[50] - found[20] == pytest.approx(30 * 2 * width, rel=0.1)


@pytest.mark.parametrize("model", ["gru", "softmax-attention", "s6"])
def test_merged_bins_cost_a_share_of_a_step_each(model):
    one, four = (
        cost_of(RateNetwork(6, 3, model, width=16, encoder={"bins": bins}), 6).operations
        for bins in (1, 4)
    )
    assert four == pytest.approx(one / 4, rel=0.05)


def test_masks_do_not_make_a_network_dearer():
    dense, sparse = (
        cost_of(RateNetwork(6, 3, "gru", width=16, density=density), 6) for density in (1.0, 0.1)
    )
    assert sparse.operations == dense.operations
    assert sparse.parameters < 0.3 * dense.parameters


# ---- options that would do nothing, or nonsense


@pytest.mark.parametrize("join", ["rate", "input"])
def test_any_model_can_be_joined_in_residual_blocks(join):
    plain, joined = (
        RateNetwork(6, 3, "gru", width=8, **options) for options in ({}, {"join": join})
    )
    assert len(plain.joins) == 0 and len(joined.joins) == 1
    y, _ = joined(counts())
    y.sum().backward()
    assert all(p.grad is not None for p in joined.joins.parameters())
    with pytest.raises(ConfigError, match="join"):
        RateNetwork(6, 3, "gru", width=8, join="bogus")


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("fsmn", {"order": 0}, "order is 0"),
        ("rhn", {"depth": 0}, "depth is 0"),
        ("s6", {"states": 0}, "states is 0"),
        ("sasrec", {"blocks": 0}, "blocks is 0"),
        ("titans", {"chunk": 0}, "chunk is 0"),
        ("universal", {"ponder": -1.0}, "ponder is -1.0"),
        ("jordan", {"decay": -1.0}, "decay is -1.0"),
        ("jordan", {"decay": 1.5}, "decay is 1.5"),
        ("softmax-attention", {"heads": 3}, "multiple of 3"),
        ("linear-attention", {"heads": 3}, "multiple of 3"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(model, options, says):
    with pytest.raises(ConfigError, match=says):
        RateNetwork(6, 3, model, width=8, options=options)(counts())


@pytest.mark.parametrize("model", ["aaren", "lightnet", "paralstm", "softmax-attention", "fsmn"])
def test_thinking_refuses_states_that_have_no_mean(model):
    with pytest.raises(ConfigError, match="cannot be averaged"):
        RateNetwork(6, 3, model, width=8, think=2)


def test_the_ponder_cost_does_not_see_padding():
    torch.manual_seed(0)
    net = RateNetwork(6, 3, "universal", width=8).eval()
    x = counts()
    longer = torch.cat([x, torch.zeros(30, *x.shape[1:])])
    lengths = torch.full((x.shape[1],), len(x))
    found = []
    for each in (x, longer):
        with auxiliary_losses() as extra:
            net(each, lengths=lengths)
        found.append(extra["ponder"].item())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_seed_of_the_run_draws_masks_and_reservoirs():
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        net = RateNetwork(6, 3, "mbat", width=8, depth=2, density=0.5)
        mask = net.layers[0].out.parametrizations.weight[0].mask
        made.append((net.layers[0].transition, mask))
        assert not torch.equal(net.layers[0].transition, net.layers[1].transition)
    for same, one, two in zip(*made, strict=True):
        assert torch.equal(same, one) and not torch.equal(same, two)
