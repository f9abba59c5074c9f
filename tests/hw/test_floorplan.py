"""The floorplan of lanes: sites that the device has, each taken once, and lanes that are found."""

import json
import sys

import pytest

from weightstream_hw import synthesis
from weightstream_hw.floorplan import PLACES, place_lanes
from weightstream_hw.tools import run_tool


def cell(kind):
    """Return a cell as Yosys writes it."""
    port = {"MULT18X18D": "A0", "DP16KD": "ADA0"}[kind]
    return {
        "type": kind,
        "parameters": {},
        "attributes": {},
        "port_directions": {port: "input"},
        "connections": {port: [2]},
    }


def netlist(prefix="core.group0."):
    """Return a netlist with nothing but what has a place."""
    ports = {"i": {"direction": "input", "bits": [2]}}
    modules = {
        f"{prefix}{name}": {
            "attributes": {},
            "ports": ports,
            "cells": {f"{kind}_{i}": cell(kind) for kind, sites in places.items() for i in range(len(sites))},
            "netnames": {},
        }
        for name, places in PLACES.items()
    }
    top = {
        f"instance_{number}": {
            "type": name,
            "parameters": {},
            "attributes": {},
            "port_directions": {"i": "input"},
            "connections": {"i": [2]},
        }
        for number, name in enumerate(modules)
    }
    modules["top"] = {"attributes": {"top": 1}, "ports": ports, "cells": top, "netnames": {}}
    return json.dumps({"modules": modules})


def sites_of(text):
    return [
        cell["attributes"].get("BEL")
        for name, module in json.loads(text)["modules"].items()
        if name != "top"
        for cell in module["cells"].values()
    ]


def test_each_site_is_taken_once():
    found = sites_of(place_lanes(netlist()))
    assert None not in found
    assert len(set(found)) == len(found) == 8 * (6 + 4) + 4 * 2


@pytest.mark.parametrize("prefix", ["core.group1.", "core.group0.mac", ""])
def test_other_modules_are_left_alone(prefix):
    assert set(sites_of(place_lanes(netlist(prefix)))) == {None}


def test_the_device_has_the_sites(tmp_path):
    """Sites that are not there, or hold no cell of the kind, would be an error of nextpnr."""
    (tmp_path / "netlist.json").write_text(place_lanes(netlist()))
    files = ("--json", "netlist.json", "--write", "placed.json", "--quiet")
    options = (*synthesis._DEVICE, "--lpf-allow-unconstrained", "--no-route")
    run_tool([sys.executable, "-c", synthesis._NEXTPNR, *options, *files], cwd=tmp_path)
    cells = json.loads((tmp_path / "placed.json").read_text())["modules"]["top"]["cells"].values()
    found = {cell["attributes"]["NEXTPNR_BEL"] for cell in cells if cell["type"] in ("MULT18X18D", "DP16KD")}
    assert found == set(sites_of(place_lanes(netlist())))
