"""A program for PYNQ that knows nothing of any simulation: run by test_remote.py, in a process of its own."""

import sys

import numpy as np
import pynq

import weightstream as ws

bitstream, network, inputs, outputs = sys.argv[1:]
overlay = pynq.Overlay(bitstream)
core = overlay.accelerator_0
print("driver", type(core).__name__)
print("identity", core.register_map.IDENTITY.MAGIC.to_bytes(4, "little").decode())
print("mmio", pynq.MMIO(overlay.ip_dict["accelerator_0"]["phys_addr"], 4096).read(0x80) == core.read(0x80))
print("batch", int(core.register_map.BATCH.ITEMS))
core.register_map.BATCH.ITEMS = 7
print("batch", core.read(0x34))
print("mhz", round(pynq.ps.Clocks.fclk0_mhz))
with pynq.allocate((1000,), "u4") as buffer:
    buffer[:] = np.arange(1000)
    buffer.flush()
    buffer[:] = 0
    buffer.invalidate()
    print("memory", np.array_equal(buffer, np.arange(1000)), buffer.physical_address % 4096)
    buffer[:] = 1
    buffer.invalidate()
    print("not flushed", np.array_equal(buffer, np.arange(1000)))
with ws.open(f"pynq:{bitstream}") as device:
    np.save(outputs, device.run(network, np.load(inputs), raw=True))
    print("polled:", device.port.polling)
    print("buffers", device.port.buffers)
