"""Where multipliers and memories of lanes stand on an LFE5U-85F.

Its multipliers are in rows of their own, 24 lines apart, and so are its block memories. Left alone, nextpnr
puts those of a lane into different corners, and each symbol crosses the device twice.
"""

import json
import re

#: Columns of four sites in a row begin here; between the two halves of the device there is a wider gap.
_FOURS = (*range(4, 59, 9), *range(69, 115, 9))
#: Kinds of cells: of each four, columns behind the first, and names.
_SITES = {
    "MULT18X18D": ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5")),
    "DP16KD": ((0, "EBR0"), (2, "EBR1"), (4, "EBR2"), (6, "EBR3")),
}
#: Rows of multipliers, and of memories beside them.
_ROWS = ({"MULT18X18D": 34, "DP16KD": 22}, {"MULT18X18D": 58, "DP16KD": 70})
#: Each row has room for two pairs of lanes: half of the sites each.
_HALF = 26
_PAIRS = 2 * len(_ROWS)
#: Which sites of its half a pair takes: the even lane, the context map that both share, the odd lane. Between
#: some multipliers a site stays free, for the router's sake.
_PAIR = (
    ("lane", 0, {"MULT18X18D": (3, 4, 6, 7, 9, 10), "DP16KD": (4, 5, 6, 8)}),
    ("contexts", 0, {"DP16KD": (12, 14)}),
    ("lane", 1, {"MULT18X18D": (15, 16, 18, 19, 21, 22), "DP16KD": (18, 20, 21, 22)}),
)


def _sites(kind: str, pair: int, numbers: tuple[int, ...]) -> list[str]:
    row, half = divmod(pair, 2)
    y = _ROWS[row][kind]
    in_row = [f"X{x + right}/Y{y}/{name}" for x in _FOURS for right, name in _SITES[kind]]
    return [in_row[half * _HALF + number] for number in numbers]


#: Sites (BEL) by module of a group and kind of cell.
PLACES: dict[str, dict[str, list[str]]] = {
    f"{part}{2 * pair + odd}": {kind: _sites(kind, pair, numbers) for kind, numbers in taken.items()}
    for pair in range(_PAIRS)
    for part, odd, taken in _PAIR
}


def place_lanes(netlist: str) -> str:
    """Return a netlist in which multipliers and memories of lanes have their sites.

    Those of the first group of lanes, as far as there are sites; all else is left to nextpnr.

    Parameters
    ----------
    netlist : str
        JSON of Yosys, in which lanes and context maps are modules of their own.
    """
    design = json.loads(netlist)
    for name, module in design["modules"].items():
        found = re.search(r"\bgroup0\.(\w+)$", name)
        for kind, places in PLACES.get(found[1] if found else "", {}).items():
            cells = sorted(cell for cell, content in module["cells"].items() if content["type"] == kind)
            for cell, place in zip(cells, places, strict=False):
                module["cells"][cell]["attributes"]["BEL"] = place
    return json.dumps(design)
