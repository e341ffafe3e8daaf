"""The interface of all layers, what gathers within a context, checks of numbers, and messages."""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import snnsim as sn
from snnsim import errors
from snnsim.errors import (
    LARGEST_SIZE,
    ConfigError,
    NonFiniteError,
    ShapeError,
    check_choice,
    check_number,
    check_seed,
    check_size,
    naming,
    nearest,
    short,
)
from snnsim.finite import all_finite, check_input, first_not_finite
from snnsim.layer import (
    Layer,
    add_auxiliary_loss,
    as_input,
    autocasting,
    auxiliary_losses,
    detach_state,
    evaluating,
    is_plain,
    map_state,
    run_layer,
    start_training,
    weighted_losses,
)

# --- layers ---------------------------------------------------------------------------------------


class Counter(Layer):
    """Adds its state to its input."""

    def forward(self, x, state=None):
        state = 0.0 if state is None else state
        return x + state, state + 1.0


def test_a_layer_gets_its_state_and_a_plain_module_none():
    x = torch.ones(2, 1, 3)
    y, state = run_layer(Counter(), x, 5.0)
    assert float(y[0, 0, 0]) == 6.0 and state == 6.0
    y, state = run_layer(nn.ReLU(), -x, 5.0)
    assert float(y.abs().sum()) == 0.0 and state is None
    with pytest.raises(ShapeError, match="GRU returned tuple instead of a tensor"):
        run_layer(nn.GRU(3, 3), x, None)
    with pytest.raises(NotImplementedError):
        Layer()(x)


def test_inputs_come_in_the_numbers_of_the_weights():
    like = torch.zeros(1, dtype=torch.float64)
    x = torch.rand(3, dtype=torch.float64)
    assert as_input(x, like, "Dense") is x
    for dtype in (torch.bool, torch.int8, torch.int64):
        found = as_input(torch.ones(3, dtype=dtype), like, "Dense")
        assert found.dtype == torch.float64 and found.tolist() == [1.0] * 3
    for dtype in (torch.float32, torch.float16, torch.complex64, torch.complex128):
        with pytest.raises(ShapeError, match=f"x is {dtype} but the weights of Dense are torch.fl"):
            as_input(x.to(dtype), like, "Dense")
    for wrong in ([1.0], None, 3.0, np.ones(3)):
        with pytest.raises(ShapeError, match=r"x is a \w+ but Dense needs a tensor"):
            as_input(wrong, like, "Dense")
    with pytest.raises(ShapeError, match="x is on meta but the weights of Dense are on cpu"):
        as_input(x.to("meta"), like, "Dense")


def test_under_autocast_torch_decides_about_real_numbers_alone():
    like, half = torch.zeros(1), torch.ones(2, dtype=torch.bfloat16)
    assert not autocasting(half)
    with torch.autocast("cpu", torch.bfloat16):
        assert autocasting(half)
        assert as_input(half, like, "Dense") is half
        assert as_input(half.bool(), like, "Dense").dtype == torch.float32
        with pytest.raises(ShapeError, match="complex64"):
            as_input(half.to(torch.complex64), like, "Dense")


