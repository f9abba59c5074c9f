"""The activation memory."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..delay import delayed

#: Bytes of a word; banks of the memory.
WORD_BYTES = 8


def pool_read(machine: Machine) -> data.StructLayout:
    """Return the layout of a read that is served at once: valid, and the address of the first byte."""
    return data.StructLayout({"valid": 1, "address": machine.pool_address_bits})


def pool_write(machine: Machine) -> data.StructLayout:
    """Return the layout of a write: valid, number of an aligned word, its bytes, which of them to write."""
    return data.StructLayout(
        {"valid": 1, "address": machine.pool_address_bits - 3, "data": 8 * WORD_BYTES, "mask": WORD_BYTES}
    )


class Pool(wiring.Component):
    """Bytes of all activations, read 8 at a time from any address, written as aligned words.

    Timing
    ------
    Latency: `latency` clocks from a read to its data.
    Throughput: a read and a write a clock.
    Stall: `fetch` never waits; `store` waits while `fetch` reads. A read one clock behind a write, or later,
    sees it.

    Parameters
    ----------
    machine : Machine
        Size.

    Attributes
    ----------
    fetch : In(pool_read)
        The client that goes first.
    store : In(stream of byte addresses)
        The client that takes the clocks that are left.
    store_valid : Out(1)
        `data` is the answer to a read of `store`.
    data : Out(64)
        The byte at the address lowest.
    write : In(pool_write)
        What to write.
    """

    #: Clocks from a read to its data: rows of the banks, bank, output register, rotation.
    latency = 4

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "fetch": In(pool_read(machine)),
                "store": In(stream.Signature(unsigned(machine.pool_address_bits))),
                "store_valid": Out(1),
                "data": Out(8 * WORD_BYTES),
                "write": In(pool_write(machine)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        A byte stands in the bank that its low address bits name. Of the 8 bytes from address a on, those in
        banks below ``a % 8`` belong to the next row. What the banks put out is then rotated by that much.
        """
        m = Module()
        row_bits = self.machine.pool_address_bits - 3
        address = Signal(self.machine.pool_address_bits)
        m.d.comb += [
            self.store.ready.eq(~self.fetch.valid),
            address.eq(Mux(self.fetch.valid, self.fetch.address, self.store.payload)),
        ]
        row, next_row, shift = address[3:], Signal(row_bits), address[:3]
        m.d.comb += next_row.eq(row + 1)

        write = Signal.like(self.write, reset_less=True)
        m.d.sync += write.eq(self.write)

        bytes_read = []
        for bank in range(WORD_BYTES):
            m.submodules[f"bank{bank}"] = cells = memory.Memory(
                shape=8, depth=1 << row_bits, init=[], attrs={"ram_style": "block"}
            )
            into, out = cells.write_port(), cells.read_port()
            bank_row = Signal(row_bits, name=f"row{bank}", reset_less=True)
            byte = Signal(8, name=f"byte{bank}", reset_less=True)
            m.d.sync += [bank_row.eq(Mux(shift > bank, next_row, row)), byte.eq(out.data)]
            m.d.comb += [
                out.addr.eq(bank_row),
                into.addr.eq(write.address),
                into.data.eq(write.data.word_select(bank, 8)),
                into.en.eq(write.valid & write.mask[bank]),
            ]
            bytes_read.append(byte)

        shift = delayed(m, shift, self.latency - 1, "shift", reset_less=False)
        word = Cat(bytes_read)
        for bit in reversed(range(3)):
            step = 8 << bit
            rotated = Signal(8 * WORD_BYTES, name=f"rotated{bit}")
            m.d.comb += rotated.eq(Mux(shift[bit], word.rotate_right(step), word))
            word = rotated
        m.d.sync += self.data.eq(word)

        stored = Signal()
        m.d.comb += [
            stored.eq(self.store.valid & self.store.ready),
            self.store_valid.eq(delayed(m, stored, self.latency, "stored", reset_less=False)),
        ]
        return m
