"""Programs that gateware is built with."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from weightstream.errors import WeightstreamError

#: Lines of a program's output that an error shows.
_SHOWN = 20


class ToolError(WeightstreamError):
    """A program failed on a design; the message ends with what it said."""


def run_tool(
    command: Sequence[str | Path], *, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    """Run a program and return what it printed, errors included.

    Parameters
    ----------
    command : sequence
        Program and arguments.
    cwd : path
        Where it runs; default: here.
    environment : dict
        Variables that it gets beside ours.

    Raises
    ------
    ToolError
        It cannot be started, or fails.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise ToolError(f"cannot start {name}: {error}") from error
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-_SHOWN:])
        raise ToolError(f"{name} failed with exit code {done.returncode}:\n{last}")
    return done.stdout
