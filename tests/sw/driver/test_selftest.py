"""The self-test passes on a machine that computes right, and names what is wrong with others."""

import logging

import pytest

import machine_networks
import needs
from fake_port import TINY, FakeBuffer, FakePort
from weightstream.runtime import control, selftest
from weightstream.runtime.driver import Accelerator
from weightstream.spec.registers import ErrorCode


def report(monkeypatch, port):
    monkeypatch.setattr(selftest, "open_device", lambda target: Accelerator(port, timeout=0.3))
    return {step.name: step for step in selftest.selftest("fake")}


def test_selftest_passes_on_a_machine_that_computes_right(monkeypatch, port):
    steps = report(monkeypatch, port)
    assert all(step.passed for step in steps.values()), [str(s) for s in steps.values() if not s.passed]
    assert steps["result"].text == "PASS"
    assert {"identity", "machine", "memory", "copy", "int4", "binary", "relayout", "counters"} <= steps.keys()
    assert f"machine 0x{TINY.digest:08X}" in steps["identity"].text
    assert port.buffers == 0 and port.closed


def test_selftest_refuses_networks_that_the_machine_is_not_made_for(monkeypatch):
    steps = report(monkeypatch, FakePort(machine_networks.MACHINES["multipliers"]))
    assert "not for this machine" in steps["ternary"].text and steps["result"].text == "PASS"


def _break_outputs(port):
    FakePort.finish(port)
    port.at("output").memory[0] ^= 1


def _break_jobs(port):
    port.poke("error", ErrorCode.WATCHDOG)
    port.end()


@pytest.mark.parametrize(
    ("job", "text"),
    [(_break_outputs, "outputs are not those of the golden model"), (_break_jobs, "failed with WATCHDOG")],
    ids=["outputs", "errors"],
)
def test_selftest_reports_what_is_wrong_and_goes_on(monkeypatch, port, job, text):
    port.job = job
    steps = report(monkeypatch, port)
    assert text in str(steps["int8"]) and "FAIL: " in str(steps["int8"])
    assert not steps["result"].passed and {"copy", "int8", "relayout"} <= set(
        steps["result"].text.split(", ")
    )
    assert steps["memory"].passed and port.buffers == 0


def test_selftest_finds_bad_memory_and_a_missing_interrupt(monkeypatch, port):
    def invalidate(self):
        self.data[:] = self.memory & 0x7F

    monkeypatch.setattr(FakeBuffer, "invalidate", invalidate)
    monkeypatch.setattr(control, "_LOOK", 1e-3)
    port.waits = [False] * 1000
    steps = report(monkeypatch, port)
    assert "262144 bytes do not keep addresses, the first at 0x10000" in steps["memory"].text
    assert "jobs ended without it" in steps["interrupt"].text
    assert not steps["memory"].passed and not steps["interrupt"].passed


def test_selftest_reports_a_refused_overlay(monkeypatch, port):
    port.poke("machine", 1)
    steps = report(monkeypatch, port)
    assert "machine digest of what answers is 0x00000001" in steps["open"].text
    assert not steps["result"].passed


@pytest.mark.parametrize("broken", [False, True], ids=["good", "broken"])
def test_selftest_is_a_command_with_an_exit_code(monkeypatch, port, broken):
    testing = needs.package("typer.testing")
    from weightstream.cli.app import app

    if broken:
        port.job = _break_jobs
    monkeypatch.setattr(selftest, "open_device", lambda target: Accelerator(port))
    result = testing.CliRunner().invoke(app, ["selftest", "--on", "fake"])
    assert result.exit_code == int(broken)
    assert result.stdout.splitlines()[-1] == f"result      {'FAIL: ' if broken else 'PASS'}" or broken
    assert "note: " in result.stderr and "laid out anew" in result.stderr
    # The notes end with the command.
    assert not logging.getLogger("weightstream").handlers
