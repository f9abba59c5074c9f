"""Overlays: the files that Vivado builds them from, and Vivado itself if it is there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from weightstream import __version__
from weightstream.board.names import INSTANCE, OVERLAY, VLNV
from weightstream.cli.files import write_file
from weightstream.errors import TargetError
from weightstream.spec.registers import digest

from ..report import preset_verilog
from ..tools import ToolError, run_tool
from .description import Board, find_board
from .hwh import build_hwh, check_hwh
from .tcl import build_script, design_script, package_script
from .wrapper import INNER, TOP, build_wrapper

#: What the scripts leave in the directory.
PRODUCTS = (f"{OVERLAY}.bit", f"{OVERLAY}.hwh")
COMMAND = ("vivado", "-mode", "batch", "-nojournal", "-log", "build.log", "-source", "build.tcl")


def script_files(board: Board) -> dict[str, str]:
    """Return the texts that an overlay is built from, by file name: all but the accelerator's Verilog."""
    return {
        f"{TOP}.v": build_wrapper(board),
        "package_ip.tcl": package_script(board),
        "block_design.tcl": design_script(board),
        "build.tcl": build_script(board),
        "expected.hwh": build_hwh(board),
        "build.json": json.dumps(_summary(board), indent=2) + "\n",
    }


def accelerator_verilog(board: Board) -> str:
    """Return the accelerator's Verilog: megabytes, and some minutes for large machines."""
    return preset_verilog(board.preset, "xc7" if board.processor.dsp == "xc7" else None)


def _summary(board: Board) -> dict[str, object]:
    return {
        "board": board.name,
        "part": board.part,
        "preset": board.preset,
        "clock_mhz": board.mhz,
        "vlnv": VLNV,
        "instance": INSTANCE,
        "address": f"0x{board.processor.core:08X}",
        "register_map": f"0x{digest():08X}",
        "machine": f"0x{board.machine.digest:08X}",
        "weightstream": __version__,
        "command": " ".join(COMMAND),
    }


def write_overlay(name: str, directory: Path, *, preset: str = "") -> list[Path]:
    """Write what an overlay is built from.

    Parameters
    ----------
    name : str
        The board.
    directory : path
        Where the files go; it is made if it is not there.
    preset : str
        Another machine than the board's own.

    Returns
    -------
    list of path
        The files.

    Raises
    ------
    TargetError
        There is no such board or preset.
    """
    board = find_board(name)
    if preset:
        try:
            board = replace(board, preset=preset)
        except ValueError as error:
            raise TargetError(str(error)) from error
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for file, text in ({f"{INNER}.v": accelerator_verilog(board)} | script_files(board)).items():
        paths.append(directory / file)
        write_file(paths[-1], text.encode())
    return paths


def run_vivado(name: str, directory: Path) -> list[Path]:
    """Build an overlay from its files and return bitstream and handoff.

    Raises
    ------
    TargetError
        There is no Vivado, or its handoff is not what drivers expect.
    ToolError
        Vivado failed; `build.log` in the directory says why.
    """
    vivado = shutil.which(COMMAND[0])
    if vivado is None:
        raise TargetError(
            f"there is no vivado on PATH, so no bitstream was built; where there is one: "
            f"cd {directory} && {' '.join(COMMAND)}"
        )
    run_tool([vivado, *COMMAND[1:]], cwd=directory)
    products = [directory / file for file in PRODUCTS]
    for path in products:
        if not path.is_file():
            raise ToolError(f"vivado has not written {path}: see {directory / 'build.log'}")
    check_hwh(products[1], find_board(name))
    return products
