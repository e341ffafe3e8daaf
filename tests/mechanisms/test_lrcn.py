"""LRCN: Donahue et al. 2015, a convolution at every step and an LSTM over steps, and its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.lrcn import LRCN

pytestmark = pytest.mark.usefixtures("float64")


def convolved(w, b, image, pool):
    """Convolve ``[channels, places]`` with zeros around it, rectify and pool."""
    side = w.shape[2] // 2
    padded = np.pad(image, ((0, 0), (side, side)))
    places = image.shape[1]
    out = np.zeros((len(w), places))
    for f in range(len(w)):
        for a in range(places):
            out[f, a] = max((w[f] * padded[:, a : a + w.shape[2]]).sum() + b[f], 0.0)
    size = pool or places
    return np.stack([out[:, i : i + size].max(1) for i in range(0, places - size + 1, size)], 1)


def by_hand(p, x, frames, layers, pool):
    """One sample; before its first step there were only zeros."""
    whole = np.concatenate([np.zeros((frames - 1, x.shape[1])), x])
    w, u = p["lstm.module.weight_ih_l0"], p["lstm.module.weight_hh_l0"]
    bias = p["lstm.module.bias_ih_l0"] + p["lstm.module.bias_hh_l0"]
    h, c, outputs = np.zeros(len(u) // 4), np.zeros(len(u) // 4), []
    for t in range(len(x)):
        image = whole[t : t + frames]
        for layer in range(layers):
            at = f"convolutions.{layer}.module"
            image = convolved(p[f"{at}.weight"], p[f"{at}.bias"], image, pool)
        i, f, g, o = np.split(w @ image.reshape(-1) + u @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize(("frames", "layers", "pool"), [(1, 1, 2), (3, 1, 0), (2, 2, 2)])
def test_an_lrcn_is_its_equations(frames, layers, pool):
    options = {"filters": 2, "kernel": 3, "pool": pool, "layers": layers, "frames": frames}
    net, x = randomised(LRCN(9, 4, **options)), normal(6, 2, 9)
    y, _ = net(x)
    for b in range(2):
        expected = by_hand(arrays(net), x[:, b].numpy(), frames, layers, pool)
        close(y[:, b], expected, 1e-12)


def test_a_step_sees_its_frames_and_the_state_sees_all():
    net = randomised(LRCN(9, 4, filters=2, kernel=3, frames=3))
    whole = normal(8, 1, 9)
    changed = whole.clone()
    changed[3] += 1.0
    moved = (net.features(changed) - net.features(whole)).detach().abs().amax((1, 2))
    assert (moved > 1e-6).tolist() == [False, True, True, True, False, False]
    moved = (net(changed)[0] - net(whole)[0]).detach().abs().amax((1, 2))
    assert not moved[:3].any() and bool((moved[3:] > 1e-9).all())


def test_a_shifted_spectrum_gives_shifted_features():
    """Filters are shared between places; pooled over all places, a shift is not seen at all."""
    x = torch.zeros(2, 1, 16)
    x[0, 0, 4:7] = x[1, 0, 8:11] = torch.tensor([1.0, 3.0, 2.0])
    shared = randomised(LRCN(16, 4, filters=3, kernel=3, pool=2))
    one, two = shared.features(x).detach().reshape(2, 3, 8)
    close(two[:, 2:], one[:, :-2].numpy(), 1e-12)
    whole = randomised(LRCN(16, 4, filters=3, kernel=3, pool=0)).features(x).detach()
    close(whole[1], whole[0].numpy(), 1e-12)


def test_features_are_rectified_and_pooled_by_the_largest():
    net = randomised(LRCN(4, 2, filters=1, kernel=1, pool=2))
    with torch.no_grad():
        net.convolutions[0].module.weight.fill_(1.0)
        net.convolutions[0].module.bias.zero_()
    x = torch.tensor([1.0, 3.0, -2.0, -5.0]).reshape(1, 1, 4)
    assert net.features(x).flatten().tolist() == [3.0, 0.0]
