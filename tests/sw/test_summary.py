"""What notebooks and terminals show of networks, reports and devices."""

import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import weightstream as ws
from weightstream.model import from_bytes
from weightstream.report.sizes import file_report
from weightstream.runtime.profile import MEANINGS, Profile

NETWORK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "lenet-300-100-ternary.ws"


@pytest.fixture(scope="module")
def net():
    return ws.load(NETWORK)


@pytest.fixture
def axes():
    """Return the axes of a figure that no window shows."""
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    from matplotlib.figure import Figure

    return Figure().add_subplot()


def row_of(text, name):
    """Return the words of the line that begins with a name."""
    return next(line for line in text.splitlines() if line.split()[:1] == [name]).split()


def levels(rows, columns, low, high):
    return np.random.default_rng(1).integers(low, high + 1, (rows, columns)).astype(np.int8)


def test_a_network_shows_its_nodes_and_its_size(net):
    layers = net.report()
    for text in (str(net), net._repr_html_()):
        for layer in layers:
            assert layer["name"] in text
            assert f"{layer['bits_per_weight']:.3f}" in text
        assert f"file: {len(net.to_bytes()):,} bytes" in text
    row = row_of(str(net), layers[0]["name"])
    assert row[1:3] == ["dense", "x".join(map(str, layers[0]["shape"]))]
    assert row[-1] == f"{layers[0]['fixed_width_bits'] / layers[0]['coded_bits']:.2f}"
    assert "\n" not in repr(net)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, 0, "1 level"),
        (0, 1, "2 levels, quads"),
        (-1, 1, "3 levels, pairs"),
        (-8, 7, "16 levels"),
        (-128, 127, "256 levels, 2 passes"),
    ],
    ids=["constant", "binary", "ternary", "int4", "int8"],
)
def test_the_alphabet_says_levels_groups_and_passes(low, high, text):
    model = from_bytes(ws.encode_matrix(levels(40, 60, low, high))[0])
    assert row_of(str(model), "(matrix)")[3 : 3 + len(text.split())] == text.split()


def test_a_matrix_without_weights_is_shown():
    model = from_bytes(ws.encode_matrix(np.zeros((0, 5), int))[0])
    assert row_of(str(model), "(matrix)")[1:5] == ["matrix", "0x5", "0", "levels"]
    assert "0x5" in str(model.report())


def test_a_report_is_a_list_of_dicts_and_prints_as_tables(net):
    report = net.report()
    assert report == file_report(net)["layers"]
    assert json.loads(json.dumps(report)) == report
    assert report.file["file_bits"] == 8 * len(net.to_bytes())
    assert repr(report) == str(report)
    for text in (str(report), report._repr_html_()):
        assert "bits of each layer" in text and "where they are" in text
        assert f"{report.file['streams_bits']:,}" in text
    assert row_of(str(report), "total")[1] == f"{report.file['weights']:,}"


def test_a_report_draws_a_bar_for_each_size_of_each_layer(net, axes):
    report = net.report()
    assert report.plot(axes) is axes
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert len(heights) == 4
    expected = [layer["coded_bits"] / layer["weights"] for layer in (*report, report.file)]
    assert heights["coded, with all side information"] == pytest.approx(expected)
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [*(layer["name"] for layer in report), "all layers"]


def test_a_plot_without_matplotlib_says_what_to_install(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^plots need matplotlib: pip install 'weightstream\[plot\]'$"
    ):
        net.report().plot()


def test_a_device_shows_target_state_and_networks(net):
    device = ws.open("numpy")
    device.load(NETWORK)
    text = str(device)
    assert row_of(text, "target") == ["target", "numpy"]
    assert row_of(text, "state") == ["state", "ready"]
    assert NETWORK.name in text and repr(net) in text
    assert "<table>" in device._repr_html_()
    device.close()
    assert row_of(str(device), "state") == ["state", "closed"]


def test_a_device_at_work_is_shown_at_once():
    device = ws.open("numpy")
    texts = []
    with device._lock:
        reader = threading.Thread(target=lambda: texts.append(str(device)))
        reader.start()
        reader.join(60)
    assert row_of(texts[0], "state") == ["state", "at", "work", "on", "a", "job"]


def test_a_device_that_does_not_answer_is_shown(monkeypatch):
    def fail():
        raise OSError("bus error")

    device = ws.open("numpy")
    monkeypatch.setattr(device, "_figures", fail)
    assert "state     its counters cannot be read\n\nbus error" in str(device)


def test_a_profile_is_a_dict_and_says_what_its_figures_mean(net):
    with ws.open("numpy") as device:
        device.run(net, np.zeros((3, 784), np.int64))
        profile = device.profile()
    assert isinstance(profile, Profile)
    assert profile == dict(profile)
    assert row_of(str(profile), "items")[1] == "3"
    assert MEANINGS["items"] in profile._repr_html_()
