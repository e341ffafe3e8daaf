"""Records as vectors, losses, subspaces and scans against their formulas, number by number."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest
import torch

from snnsim.errors import ConfigError, ShapeError
from snnsim.functional import subspace
from snnsim.functional.losses import cross_entropy_sum, supervised_contrastive
from snnsim.functional.outer import outer_recurrence
from snnsim.functional.readouts import READOUTS, get_readout, max_over_time
from snnsim.functional.scan import linear, linear_recurrence, scan
from snnsim.functional.vectors import RecordEncoder, nearest, random_orthogonal


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- vectors -------------------------------------------------------------------------------------


def test_random_orthogonal_matrices_have_no_preferred_sign():
    """Of a Haar matrix every entry has mean 0 and variance ``1 / n``, on the diagonal too."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.stack([random_orthogonal(4, generator) for _ in range(1500)])
    close = 5 / 1500**0.5 / 2
    assert float(drawn.mean(0).abs().max()) < close
    assert float((drawn.square().mean(0) - 1 / 4).abs().max()) < close
    assert float(torch.linalg.det(drawn).mean().abs()) < 0.15
    assert drawn.dtype is torch.get_default_dtype()


def test_an_orthogonal_matrix_is_that_of_its_generator_in_double_precision():
    draws = torch.randn(3, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    m = random_orthogonal(3, torch.Generator().manual_seed(7)).double()
    upper = m.t() @ draws  # of the decomposition whose diagonal is positive
    assert bool((upper.diagonal() > 0).all())
    assert float(upper.tril(-1).abs().max()) < 1e-5


def seeded(seed: int, text: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{text}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") // 2)


def test_roles_and_scalars_are_drawn_from_the_seed_and_their_name():
    encoder = RecordEncoder(6, seed=3)
    assert torch.equal(encoder.role("a"), random_orthogonal(6, seeded(3, "role a")))
    drawn = torch.randn(6, generator=seeded(3, "scalar 'x'"))
    torch.testing.assert_close(encoder.encode("x"), drawn / drawn.norm())
    for value, name in ((True, "True"), (False, "False"), (None, "None"), (math.inf, "inf")):
        drawn = torch.randn(6, generator=seeded(3, f"scalar {name}"))
        torch.testing.assert_close(encoder.encode(value), drawn / drawn.norm())
    assert not torch.allclose(RecordEncoder(6, seed=4).encode("x"), encoder.encode("x"))
    assert torch.equal(RecordEncoder(6).encode("x"), RecordEncoder(6, 0).encode("x"))
    assert RecordEncoder().size == 512
    assert encoder.role("a") is encoder.role("a")


def test_a_mapping_is_the_sum_of_its_values_turned_by_their_roles():
    e = RecordEncoder(8, seed=1)
    a, b = e.encode("x"), e.encode(2)
    total = e.role("one") @ a + e.role("2") @ b
    torch.testing.assert_close(e.encode({"one": "x", 2: 2}), total / total.norm())
    inner = e.role("two") @ b
    nested = e.encode({"one": {"two": 2}})
    torch.testing.assert_close(nested, e.role("one") @ (inner / inner.norm()))
    torch.testing.assert_close(e.unbind(nested, "one", "two"), b, rtol=1e-4, atol=1e-5)


def test_a_sequence_turns_its_first_once_and_its_second_twice():
    e = RecordEncoder(8, seed=1)
    place = e.role("\x00next")
    values = ["x", "y", "z"]
    total, turned = torch.zeros(8), torch.eye(8)
    for value in values:
        turned = place @ turned
        total = total + turned @ e.encode(value)
    for sequence in (values, tuple(values)):
        expected = total / total.norm()
        torch.testing.assert_close(e.encode(sequence), expected, rtol=1e-4, atol=1e-5)
    assert not e.encode([]).any() and not e.encode({}).any() and len(e.encode([])) == 8


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("value", [0, 3, -2.5, 1e4])
def test_a_number_is_waves_of_the_signed_logarithm_of_its_thousandths(size, value):
    e = RecordEncoder(size, seed=2)
    place = np.sign(value) * np.log10(1 + 1000 * abs(value))
    draws = torch.randn(size // 2, generator=seeded(2, "number")).numpy()
    waves = np.concatenate([np.cos(3 * draws * place), np.sin(3 * draws * place)])
    waves = np.pad(waves, (0, size - len(waves)))
    found = e.encode(value)
    np.testing.assert_allclose(found.numpy(), waves / np.linalg.norm(waves), rtol=0, atol=1e-4)
    assert float(found.norm()) == pytest.approx(1, abs=1e-5)


def test_numbers_are_alike_within_a_third_of_a_decade():
    e = RecordEncoder(2000)
    of = [float(e.encode(1.0) @ e.encode(10**d)) for d in (0.1, 1 / 3, 1.0)]
    # the mean of cos(3 N d) over normal N is exp(-(3 d)^2 / 2)
    assert of == pytest.approx([math.exp(-4.5 * d**2) for d in (0.1, 1 / 3, 1)], abs=0.06)


def test_what_is_no_record_is_refused():
    RecordEncoder(2)
    with pytest.raises(ConfigError, match="size is 1 but must be 2"):
        RecordEncoder(1)
    with pytest.raises(ConfigError, match="a record holds complex"):
        RecordEncoder(4).encode([1j])


def test_the_nearest_rows_come_first_with_their_cosines():
    rows = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, -1.0], [0.0, 0.0], [-5.0, 0.0], [0.0, 9.0]])
    found = nearest(torch.tensor([7.0, 0.0]), rows)
    assert len(found) == 5 and [i for i, _ in found[:2]] == [0, 1]
    assert [c for _, c in found[:2]] == pytest.approx([1, 0.5**0.5])
    assert [round(c, 6) for _, c in found[2:]] == [0, 0, 0]
    assert len(nearest(torch.tensor([1.0, 0.0]), rows[:2], 9)) == 2
    assert nearest(torch.tensor([-1.0, 0.0]), rows, 1) == [(4, 1.0)]