def test_a_module_is_plain_unless_somebody_listens_or_it_is_another():
    class Other(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    class Same(nn.Linear):
        pass

    assert is_plain(nn.Linear(2, 2), nn.Linear) and is_plain(Same(2, 2), nn.Linear)
    assert not is_plain(Other(2, 2), nn.Linear) and not is_plain(nn.ReLU(), nn.Linear)
    for register in (
        "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ):  # fmt: skip
        layer = nn.Linear(2, 2)
        handle = getattr(layer, register)(lambda *_: None)
        assert not is_plain(layer, nn.Linear)
        handle.remove()
        assert is_plain(layer, nn.Linear)
        anywhere = {
            "register_forward_hook": "register_module_forward_hook",
            "register_forward_pre_hook": "register_module_forward_pre_hook",
            "register_full_backward_hook": "register_module_full_backward_hook",
            "register_full_backward_pre_hook": "register_module_full_backward_pre_hook",
        }[register]
        handle = getattr(nn.modules.module, anywhere)(lambda *_: None)
        try:
            assert not is_plain(layer, nn.Linear)
        finally:
            handle.remove()
    layer.forward = layer.forward
    assert not is_plain(layer, nn.Linear)


def test_a_function_reaches_every_tensor_of_a_state_and_leaves_the_rest():
    a, b, c = torch.zeros(1), torch.ones(2), torch.full((3,), 2.0)
    state = ({"v": a, "deep": (b, None, {"w": c})}, None, (), "text", 3)
    found = map_state(lambda t: t + 1, state)
    assert found[0]["v"].tolist() == [1.0] and found[0]["deep"][0].tolist() == [2.0, 2.0]
    assert found[0]["deep"][1] is None and found[0]["deep"][2]["w"].tolist() == [3.0] * 3
    assert found[1:] == (None, (), "text", 3) and list(found[0]) == ["v", "deep"]
    assert a.tolist() == [0.0] and map_state(len, c) == 3
    grown = (torch.zeros(1, requires_grad=True) + 1, {"v": torch.zeros(1, requires_grad=True)})
    cut = detach_state(grown)
    assert not cut[0].requires_grad and not cut[1]["v"].requires_grad
    assert grown[0].requires_grad and float(cut[0]) == 1.0


# --- losses that layers add -----------------------------------------------------------------------


def test_losses_gather_by_name_in_the_innermost_context():
    add_auxiliary_loss("a", torch.tensor(100.0))  # nobody asked
    with auxiliary_losses() as outer:
        add_auxiliary_loss("a", torch.tensor(1.0))
        with auxiliary_losses() as inner:
            add_auxiliary_loss("a", torch.tensor(2.0))
        with pytest.raises(KeyError), auxiliary_losses():
            raise KeyError
        add_auxiliary_loss("a", torch.tensor(4.0))
        add_auxiliary_loss("b", torch.tensor(8.0))
    add_auxiliary_loss("a", torch.tensor(100.0))
    assert {k: float(v) for k, v in outer.items()} == {"a": 5.0, "b": 8.0}
    assert {k: float(v) for k, v in inner.items()} == {"a": 2.0}


def test_losses_of_a_part_count_with_its_weight():
    with auxiliary_losses() as extra:
        add_auxiliary_loss("a", torch.tensor(1.0))
        for weight in (0.25, 0.5):
            with weighted_losses(weight):
                add_auxiliary_loss("a", torch.tensor(4.0))
                add_auxiliary_loss("b", torch.tensor(1.0))
                add_auxiliary_loss("b", torch.tensor(1.0))
    assert {k: float(v) for k, v in extra.items()} == {"a": 1 + 1 + 2, "b": 0.5 + 1.0}
    with weighted_losses(0.5):
        add_auxiliary_loss("a", torch.tensor(4.0))  # nobody asked


# --- modes ----------------------------------------------------------------------------------------


def test_training_starts_unless_it_has_and_frozen_layers_stay_so():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()
    start_training(net)
    assert all(m.training for m in net.modules())
    net[1].eval()
    start_training(net)
    assert [m.training for m in net.modules()] == [True, True, False]


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_ends_with_every_module_as_it_was(fails):
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout().eval(), nn.ReLU())
    before, cudnn = [m.training for m in net.modules()], torch.backends.cudnn.enabled
    try:
        with evaluating(net):
            assert not any(m.training for m in net.modules())
            assert torch.backends.cudnn.enabled is False  # gradients may be taken
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [m.training for m in net.modules()] == before == [True, True, False, True]
    assert torch.backends.cudnn.enabled == cudnn
    with torch.no_grad(), evaluating(net):
        assert torch.backends.cudnn.enabled == cudnn


# --- errors ---------------------------------------------------------------------------------------


def test_errors_can_be_caught_as_what_they_are():
    kinds = {
        ShapeError: ValueError, ConfigError: ValueError, errors.DataError: Exception,
        errors.BackendError: RuntimeError, errors.CheckpointError: Exception,
        NonFiniteError: ArithmeticError,
    }  # fmt: skip
    for kind, base in kinds.items():
        assert issubclass(kind, errors.SnnsimError) and issubclass(kind, base)
        assert sum(issubclass(kind, other) for other in kinds) == 1


def test_an_error_of_the_system_says_which_file_it_is_about():
    with (
        pytest.raises(OSError, match="No space left on device: 'a.png'") as caught,
        naming(Path("a.png")),
    ):
        raise OSError(28, "No space left on device")
    assert (caught.value.errno, caught.value.filename) == (28, "a.png")
    for error in (OSError(28, "No space", "b.png"), OSError("of no number"), ValueError("x")):
        with pytest.raises(type(error)) as caught, naming(Path("a.png")):
            raise error
        assert caught.value is error
    with pytest.raises(PermissionError, match=r"a\.png"), naming(Path("a.png")):
        raise PermissionError(13, "Permission denied")


def test_long_values_are_shown_by_their_ends():
    assert short([1, "a"]) == "[1, 'a']"
    assert short("a" * 198) == repr("a" * 198)
    digits = "".join(str(i % 10) for i in range(999))
    quoted = f"'{digits}'"
    assert short(digits) == f"{quoted[:98]}...{quoted[-99:]}" and len(short(digits)) == 200
    assert short("abcdefghij", 8) == "'a...ij'" and short("a" * 197 + "b") == f"'{'a' * 197}b'"
    assert short("abcdefgh", 10) == "'abcdefgh'"
    assert short(10**5000) == "a number of thousands of digits"


def test_the_closest_name_is_proposed():
    assert nearest("tau_men", ["v_reset", "tau_mem", "tau_syn"]) == "; did you mean 'tau_mem'?"
    assert nearest("xyz", ["v_reset", "tau_mem"]) == "" == nearest("a", [])
    assert nearest("x" * 10**6, ["x" * 90]) == f"; did you mean {'x' * 90!r}?"
    check_choice("size", "b", iter("abc"))
    with pytest.raises(ConfigError) as caught:
        check_choice("way", "lef", (w for w in ("left", "right")))
    assert str(caught.value) == (
        "way is 'lef' but must be one of left, right; did you mean 'left'?"
    )
    with pytest.raises(ConfigError, match="way is 3 but must be one of left, right$"):
        check_choice("way", 3, ["left", "right"])


def test_sizes_are_whole_numbers_from_least_to_most():
    for given, least, most in ((1, 1, 9), (9, 1, 9), (0, 0, 9), (-3, -5, 9), (np.int64(4), 1, 9)):
        found = check_size("n", given, least, most)
        assert found == given and type(found) is int
    assert check_size("n", 1) == 1 and check_size("n", LARGEST_SIZE) == LARGEST_SIZE == 10**9
    for wrong in (0, -1, 1.0, 2.5, "1", None, True, math.nan, Fraction(3, 1)):
        with pytest.raises(ConfigError, match=r"n is .* must be a whole number of at least 1$"):
            check_size("n", wrong)
    with pytest.raises(ConfigError, match=r"n is 1000000001 but .* whole number from 1 to 1e\+09$"):
        check_size("n", LARGEST_SIZE + 1)
    with pytest.raises(ConfigError, match="n is 10 but must be a whole number from 2 to 9"):
        check_size("n", 10, 2, 9)
    with pytest.raises(ConfigError, match="n is 1 but must be a whole number of at least 2"):
        check_size("n", 1, 2, 9)


def test_seeds_are_those_that_numpy_and_torch_take():
    assert [check_seed(s) for s in (0, 7, 2**63 - 1)] == [0, 7, 2**63 - 1]
    torch.Generator().manual_seed(2**63 - 1)
    for wrong in (-1, 2**63, 0.0, None, True):
        with pytest.raises(ConfigError, match="seed is"):
            check_seed(wrong)


def test_numbers_lie_in_their_range_with_both_ends():
    for given in (0, 1, 0.5, np.float32(0.25), Fraction(1, 3)):
        assert check_number("share", given, 0, 1) is None
    check_number("x", -1e300)
    check_number("x", 1e-300, above=0)
    check_number("x", 2.0, above=0, most=2)
    share = {"least": 0, "most": 1}
    for given, limits, text in (
        (-0.1, share, "x is -0.1 but must be a finite number at least 0 and at most 1"),
        (1.1, share, "x is 1.1 but must be a finite number at least 0 and at most 1"),
        (-1.0, {"least": 0}, "x is -1.0 but must be a finite number at least 0"),
        (3, {"most": 2}, "x is 3 but must be a finite number at most 2"),
        (0, {"above": 0}, "x is 0 but must be a finite number above 0"),
        (-1, {"above": 0}, "x is -1 but must be a finite number above 0"),
        (2.5, {"above": 0, "most": 2}, "x is 2.5 but must be a finite number above 0 and at most "
         "2"),
        (math.nan, {}, "x is nan but must be a finite number"),
        (math.inf, {}, "x is inf but must be a finite number"),
        (-math.inf, {"most": 2}, "x is -inf but must be a finite number at most 2"),
        ("1", {}, "x is '1' but must be a finite number"),
        (True, {}, "x is True but must be a finite number"),
        (1j, {}, "x is 1j but must be a finite number"),
        (None, {"least": 0}, "x is None but must be a finite number at least 0"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            check_number("x", given, **limits)
        assert str(caught.value) == text


# --- numbers that are not finite ------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_found(value):
    for place in range(3):
        x = torch.zeros(3)
        x[place] = value
        assert not all_finite(x) and not all_finite(x.double()) and not all_finite(x.half())
        assert not all_finite(torch.complex(torch.zeros(3), x))
        assert not all_finite(torch.complex(x, torch.zeros(3)))


def test_numbers_that_are_finite_are_taken_however_large():
    big = torch.finfo(torch.float32).max
    for x in (
        torch.tensor([big, big]), torch.tensor([-big, -big]), torch.tensor([big, -big]),
        torch.empty(0), torch.ones(2, dtype=torch.int64), torch.tensor([True]),
        torch.complex(torch.tensor([big, big]), torch.zeros(2)), torch.tensor(0.0),
        torch.ones(2, requires_grad=True),
    ):  # fmt: skip
        assert all_finite(x) is True
        check_input(x)
    assert not all_finite(torch.tensor([math.inf, -math.inf]))
    x = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    assert all_finite(x)


def test_the_first_place_that_is_not_finite_is_named():
    x = torch.zeros(4, 2, 3)
    x[3, 0, 1] = math.inf
    x[2, 1, 0] = -math.inf
    for what, options in (("the input", {}), ("the state", {"what": "the state"})):
        with pytest.raises(NonFiniteError) as caught:
            check_input(x, **options)
        assert str(caught.value).startswith(
            f"{what} is -inf at [2, 1, 0] (of shape (4, 2, 3)) but a network takes finite numbers"
        )
    good, bad = torch.zeros(2), torch.tensor([0.0, math.nan])
    assert first_not_finite([("a", good), ("b", bad), ("c", bad)]) == "b"
    assert first_not_finite([("a", good)]) is None and first_not_finite([]) is None
    assert first_not_finite(iter([("a", bad)])) == "a"


def test_what_the_package_offers_is_there():
    for module in (sn, sn.neurons, sn.synapses, sn.networks, sn.equations):
        for name in module.__all__:
            assert operator.attrgetter(name)(module) is not None
        assert len(set(module.__all__)) == len(module.__all__)
