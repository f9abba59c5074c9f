"""What `report` says is what the file holds."""

import json
import math

import numpy as np
import pytest

import weightstream as ws
from weightstream.codec.matrix import check_weights, code_matrix
from weightstream.codec.side import table_bits
from weightstream.ir.canonical import code_network
from weightstream.ir.network import Linear, Network, Requantise, Softmax, Tensor
from weightstream.model import Model, from_bytes, from_network
from weightstream.report.sizes import file_report
from weightstream.spec.container import STREAM_ALIGNMENT, file_bytes_for

SECTIONS = ("streams_bits", "keys_bits", "tables_bits", "maps_bits", "records_bits")


def levels(*shape: int, spread: float = 2.0) -> np.ndarray:
    values = np.random.default_rng(7).laplace(0, spread, shape)
    return np.clip(np.rint(values), -7, 7).astype(np.int8)


def uniform(low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(low, high + 1, shape)


def report_matrix(weights: np.ndarray, **options) -> tuple[dict, dict]:
    """Return the report of a file of one matrix, and its one layer."""
    report = file_report(from_bytes(ws.encode_matrix(weights, **options)[0]))
    return report, report["layers"][0]


def make_network(layout: ws.Layout | None = None) -> Model:
    """Return a coded network of two dense layers and a softmax."""
    tensors = (
        Tensor(name="x", shape=(30,), scale=0.5),
        Tensor(name="h", shape=(40,)),
        Tensor(name="y", shape=(5,), dtype="int8", scale=0.25, zero_point=3),
        Tensor(name="p", shape=(5,), dtype="float32"),
    )
    nodes = []
    for name, source, target in (("first", *tensors[:2]), ("second", *tensors[1:3])):
        weights = levels(target.size, source.size)
        geometry = check_weights(weights)
        activation = Requantise(
            bias=uniform(-500, 500, target.size).astype(np.int32),
            multiplier=uniform(1, 1 << 12, target.size).astype(np.int32),
            shift=np.full(target.size, 16, np.uint8),
            zero_point=target.zero_point,
            low=target.low,
            high=target.high,
        )
        node = Linear(
            name=name,
            input=source.name,
            output=target.name,
            geometry=geometry,
            activation=activation,
            weights=weights,
        )
        nodes.append(node)
    nodes.append(Softmax(name="last", input="y", output="p"))
    network = Network(tensors=tensors, nodes=tuple(nodes), inputs=("x",), outputs=("p",))
    return from_network(code_network(network, layout))


def padding_bits(report: dict) -> int:
    """Walk over the sections of a file, and return what is between and behind them."""
    at = (report["header_bits"] + report["graph_bits"]) // 8
    padding = claimed = 0
    for layer in report["layers"]:
        at += sum(layer[key] for key in SECTIONS[1:]) // 8
        if layer["streams_bits"]:
            padding += -at % STREAM_ALIGNMENT
            at += -at % STREAM_ALIGNMENT
        at += layer["streams_bits"] // 8
        claimed += (layer["shape"][0] + 1) * (math.prod(layer["shape"][1:]) + 1)
    return 8 * (padding + max(0, file_bytes_for(claimed) - at))


FILES = {
    "matrix": lambda: from_bytes(ws.encode_matrix(levels(100, 90))[0]),
    "named-rows": lambda: from_bytes(ws.encode_matrix(levels(100, 90), free_rows=False)[0]),
    "kernels": lambda: from_bytes(ws.encode_matrix(levels(24, 8, 3, 3))[0]),
    "int8": lambda: from_bytes(ws.encode_matrix(uniform(-128, 127, 20, 30))[0]),
    "ternary-lanes": lambda: from_bytes(
        ws.encode_matrix(levels(64, 64, spread=0.3), layout=ws.Layout(4, 2))[0]
    ),
    "one-weight": lambda: from_bytes(ws.encode_matrix(np.ones((1, 1), int))[0]),
    "no-rows": lambda: from_bytes(ws.encode_matrix(np.zeros((0, 5), int))[0]),
    "no-columns": lambda: from_bytes(ws.encode_matrix(np.zeros((5, 0), int))[0]),
    "lengthened": lambda: from_bytes(ws.encode_matrix(np.zeros((2050, 2400), np.int8))[0]),
    "network": make_network,
    "network-lanes": lambda: make_network(ws.Layout(8, 4)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_bit_of_the_file_is_counted_once(name):
    model = FILES[name]()
    report = file_report(model)
    assert report["padding_bits"] == padding_bits(report)
    frame = report["header_bits"] + report["graph_bits"] + report["padding_bits"]
    assert frame + sum(layer["coded_bits"] for layer in report["layers"]) == 8 * len(model.to_bytes())
    assert report["file_bits"] == 8 * len(model.to_bytes())
    for layer in report["layers"]:
        assert sum(layer[key] for key in SECTIONS) == layer["coded_bits"]
        assert min(layer[key] for key in SECTIONS) >= 0
    for key in (*SECTIONS, "weights", "fixed_width_bits", "entropy_bits", "permutation_bits", "bound_bits"):
        assert report[key] == sum(layer[key] for layer in report["layers"])


@pytest.mark.parametrize("name", FILES)
def test_report_survives_json(name):
    report = file_report(FILES[name]())
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_report_of_a_written_file_equals_that_of_the_model():
    model = make_network()
    assert file_report(from_bytes(model.to_bytes())) == file_report(model)


def test_model_reports_its_layers():
    model = make_network()
    assert model.report() == file_report(model)["layers"]
    assert [layer["name"] for layer in model.report()] == ["first", "second"]


def test_shapes_are_those_that_were_coded():
    assert report_matrix(levels(6, 4, 3, 2))[1]["shape"] == [6, 4, 3, 2]
    assert report_matrix(levels(6, 24))[1]["shape"] == [6, 24]


@pytest.mark.parametrize(("count", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (15, 4), (256, 8)])
def test_fixed_width_holds_all_levels(count, bits):
    weights = (np.arange(512) % count - count // 2).reshape(4, 128)
    assert report_matrix(weights)[1]["fixed_width_bits"] == 512 * bits


def test_entropy_is_of_the_zeroth_order():
    weights = np.repeat([0, 1, 2], [64, 32, 32]).reshape(8, 16)
    layer = report_matrix(weights)[1]
    assert layer["entropy_bits"] == 128 * 1.5
    assert layer["bound_bits"] == layer["entropy_bits"] - layer["permutation_bits"]


def test_permutation_bits_count_distinct_orders():
    rows = np.array([[1, 2], [3, 4], [1, 2], [5, 6]])
    assert report_matrix(rows)[1]["permutation_bits"] == pytest.approx(math.log2(12))
    assert report_matrix(rows, free_rows=False)[1]["permutation_bits"] == 0
    assert report_matrix(np.zeros((9, 3), int))[1]["permutation_bits"] == 0


def test_order_saves_most_of_what_it_can():
    report, layer = report_matrix(uniform(-7, 7, 512, 64))
    assert 0.95 * layer["permutation_bits"] < layer["order_saved_bits"] <= layer["permutation_bits"]
    _, named = report_matrix(uniform(-7, 7, 512, 64), free_rows=False)
    assert named["order_saved_bits"] == 0
    assert (named["free_rows"], layer["free_rows"]) == (False, True)


def test_saved_bits_are_those_that_named_rows_cost():
    weights = uniform(-7, 7, 512, 64)
    free, named = (
        report_matrix(weights, free_rows=rows, layout=ws.Layout(1, 1))[0] for rows in (True, False)
    )
    assert named["file_bits"] - free["file_bits"] == pytest.approx(free["order_saved_bits"], abs=64)


def test_tables_are_told_from_maps_to_a_byte_or_two():
    # Two kinds of rows and of columns: contexts are worth their maps.
    weights = np.concatenate([levels(64, 256, spread=0.4), levels(64, 256, spread=3.0)])
    coded, _ = code_matrix(weights, check_weights(weights))
    _, layer = report_matrix(weights)
    assert layer["classes"]["rows"] > 1
    assert layer["tables_bits"] == pytest.approx(table_bits(coded.fitted, coded.palette), abs=16)
    assert layer["tables_bits"] + layer["maps_bits"] == 8 * len(coded.side)


def test_layout_sharing_and_classes_are_told():
    layer = file_report(make_network(ws.Layout(8, 4)))["layers"][1]
    assert layer["layout"] == "8 x 4"
    assert layer["sharing"]["split_slots"] * layer["sharing"]["split_groups"] > 1
    assert set(layer["classes"]) == {"rows", "columns", "previous", "back", "tables"}
    assert layer["column_order"] in ("channels first", "taps first")


def test_what_the_host_runs_is_told_with_the_reason():
    report = file_report(make_network())
    reason = "run by numpy on the host: no integer form of it is exact"
    assert report["host_operators"] == [{"name": "last", "op": "softmax", "reason": reason}]
    assert report["inputs"] == [{"name": "x", "shape": [30], "dtype": "uint8", "scale": 0.5, "zero_point": 0}]
    assert report["outputs"] == [{"name": "p", "shape": [5], "dtype": "float32"}]
