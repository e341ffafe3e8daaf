"""OWM's projectors against the closed form of their recursion, in double precision."""

import pytest
import torch
from small import CHANNELS, precise

from snnsim.continual.methods.owm import OWM

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def attached(method, optimizer="sgd"):
    made = precise("class")
    method.attach(made, optimizer)
    return made


@pytest.mark.parametrize("alpha", [0.02, 1.0])
def test_owms_recursion_is_the_regularised_inverse_of_the_activity(alpha):
    method = OWM(alpha=alpha)
    attached(method)
    generator = torch.Generator().manual_seed(1)
    name, total = "body.0", torch.zeros(CHANNELS, CHANNELS, dtype=torch.float64)
    for rows in (7, 3, 11):
        seen = torch.randn(rows, CHANNELS, generator=generator, dtype=torch.float64)
        method.learn(name, seen, None)
        total += torch.outer(seen.mean(0), seen.mean(0))
    expected = alpha * torch.linalg.inv(alpha * torch.eye(CHANNELS, dtype=torch.float64) + total)
    torch.testing.assert_close(method.pending[name], expected, **EXACT)


def test_owm_sees_the_mean_activity_of_every_batch_at_every_connection():
    method = OWM(alpha=0.1)
    made = attached(method)
    entered = {}
    hooks = [
        made.body[i].register_forward_pre_hook(lambda m, x, i=i: entered.setdefault(i, x[0]))
        for i in (0, 2)
    ]
    batch = made.stream.tasks[0].train.batch(range(12))
    method.on_batch(batch, 0)
    made.scores(batch.x, 0, batch.lengths)
    for i in (0, 2):
        m = entered[i].detach().flatten(0, 1).mean(0)
        assert float(m.abs().max()) > 0
        eye = torch.eye(len(m), dtype=torch.float64)
        expected = 0.1 * torch.linalg.inv(0.1 * eye + torch.outer(m, m))
        torch.testing.assert_close(method.pending[f"body.{i}"], expected, **EXACT)
    for hook in hooks:
        hook.remove()


def test_owm_projects_by_finished_tasks_only_and_not_in_the_first_one():
    method = OWM(alpha=0.1)
    made = attached(method)
    generator = torch.Generator().manual_seed(2)
    method.on_task_start(0)
    first = torch.rand(5, CHANNELS, generator=generator, dtype=torch.float64)
    method.learn("body.0", first, None)
    weight = made.body[0].weight
    gradient = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    weight.grad = gradient.clone()
    method.on_gradients(0)
    assert torch.equal(weight.grad, gradient)
    method.on_task_start(1)
    second = torch.rand(5, CHANNELS, generator=generator, dtype=torch.float64)
    method.learn("body.0", second, None)
    method.on_gradients(1)
    m = first.mean(0)
    p = 0.1 * torch.linalg.inv(0.1 * torch.eye(CHANNELS, dtype=torch.float64) + torch.outer(m, m))
    torch.testing.assert_close(weight.grad, gradient @ p, **EXACT)


def test_owm_projects_the_change_of_a_weight_under_other_optimisers():
    method = OWM(alpha=0.1)
    made = attached(method, optimizer="adam")
    m = torch.linspace(0.1, 1, CHANNELS, dtype=torch.float64)
    method.on_task_start(0)
    method.learn("body.0", m[None], None)
    method.on_task_start(1)
    weight = made.body[0].weight
    before = weight.detach().clone()
    method.on_gradients(1)
    generator = torch.Generator().manual_seed(3)
    change = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        weight.add_(change)
    method.on_step_end(1)
    p = 0.1 * torch.linalg.inv(0.1 * torch.eye(CHANNELS, dtype=torch.float64) + torch.outer(m, m))
    torch.testing.assert_close(weight.detach() - before, change @ p, **EXACT)
