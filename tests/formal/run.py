# amaranth: UnusedElaboratable=no
"""Prove what holds of buses, word queues, the ring's slots and streams for ever, whatever surrounds them.

    python tests/formal/run.py [name ...]

Each proof is by induction, so it is not limited to a number of clocks; beside it, a search shows that what
is claimed can come about at all. `yowasp-sby` drives, z3 solves.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from amaranth.back import rtlil
from bursts import Bursts
from control import Inputs, Outputs, Program
from reading import Reader, Reads
from registers import Bank, Counters
from slots import Ring
from streams import Fetch, Queue
from writing import Writes

#: Where files go. The tools see them by relative names only.
BUILD = Path(__file__).resolve().parents[2] / "build" / "formal"
#: Clocks from any state in which the claims hold to one in which they must hold.
INDUCTION = 2
#: Proofs by name, and the clocks in which everything reachable is reached.
PROOFS = {
    **{f"bursts-{bits}": (lambda bits=bits: Bursts(bits, 16), 8) for bits in (32, 64, 128)},
    "bursts-page": (lambda: Bursts(128, 256), 8),
    "reads": (lambda: Reads(64), 14),
    **{f"reader-{bits}": (lambda bits=bits: Reader(bits), 20) for bits in (32, 64, 128)},
    **{f"writes-{bits}": (lambda bits=bits: Writes(bits), 16) for bits in (32, 64, 128)},
    "counters-3": (lambda: Counters(3), 20),
    "counters-9": (lambda: Counters(9), 24),
    "registers": (Bank, 12),
    "queue": (Queue, 16),
    "ring": (Ring, 32),
    **{f"fetch-{bits}": (lambda bits=bits: Fetch(bits), 16) for bits in (32, 64, 128)},
    "inputs": (Inputs, 12),
    "outputs": (Outputs, 16),
    "program": (Program, 14),
}


def write(name, make, mode, depth):
    """Write the circuit and the task of a proof; return the name of the task."""
    harness = make()
    task = f"{name}-{mode}"
    (BUILD / f"{task}.il").write_text(rtlil.convert(harness, name="top", ports=harness.inputs))
    (BUILD / f"{task}.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n[engines]\nsmtbmc z3\n"
        f"[script]\nread_rtlil {task}.il\nprep -top top\n[files]\n{task}.il\n"
    )
    return task


def solve(task):
    """Run a task; return whether it passed, and what the tools said."""
    tools = Path(sys.executable).parent
    command = [tools / "yowasp-sby", "-f", f"{task}.sby"]
    for option, tool in (("yosys", "yosys"), ("smtbmc", "yosys-smtbmc"), ("witness", "yosys-witness")):
        command += [f"--{option}", f"yowasp-{tool}"]
    path = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
    result = subprocess.run(
        command, cwd=BUILD, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    return result.returncode == 0, result.stdout + result.stderr


def main(names):
    """Run the proofs of some names, or all."""
    unknown = [name for name in names if name not in PROOFS]
    if unknown:
        sys.exit(f"there is no proof {unknown[0]!r}; there are {', '.join(PROOFS)}")
    BUILD.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in names or PROOFS:
        make, depth = PROOFS[name]
        for mode, clocks in (("prove", INDUCTION), ("cover", depth)):
            start = time.monotonic()
            passed, log = solve(write(name, make, mode, clocks))
            verdict = {"prove": "holds for ever", "cover": "can be reached"}[mode] if passed else "FAILED"
            print(f"{name:14} {verdict:16} {time.monotonic() - start:6.1f} s", flush=True)
            if not passed:
                print(log)
                failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