# --- losses --------------------------------------------------------------------------------------


def test_cross_entropies_are_summed_over_samples():
    scores, labels = normal(4, 3), torch.tensor([2, 0, 1, 2])
    shares = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(1, keepdims=True)
    expected = -sum(np.log(shares[i, c]) for i, c in enumerate(labels.tolist()))
    assert float(cross_entropy_sum(scores, labels)) == pytest.approx(expected, rel=1e-12)
    parts = [cross_entropy_sum(scores[i : i + 2], labels[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(sum(parts), cross_entropy_sum(scores, labels))


def contrastive(x, labels, t):
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    losses = []
    for i in range(len(x)):
        others = [a for a in range(len(x)) if a != i]
        alike = [a for a in others if labels[a] == labels[i]]
        if alike:
            total = sum(np.exp(x[i] @ x[a] / t) for a in others)
            terms = [np.log(np.exp(x[i] @ x[p] / t) / total) for p in alike]
            losses.append(-sum(terms) / len(alike))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 0, 1], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 4]])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_the_contrastive_loss_is_its_formula(labels, temperature):
    x, given = 3 * normal(6, 4), torch.tensor(labels)
    found = float(supervised_contrastive(x, given, temperature))
    assert found == pytest.approx(contrastive(x.numpy(), labels, temperature), rel=1e-10)
    assert float(supervised_contrastive(2 * x, given, temperature)) == pytest.approx(found)
    if temperature == 0.1:
        assert float(supervised_contrastive(x, given)) == found


def test_the_contrastive_loss_of_strangers_is_nothing_and_its_gradient_finite():
    x = normal(3, 4).requires_grad_()
    loss = supervised_contrastive(x, torch.tensor([0, 1, 2]))
    loss.backward()
    assert float(loss.detach()) == 0 and not x.grad.any()
    y = normal(5, 3).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda a: supervised_contrastive(a, labels, 0.5), y)


# --- subspaces -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "rows"), [(3, 4), (50, 2), (2, 1), (1, 1), (6, 6), (40, 30)])
@pytest.mark.parametrize("levels", [0, 6])
def test_a_hebbian_update_is_its_formula_whichever_way_is_cheaper(samples, rows, levels):
    size = 7
    x, rest = normal(samples, size), normal(samples, size, seed=1)
    h = normal(rows, size, seed=2)
    y = x.numpy() @ h.numpy().T
    if levels:
        y = np.round(np.clip(y, -20, 20) / (20 / levels)) * (20 / levels)
    expected = y.T @ (rest.numpy() - y @ h.numpy())
    found = subspace.hebbian_update(rest, x, h, levels)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)


