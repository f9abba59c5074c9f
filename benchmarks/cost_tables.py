"""The tables of docs/blocks that show what the gateware costs, from the baselines."""

import re
from collections.abc import Iterator

from costs import CYCLE_PRESETS, MEMORIES, PAGES, ROOT, Measure, Row, baseline, cycles
from weightstream_hw.synthesis import DEVICE_NAME, OFFERS, SEEDS

BLOCKS = ROOT / "docs" / "blocks"
_FAMILIES = {"xc7": "7-series", "ecp5": "ECP5"}
_COLUMNS = {
    "xc7": {"lut": "LUT", "lutram": "of them memory", "ff": "FF", "dsp": "DSP48E1", "ramb36": "RAMB36"},
    "ecp5": {"lut4": "LUT4", "ff": "FF", "mult18": "MULT18X18D", "dp16kd": "DP16KD"},
}
_WIDTH = 130


def write_page(page: str) -> bool:
    """Write the tables into a page, and return whether it has changed; raises what `with_tables` raises."""
    path = BLOCKS / f"{page}.md"
    old = path.read_text("utf-8")
    new = with_tables(page, old)
    if new != old:
        path.write_text(new, "utf-8")
    return new != old


def with_tables(page: str, text: str) -> str:
    """Return the text of a page, with what stands between its markers made anew.

    Raises
    ------
    LookupError
        Something is not measured.
    ValueError
        The page has no markers.
    """
    parts = {"cost": cost_table(page)}
    if page == "accelerator":
        parts["cycles"] = cycle_table()
    for part, body in parts.items():
        begin, end = f"<!-- {part}: make baselines writes this -->", f"<!-- {part}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"docs/blocks/{page}.md must hold once each: {begin} and {end}")
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{body}\n{end}{rest.partition(end)[2]}"
    return text


def cost_table(page: str) -> str:
    """Return the tables of a page: one a family, with how it is measured."""
    measures = [measure for row in PAGES[page] for measure in row.measures()]
    targets = {measure.target for measure in measures}
    tables = [_family_table(page, target) for target in _FAMILIES if target in targets]
    tools = {tool for measure in measures for tool in baseline(measure)["tools"].split(", ")}
    lines = [
        f"{', '.join(sorted(tools, reverse=True))}. `make baselines` measures again; the first row alone:"
    ]
    clock = f"Clocks: {DEVICE_NAME}, placed and routed between registers, seeds {SEEDS[0]} to {SEEDS[-1]}."
    if any(measure.routed for measure in measures):
        lines.insert(0, clock)
    return "\n\n".join([*tables, _wrap(" ".join(lines)), f"    {measures[0].command}"])


def _family_table(page: str, target: str) -> str:
    rows = [(row, measure) for row in PAGES[page] for measure in row.measures() if measure.target == target]
    presets = {measure.preset for _, measure in rows}
    routed = any(measure.routed for _, measure in rows)
    one = f"`{rows[0][1].preset}`, " if len(presets) == 1 and page != "accelerator" else ""
    columns = [*_COLUMNS[target].values(), *(["clock: median, seeds"] if routed else [])]
    lines = [f"| {one}{_FAMILIES[target]} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row, measure in rows:
        lines += [f"| {' | '.join(cells)} |" for cells in _cells(row, measure, routed)]
    return "\n".join(lines)


def _cells(row: Row, measure: Measure, routed: bool) -> Iterator[list[str]]:
    """Yield the cells of a row, and of another one with the shares of a whole accelerator."""
    entry = baseline(measure)
    counts = {name: entry[name] * row.pieces for name in _COLUMNS[measure.target]}
    clock = ""
    if measure.routed:
        clock = f"{entry['fmax_mhz']:.0f} MHz: {', '.join(f'{mhz:.0f}' for mhz in entry['fmax_seeds'])}"
    yield [row.caption, *(f"{count:,g}" for count in counts.values()), *([clock] if routed else [])]
    if measure.block == "accelerator":
        part, offered = OFFERS[measure.target]
        shares = (f"{100 * count / offered[name]:.0f} %" for name, count in counts.items())
        yield [f"share of an {part}", *shares, *([""] if routed else [])]


def cycle_table() -> str:
    """Return the table of cycles."""
    entries = {preset: cycles(preset) for preset in CYCLE_PRESETS}
    heads = [f"`{preset}`, {memory}" for preset in CYCLE_PRESETS for memory in MEMORIES]
    lines = [
        f"| cycles of a job | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for network in entries[CYCLE_PRESETS[0]]:
        cells = (f"{entries[preset][network][memory]:,}" for preset in CYCLE_PRESETS for memory in MEMORIES)
        lines.append(f"| {network} | {' | '.join(cells)} |")
    memories = (
        f"{name}: {memory['bandwidth']:g} bytes a cycle, latency {memory['latency']}"
        for name, memory in MEMORIES.items()
    )
    return "\n".join(lines) + "\n\n" + _wrap(f"Memory: {'; '.join(memories)}.")


def _wrap(text: str) -> str:
    """Return text in lines of a page; nothing in backticks is broken."""
    lines = [""]
    for word in re.findall(r"`[^`]*`\S*|\S+", text):
        if len(lines[-1]) + len(word) >= _WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)
