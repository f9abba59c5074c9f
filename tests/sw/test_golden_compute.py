"""The golden arithmetic, against exact rational numbers and worked examples."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightstream.codec.matrix import Geometry, code_matrix
from weightstream.errors import InputError, NetworkError
from weightstream.golden.compute.mac import mac
from weightstream.golden.compute.requantise import requantise
from weightstream.golden.compute.thresholds import thresholds
from weightstream.golden.decode.matrix import decode_weights
from weightstream.golden.network import run
from weightstream.ir.network import Linear, Network, Requantise, Softmax, Tensor, Thresholds
from weightstream.ir.values import dequantise, finish, integer_output, quantise_input, softmax, to_raw

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


# ---- helpers -------------------------------------------------------------------------------------


def requantiser(bias, multiplier, shift, **fields) -> Requantise:
    """Return a requantiser of one row."""
    constants = {"zero_point": 0, "low": -128, "high": 127} | fields
    return Requantise(
        bias=np.array([bias], np.int32),
        multiplier=np.array([multiplier], np.int32),
        shift=np.array([shift], np.uint8),
        **constants,
    )


def requantise_one(total, activation) -> int:
    return requantise(np.array([[total]], np.int32), activation).item()


def dense(name, source, target, weights, activation) -> Linear:
    geometry = Geometry(rows=len(weights), channels=weights.shape[1])
    return Linear(
        name=name, input=source, output=target, geometry=geometry, activation=activation, weights=weights
    )


def two_layers() -> Network:
    """Return a network of a requantised layer, a threshold layer and a softmax."""
    rng = np.random.default_rng(0)
    first = Requantise(
        bias=rng.integers(-500, 500, 6).astype(np.int32),
        multiplier=rng.integers(1, 255, 6).astype(np.int32),
        shift=np.full(6, 12, np.uint8),
        zero_point=3,
        low=3,
        high=255,
    )
    second = Thresholds(values=np.sort(rng.integers(-300, 300, (4, 3)), axis=1).astype(np.int32), base=-1)
    return Network(
        tensors=(
            Tensor(name="x", shape=(2, 4), scale=0.5, zero_point=10),
            Tensor(name="h", shape=(6,), scale=0.1, zero_point=3),
            Tensor(name="z", shape=(4,), dtype="int8", scale=2.0, zero_point=1),
            Tensor(name="y", shape=(4,), dtype="float32"),
        ),
        nodes=(
            dense("a", "x", "h", rng.integers(-128, 128, (6, 8)).astype(np.int8), first),
            dense("b", "h", "z", rng.integers(-8, 8, (4, 6)).astype(np.int8), second),
            Softmax(name="c", input="z", output="y"),
        ),
        inputs=("x",),
        outputs=("y",),
    )


# ---- multiply and accumulate ---------------------------------------------------------------------


def test_mac_sums_products_of_raw_inputs():
    x = np.array([[255, 0, 128], [1, 2, 3]], np.uint8)
    weights = np.array([[-128, 127, 1], [1, 1, 1]], np.int8)
    sums = mac(x, weights)
    assert sums.dtype == np.int32
    assert sums.tolist() == [[-128 * 255 + 128, 383], [-128 + 254 + 3, 6]]


@pytest.mark.parametrize("sign", [1, -1])
def test_mac_reaches_the_ends_of_int32_and_not_beyond(sign):
    # 66312 * 255 * 127 is the first multiple of 255 * 127 beyond 2**31.
    x = np.full((1, 66312), 255, np.uint8)
    weights = np.full((1, 66312), sign * 127, np.int8)
    assert mac(x[:, 1:], weights[:, 1:]).item() == sign * 66311 * 255 * 127
    with pytest.raises(
        NetworkError, match=r"^sums must fit int32, but go from -?2147514120 to -?2147514120$"
    ):
        mac(x, weights)


# ---- requantiser ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "even", "up"),
    [(-7, -4, -3), (-6, -3, -3), (-5, -2, -2), (-1, 0, 0), (1, 0, 1), (3, 2, 2), (5, 2, 3), (6, 3, 3)],
)
def test_requantise_rounds_halves_as_stated(total, even, up):
    assert requantise_one(total, requantiser(0, 1, 1)) == even
    assert requantise_one(total, requantiser(0, 1, 1, rounding="up")) == up


@given(
    total=INT32,
    bias=INT32,
    multiplier=st.integers(1, (1 << 24) - 1),
    shift=st.integers(0, 47),
    zero_point=st.integers(-128, 255),
    rounding=st.sampled_from(["up", "even"]),
)
def test_requantise_is_the_rounded_rational_number(total, bias, multiplier, shift, zero_point, rounding):
    activation = requantiser(
        bias, multiplier, shift, zero_point=zero_point, low=-200, high=300, rounding=rounding
    )
    if not -(1 << 31) <= total + bias < 1 << 31:
        with pytest.raises(NetworkError, match=r"^sums with their biases must fit int32, but go from"):
            requantise_one(total, activation)
        return
    exact = Fraction((total + bias) * multiplier, 1 << shift)
    rounded = round(exact) if rounding == "even" else (exact + Fraction(1, 2)).__floor__()
    assert requantise_one(total, activation) == min(max(zero_point + rounded, -200), 300)


def test_requantise_treats_rows_apart():
    activation = Requantise(
        bias=np.array([1, -1], np.int32),
        multiplier=np.array([1, 3], np.int32),
        shift=np.array([0, 2], np.uint8),
        zero_point=5,
        low=0,
        high=20,
    )
    assert requantise(np.array([[1, 7], [99, -99]]), activation).tolist() == [[7, 9], [20, 0]]


# ---- thresholds ----------------------------------------------------------------------------------


def test_thresholds_are_reached_when_equal():
    activation = Thresholds(values=np.array([[-1, 4, 4]], np.int32), base=-2)
    sums = np.array([[-2], [-1], [3], [4], [5]], np.int32)
    assert thresholds(sums, activation).reshape(-1).tolist() == [-2, -1, -1, 1, 1]


def test_thresholds_may_fall_and_may_be_none():
    sums = np.array([[-2, 0]], np.int32)
    falling = Thresholds(values=np.array([[-3], [1]], np.int32), base=7, step=-1)
    assert thresholds(sums, falling).tolist() == [[6, 7]]
    assert thresholds(sums, Thresholds(values=np.zeros((2, 0), np.int32), base=7)).tolist() == [[7, 7]]


# ---- networks ------------------------------------------------------------------------------------


def test_run_follows_the_definition():
    network = two_layers()
    first, second = network.nodes[0], network.nodes[1]
    x = np.random.default_rng(1).integers(0, 256, (5, 2, 4), np.uint8)
    expected = []
    for item in x.reshape(5, 8).tolist():
        hidden = []
        for r, row in enumerate(first.weights.tolist()):
            total = sum(a * b for a, b in zip(item, row, strict=True)) + int(first.activation.bias[r])
            scaled = round(Fraction(total * int(first.activation.multiplier[r]), 1 << 12))
            hidden.append(min(max(3 + scaled, 3), 255))
        totals = [sum(a * b for a, b in zip(hidden, row, strict=True)) for row in second.weights.tolist()]
        reached = [sum(t >= v for v in row) for t, row in zip(totals, second.activation.values, strict=True)]
        expected.append([count - 1 for count in reached])
    raw = run(network, x)
    assert raw.dtype == np.int8
    assert raw.tolist() == expected
    assert integer_output(network).name == "z"
    assert len(np.unique(raw)) > 2


def test_run_decodes_what_holds_streams_only(monkeypatch):
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", "numpy")
    network = two_layers()
    nodes = list(network.nodes)
    for i in (0, 1):
        coded, _ = code_matrix(nodes[i].weights, nodes[i].geometry, free_rows=False)
        nodes[i] = replace(nodes[i], weights=None, coded=coded)
    streamed = replace(network, nodes=tuple(nodes))
    x = np.random.default_rng(2).integers(0, 256, (3, 2, 4), np.uint8)
    expected = run(network, x).tolist()
    assert run(streamed, x).tolist() == expected
    assert run(streamed, x, decode=decode_weights).tolist() == expected


def test_run_of_no_items_returns_none():
    assert run(two_layers(), np.zeros((0, 2, 4), np.uint8)).shape == (0, 4)


def test_finish_dequantises_and_runs_the_softmax():
    network = two_layers()
    raw = np.array([[-1, 0, 1, 2]], np.int8)
    real = np.array([[-4.0, -2.0, 0.0, 2.0]], np.float32)
    assert dequantise(network.tensor("z"), raw).tolist() == real.tolist()
    np.testing.assert_allclose(finish(network, raw), np.exp(real) / np.exp(real).sum(), rtol=1e-6)


def test_softmax_stands_large_values():
    assert softmax(np.array([[3e38, -3e38]], np.float32)).tolist() == [[1.0, 0.0]]


def test_quantise_input_rounds_halves_to_even_and_saturates():
    tensor = Tensor(name="x", shape=(1,), dtype="int8", scale=0.5, zero_point=-3)
    x = np.array([[0.25], [0.75], [-0.25], [-0.75], [1e38], [-1e38]], np.float32)
    assert quantise_input(tensor, x).reshape(-1).tolist() == [-3, -1, -3, -5, 127, -128]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 8), np.uint8), r"^input 'x' must be of shape \(batch, 2, 4\), not \(2, 8\)$"),
        (np.zeros((), np.uint8), r"^input 'x' must be of shape \(batch, 2, 4\), not \(\)$"),
        (np.full((1, 2, 4), 256), r"^input 'x' must be uint8, not in \[256, 256\]$"),
        (np.full((1, 2, 4), np.nan), r"^input 'x' must be finite, but holds NaN$"),
        (np.full((1, 2, 4), -np.inf), r"^input 'x' must be finite, but holds infinity$"),
        (np.full((1, 2, 4), "1"), r"^input 'x' must be integers or floats, not <U1$"),
    ],
    ids=["shape", "scalar", "range", "nan", "infinity", "type"],
)
def test_bad_input_is_named(x, message):
    with pytest.raises(InputError, match=message):
        to_raw(two_layers().tensors[0], x)