def test_both_ways_of_a_hebbian_update_are_compared_above():
    ways = {rows * (samples + 7) < samples * 7 for samples, rows in ((3, 4), (50, 2))}
    assert ways == {True, False}


def test_spiking_subspace_neurons_pass_on_steps_up_to_their_largest():
    assert (subspace.SCALE, subspace.CLAMP) == (20.0, 10.0)
    y = torch.tensor([0.4, 2.4, 2.6, -7.6, 19.0, 20.1, -400.0])
    assert subspace.quantised(y, 4).tolist() == [0, 0, 5, -10, 20, 20, -20]
    assert subspace.quantised(y, 0) is y


def test_residuals_are_outside_of_their_rows():
    rows = subspace.orthonormal_rows(2, 5, normal(1))
    assert rows.dtype is torch.float64 and rows.shape == (2, 5)
    torch.testing.assert_close(rows @ rows.t(), torch.eye(2, dtype=torch.float64))
    assert subspace.orthonormal_rows(0, 5, normal(1)).shape == (0, 5)
    x = normal(3, 4, 5)
    rest = subspace.residual(x, rows)
    torch.testing.assert_close(rest, x - x @ rows.t() @ rows)
    assert subspace.residual(x, rows[:0]) is x
    coarse = subspace.residual(x, rows, 20)
    torch.testing.assert_close(coarse, x - subspace.quantised(x @ rows.t(), 20) @ rows)
    assert not torch.allclose(coarse, rest)


def test_a_step_of_the_power_method_is_the_covariance_times_the_rows():
    rest, rows = normal(9, 5), normal(2, 5, seed=1)
    expected = sum(np.outer(rows.numpy() @ r, r) for r in rest.numpy())
    np.testing.assert_allclose(subspace.subspace_iteration(rest, rows).numpy(), expected)


def test_scaled_axes_span_the_products_and_are_as_long_as_what_is_new_in_each():
    products = normal(3, 5)
    rows, scaled = subspace.scaled_axes(products)
    torch.testing.assert_close(rows @ rows.t(), torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(products @ rows.t() @ rows, products)
    lengths, basis = [], []
    for product in products.numpy():
        new = product - sum(((product @ b) * b for b in basis), np.zeros(5))
        lengths.append(np.linalg.norm(new))
        basis.append(new / lengths[-1])
    np.testing.assert_allclose(np.abs((rows.numpy() * np.stack(basis)).sum(1)), 1)
    torch.testing.assert_close(scaled, torch.tensor(lengths)[:, None] * rows)


def test_what_is_left_outside_of_frozen_rows_is_orthonormal_and_large_enough():
    frozen = torch.eye(5, dtype=torch.float64)[:2]
    rows = torch.zeros(3, 5, dtype=torch.float64)
    rows[0, 2], rows[1, 3], rows[2, 4] = 1.0, 0.02, 0.005
    rows[:, 0] = 3.0
    found = subspace.outside(rows, frozen)
    assert found.shape == (2, 5)
    np.testing.assert_allclose(found.abs().numpy(), np.eye(5)[2:4], atol=1e-12)
    assert len(subspace.outside(rows, frozen, 0.001)) == 3
    assert len(subspace.outside(rows, frozen, 0.5)) == 1
    assert len(subspace.outside(rows, frozen[:0], 0.001)) == 3
    assert subspace.outside(rows[:0], frozen).shape == (0, 5)
    assert subspace.outside(rows.float(), frozen.float()).dtype is torch.float32


def test_principal_rows_leave_at_most_a_share_and_are_no_more_than_said():
    turn = random_orthogonal(4, torch.Generator().manual_seed(3)).double()
    energies = torch.tensor([1.0, 8.0, 3.0, 0.0], dtype=torch.float64)
    covariance = turn.t() @ torch.diag(energies) @ turn
    order = [1, 2, 0]
    # eight twelfths, eleven twelfths and all are explained by one, two and three
    for share, count in ((0.5, 1), (0.34, 1), (0.33, 2), (0.1, 2), (0.08, 3), (0.9, 1)):
        found = subspace.principal_rows(covariance, share, 4)
        assert len(found) == count, share
        lines = (found @ turn[order[:count]].t()).abs()
        torch.testing.assert_close(lines, torch.eye(count).double(), rtol=1e-5, atol=1e-5)
    assert len(subspace.principal_rows(covariance, 0.01, 2)) == 2
    assert len(subspace.principal_rows(covariance, 0.5, 0)) == 0
    assert len(subspace.principal_rows(torch.zeros(3, 3), 0.1, 3)) == 0
    assert subspace.principal_rows(covariance.float(), 0.1, 4).dtype is torch.float32


def test_the_unexplained_share_is_of_the_energy():
    x = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    rows = torch.tensor([[1.0, 0.0]])
    assert subspace.unexplained(x, rows) == pytest.approx(41 / 50)
    assert subspace.unexplained(torch.zeros(2, 2), rows) == 0.0
    assert subspace.unexplained(x, torch.eye(2)) == 0.0


# --- scans and recurrences -----------------------------------------------------------------------


def test_a_recurrence_starts_from_nothing_and_scans_where_it_is_told_to(monkeypatch):
    a, b = normal(6, 3), normal(6, 3, seed=1)
    h, expected = np.zeros(3), []
    for t in range(6):
        h = a[t].numpy() * h + b[t].numpy()
        expected.append(h)
    scanned = []

    def counting(op, elements, dim=0):
        scanned.append(len(elements))
        return scan(op, elements, dim)

    monkeypatch.setattr("snnsim.functional.scan.scan", counting)
    for parallel, calls in ((None, 0), (False, 0), (True, 1)):
        scanned.clear()
        found = linear_recurrence(a, b, parallel=parallel)
        np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=1e-12)
        assert len(scanned) == calls


