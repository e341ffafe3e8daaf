"""Parts of models in plain numpy, from the equations of their docstrings."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def randomised(net: nn.Module, scale: float = 0.5, seed: int = 0) -> nn.Module:
    """The net with every parameter away from where it starts."""
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        with torch.no_grad():
            p.copy_(scale * torch.randn(p.shape, generator=generator))
    return net


def normal(*shape: int, seed: int = 1, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one_hot(items, count: int) -> torch.Tensor:
    return nn.functional.one_hot(torch.as_tensor(items), count).float()


def arrays(net: nn.Module) -> dict[str, np.ndarray]:
    """Parameters by name."""
    return {name: value.detach().numpy() for name, value in net.named_parameters()}


def close(found, expected, tolerance: float = 1e-10) -> None:
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else found
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def silu(a):
    return a * sigmoid(a)


def softplus(a):
    return np.log1p(np.exp(a))


def softmax(a, axis=-1):
    e = np.exp(a - a.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def dense(p, name, x):
    return x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0.0)


def heads(x, count):
    return x.reshape(*x.shape[:-1], count, -1)


def unit(x, least):
    return x / np.maximum(np.sqrt((x**2).sum(-1, keepdims=True)), least)


def rms_norm(p, name, x):
    size = np.sqrt((x**2).mean(-1, keepdims=True) + np.finfo(np.float64).eps)
    return x / size * p[f"{name}.weight"]


def layer_norm(p, name, x):
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / spread * p[f"{name}.weight"] + p[f"{name}.bias"]


def lstm_cell(gates, c, forget=0.0):
    """From summed drives in the order ``i, f, o, g``."""
    i, f, o, g = np.split(gates, 4, -1)
    c = sigmoid(f + forget) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def torch_lstm(p, prefix, x, h, c):
    """``torch.nn.LSTM`` with its parameters, whose gates are in the order ``i, f, g, o``."""
    w, u, b = (p[f"{prefix}{k}_l0"] for k in ("weight_ih", "weight_hh", "bias_ih"))
    b, outputs = b + p[f"{prefix}bias_hh_l0"], []
    for now in x:
        i, f, g, o = np.split(now @ w.T + h @ u.T + b, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c


def torch_gru(p, prefix, x, h):
    """``torch.nn.GRU`` with its parameters."""
    w, u, b, b_rec = (p[f"{prefix}{k}_l0"] for k in ("weight_ih", "weight_hh", "bias_ih",
                                                     "bias_hh"))  # fmt: skip
    outputs = []
    for now in x:
        (r, z, n), (r_h, z_h, n_h) = (np.split(a, 3, -1) for a in (now @ w.T + b, h @ u.T + b_rec))
        z = sigmoid(z + z_h)
        h = (1 - z) * np.tanh(n + sigmoid(r + r_h) * n_h) + z * h
        outputs.append(h)
    return np.stack(outputs), h


def attention(p, name, x, count, reach, ahead=0, inside=None):
    """Attention of ``x [T, B, n]`` over its window, from an empty past."""
    steps, batch, n = x.shape
    q, k, v = (heads(dense(p, f"{name}.{part}", x), count) for part in ("query", "key", "value"))
    out = np.zeros((steps, batch, count, n // count))
    for t in range(steps):
        for b in range(batch):
            seen = [
                j
                for j in range(max(t - reach, 0), min(t + ahead, steps - 1) + 1)
                if j == t or inside is None or inside[j, b]
            ]
            for h in range(count):
                scores = np.array([
                    q[t, b, h] @ k[j, b, h] / np.sqrt(n // count)
                    + p[f"{name}.distance"][h, t - j + ahead]
                    for j in seen
                ])  # fmt: skip
                out[t, b, h] = softmax(scores) @ v[seen, b, h]
    return dense(p, f"{name}.out", out.reshape(x.shape))


def gelu(a):
    return a * 0.5 * (1 + torch.erf(torch.from_numpy(a / np.sqrt(2))).numpy())


def block(p, name, x, count, reach, activation=gelu, ahead=0, inside=None):
    """A transformer block from an empty past."""
    at = f"{name}.attention"
    x = x + attention(p, at, layer_norm(p, f"{name}.norms.0", x), count, reach, ahead, inside)
    hidden = activation(dense(p, f"{name}.up", layer_norm(p, f"{name}.norms.1", x)))
    return x + dense(p, f"{name}.down", hidden)
