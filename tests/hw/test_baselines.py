"""What the gateware costs is what tests/baselines say, and what the pages show."""

import pytest

import costs
from cost_tables import BLOCKS, with_tables
from costs import (
    BASELINES,
    CYCLE_PRESETS,
    MEASURES,
    PAGES,
    TOLERANCE,
    Measure,
    Row,
    baseline,
    change,
    cycles,
    deviations,
    figures,
    load,
    measure_cycles,
    renewal,
    save,
)
from weightstream_hw.blocks import BLOCKS as ALL_BLOCKS
from weightstream_hw.report import cost_report

#: Blocks that are synthesised in every run, a few seconds each; the others in long runs.
SHORT = {
    "ecp5": {"contexts", "feed", "mac", "queue", "read-master", "records", "ring"},
    "xc7": {"drain", "lane", "mac"},
}


def is_short(measure: Measure) -> bool:
    return measure.block in SHORT[measure.target] and not measure.changes and not measure.routed


def long_unless(short: bool) -> list:
    return [] if short else [pytest.mark.long]


@pytest.mark.parametrize(
    "measure", [pytest.param(m, marks=long_unless(is_short(m)), id=f"{m}") for m in MEASURES]
)
def test_cost_is_within_a_tenth_of_its_baseline(measure):
    old = baseline(measure)
    report = cost_report(**measure.arguments)
    new = {name: report[name] for name in figures(old)}
    found = deviations(figures(old), new, TOLERANCE)
    tools = "" if report["tools"] == old["tools"] else f" ({old['tools']}; here {report['tools']})"
    assert not found, (
        f"{measure}{tools}: {'; '.join(found)}. If that is meant, renew: {renewal(measure.block)}"
    )


@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=long_unless(name == "tiny")) for name in CYCLE_PRESETS]
)
def test_cycles_are_those_of_the_baseline(preset):
    old, new = cycles(preset), measure_cycles(preset)
    assert list(old) == list(new)
    found = [f"{name}: {text}" for name in new for text in deviations(old[name], new[name], 0)]
    assert not found, f"cycles of {preset}: {'; '.join(found)}. If that is meant, renew: {renewal('cycles')}"


@pytest.mark.parametrize("page", PAGES)
def test_page_shows_the_baselines(page):
    text = (BLOCKS / f"{page}.md").read_text("utf-8")
    assert with_tables(page, text) == text, f"docs/blocks/{page}.md is not as generated: make baselines"


def test_baselines_are_those_of_the_measures():
    kept = {f"{path.stem}: {key}" for path in BASELINES.glob("*.json") for key in load(path.stem)}
    declared = {f"{measure.block}: {measure.command}" for measure in MEASURES}
    declared |= {f"cycles: {preset}" for preset in CYCLE_PRESETS}
    assert sorted(declared - kept) == [], "without a baseline: make baselines"
    assert sorted(kept - declared) == [], "nothing declares them any more: make baselines"


def test_every_block_is_measured():
    assert {measure.block for measure in MEASURES} == set(ALL_BLOCKS)


# ---- the comparison itself -----------------------------------------------------------------------


def test_a_tenth_is_allowed_either_way():
    assert deviations({"lut": 100, "dsp": 0}, {"lut": 110, "dsp": 0}, 0.1) == []
    assert deviations({"lut": 100}, {"lut": 111}, 0.1) == ["lut: 100 -> 111 (+11.0%)"]
    assert deviations({"lut": 100}, {"lut": 89}, 0.1) == ["lut: 100 -> 89 (-11.0%)"]
    assert deviations({"dsp": 0}, {"dsp": 1}, 0.1) == ["dsp: 0 -> 1 (was 0)"]
    assert deviations({"a": 7}, {"b": 7}, 0.1) == ["a: 7 -> None (gone)", "b: None -> 7 (new)"]


def test_cycles_are_compared_exactly():
    assert deviations({"default": 4625}, {"default": 4626}, 0) == ["default: 4625 -> 4626 (+0.0%)"]
    assert change(5, 5) == ""


def test_command_of_a_measure_is_that_of_the_report():
    row = Row(
        "lane", "", (("tiny", "xc7"), ("tiny", "ecp5")), {"slots": 16, "thresholds": False}, routed=True
    )
    xc7, ecp5 = row.measures()
    options = "--set slots=16 --set thresholds=false --block lane"
    assert xc7.command == f"weightstream-hw report --preset tiny --target xc7 {options}"
    assert ecp5.command == f"weightstream-hw report --preset tiny --target ecp5 {options} --route"


def test_seeds_are_saved_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "BASELINES", tmp_path)
    entries = {"a": {"fmax_seeds": [114.1, 107.0], "critical_path": "x[1].Q -> y[2].D"}, "b": {"lut": 7}}
    save("lane", entries)
    assert load("lane") == entries
    assert '"fmax_seeds": [114.1, 107.0],' in (tmp_path / "lane.json").read_text("utf-8")
    assert load("none") == {}


def test_what_was_not_measured_names_the_command():
    with pytest.raises(LookupError, match=r'^there is no baseline of .*: make baselines ARGS="--only lane"$'):
        baseline(Measure("lane", "kv260", "xc7"))


def test_pages_need_their_markers():
    with pytest.raises(ValueError, match=r"^docs/blocks/keys.md must hold once each: <!-- cost: make b"):
        with_tables("keys", "# Keys\n")