@pytest.mark.parametrize("dim", [1, 2, -1])
def test_a_scan_goes_along_any_axis_and_keeps_the_shapes(dim):
    x, y = normal(3, 5, 4), normal(3, 5, 4, seed=1)
    found = scan(linear, (x, y), dim)
    expected = scan(linear, (x.movedim(dim, 0), y.movedim(dim, 0)))
    for one, two in zip(found, expected, strict=True):
        assert one.shape == x.shape
        torch.testing.assert_close(one, two.movedim(0, dim))
    with pytest.raises(ShapeError, match="need the same"):
        scan(linear, (x, y[:, :, :2]), 2)


def test_a_scan_asks_for_few_joins():
    joined = []

    def add(a, b):
        joined.append(len(b[0]))
        return (a[0] + b[0],)

    assert scan(add, (torch.arange(64),))[0].tolist() == list(itertools.accumulate(range(64)))
    assert len(joined) <= 12 and sum(joined) < 128


def test_an_outer_recurrence_takes_32_steps_at_a_time_and_reads_after_writing(monkeypatch):
    import snnsim.functional.outer as module

    lengths, inner = [], module._chunk
    monkeypatch.setattr(
        module, "_chunk", lambda q, *rest: (lengths.append(q.shape[2]), inner(q, *rest))[1]
    )
    one = torch.ones(70, 1, 1, 1)
    y, s = outer_recurrence(one, one, one, torch.zeros(1, 1, 1, 1))
    assert lengths == [32, 32, 6] and y.flatten().tolist() == list(range(1, 71))
    y, s = outer_recurrence(one, one, one, torch.zeros(1, 1, 1, 1), before=True)
    assert y.flatten().tolist() == list(range(70)) and s.item() == 70


# --- read-outs -----------------------------------------------------------------------------------


def test_an_empty_sample_is_read_without_its_padding():
    v, lengths = normal(4, 2, 3), torch.tensor([0, 4])
    for name in ("sum_softmax", "mean", "spike_count"):
        assert not get_readout(name)(v, lengths)[0].any()
    assert get_readout("last")(v, lengths)[0].tolist() == v[0, 0].tolist()
    assert bool((max_over_time(v, lengths)[0] == -torch.inf).all())
    assert all(get_readout(name) is READOUTS[name] for name in READOUTS)
