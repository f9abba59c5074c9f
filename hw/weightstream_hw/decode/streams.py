"""Which words of which lane are asked for next."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.image import LANE
from weightstream.spec.machine import Machine

from ..bus.axi import PAGE_BYTES, read_request
from .words import burst_beats, bursts_a_bus, word_tag, words_a_beat

#: An entry of a lane table: byte offset in the image, words.
LANE_ENTRY = data.StructLayout({"offset": 32, "words": 32})
assert LANE_ENTRY.size == 8 * LANE.size


def lanes_command(machine: Machine) -> data.StructLayout:
    """Return the layout of a command: address of the image, entries of the lane table, passes minus 1."""
    return data.StructLayout({"image": machine.address_bits, "stored_lanes": 7, "repeats": 16})


class StreamFetch(wiring.Component):
    """Ask for the words of all lanes, pass after pass, so that no queue runs empty or over.

    Word buses have their turns, and on each bus its lanes. One that is behind in this pass gets its next
    burst, if the queues of all lanes that listen (the lane and its clones, ``lane + i * stored_lanes``) have
    room for the words, and its word bus for the burst. The first burst of a lane in a pass has at most
    ``8 * slots`` words and a beat, what its queue needs to be `ready`: so the others have theirs sooner.
    Bursts end with the lane, and in front of a page of memory. Behind its last word a lane gets a marker; a
    lane without words gets it behind the first beat of the image, of which no word is wanted.

    A queue is known by the words it was sent and those that it handed out, both modulo its size; room for one
    word is never used.

    Timing
    ------
    Latency: `latency` clocks from the last entry of a lane table to the first request. After reset,
        the first command is taken after `lanes` clocks.
    Throughput: a request in `period` clocks; each clone takes 2 more. A lane without room costs 3
        clocks, one that is through with the pass 2.
    Stall: waits for the request to be taken.

    Parameters
    ----------
    machine : Machine
        Lanes, queues, memory bus.

    Attributes
    ----------
    command : In(stream)
        Begin with a layer, as `lanes_command` lays it out; taken when everything was asked for that the
        layer before needs. `stored_lanes` must divide the lanes.
    table : In(stream)
        Its lane table, entry by entry.
    taken : In(log2(queue_words)), array
        Of each lane: words that its queue has handed out, modulo the size of the queue.
    released : In(word_buses)
        A burst has left the buffer of its word bus.
    request : Out(stream)
        To the read master.
    tag : Out(word_tag), tag_valid : Out(1)
        What the distributor is told about a burst, in the clock in which it is asked for.
    """

    #: Clocks from the last entry of a table to the first request, and from request to request.
    latency = 4
    period = 5

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "command": In(stream.Signature(lanes_command(machine))),
                "table": In(stream.Signature(64)),
                "taken": In((machine.queue_words - 1).bit_length()).array(machine.lanes),
                "released": In(machine.word_buses),
                "request": Out(stream.Signature(read_request(machine))),
                "tag": Out(word_tag(machine)),
                "tag_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        beat_words = words_a_beat(machine)
        burst_words = burst_beats(machine) * beat_words
        beat_bits = (beat_words - 1).bit_length()
        queue_bits = (machine.queue_words - 1).bit_length()
        # Addresses are those of 16-bit words.
        address_bits = machine.address_bits - 1

        # Of each stored lane: where its words are; how many were asked for in its pass, and that pass's
        # parity.
        entries = data.StructLayout({"first": address_bits, "words": 32})
        progress = data.StructLayout({"at": 32, "lap": 1})
        entry, entry_write = self._memory(m, "entries", entries)
        place, place_write = self._memory(m, "places", progress)
        # Of each lane: words that its queue was sent.
        sent, sent_write = self._memory(m, "sent", queue_bits)

        stored, image = Signal(7), Signal(address_bits, reset_less=True)
        repeats = Signal(16)
        lane = Signal(range(machine.lanes))
        last_lane = Signal()
        # Parity of the pass; lanes that are not through with it.
        lap, behind = Signal(), Signal(7)
        # The lane, then its clones.
        listener = Signal(range(2 * machine.lanes))
        more = Signal()
        m.d.comb += [
            *(port.addr.eq(lane) for port in (entry, entry_write, place, place_write)),
            sent.addr.eq(listener),
            sent_write.addr.eq(listener),
            last_lane.eq(lane == stored - 1),
            more.eq(listener < machine.lanes),
        ]

        # ---- the next burst of the lane -----------------------------------------------------------
        address = Signal(address_bits, reset_less=True)
        left = Signal(32, reset_less=True)
        mine = Signal()
        groups = Signal(machine.groups)
        take = Signal(range(burst_words + 1))
        most = Signal.like(take)
        # The first burst of a pass is what a queue needs to begin: the sooner all lanes have words.
        first = Signal()
        first_words = min(8 * machine.slots + beat_words, burst_words)
        # Words to the end of a block of 2**`block` words, and whether a page ends there, too.
        block = (burst_words - 1).bit_length()
        to_block = Signal(block + 1)
        page_end = Signal()
        whole = Signal(range(burst_words + 1))
        marker = Signal()
        room = Signal(queue_bits, reset_less=True)
        start = address[:beat_bits]
        m.d.comb += [
            to_block.eq((1 << block) - address[:block]),
            page_end.eq(address[block : (PAGE_BYTES // 2 - 1).bit_length()].all()),
            whole.eq(Mux(first, first_words, burst_words) - start),
            most.eq(Mux(page_end & (to_block < whole), to_block, whole)),
        ]
        is_last = Signal()
        m.d.comb += is_last.eq((left[len(most) :] == 0) & (left[: len(most)] <= most))
        measured = [marker.eq(is_last), take.eq(Mux(is_last, left, most))]
        look_at_queue = [
            room.eq(Array(self.taken)[listener[: lane.shape().width]] - sent.data - 1),
            groups.eq(groups | (1 << (listener // machine.group_lanes))),
            listener.eq(listener + stored),
        ]
        bus = lane[: (machine.word_buses - 1).bit_length()]
        # There when the request is: a clock behind what was measured.
        end = Signal(range(burst_words + 1), reset_less=True)
        m.d.sync += end.eq(Mux(take == 0, 0, start + take))
        m.d.comb += [
            self.tag.bus.eq(bus),
            self.tag.groups.eq(groups),
            self.tag.lane.eq((lane % machine.group_lanes) >> len(bus)),
            self.tag.skip.eq(Mux(take == 0, 0, start)),
            self.tag.end.eq(end),
            self.tag.marker.eq(marker),
            self.tag_valid.eq(self.request.valid & self.request.ready),
            self.request.p.address.eq((address >> beat_bits) << (beat_bits + 1)),
            self.request.p.beats.eq(Mux(take == 0, 0, (end - 1) >> beat_bits)),
        ]
        bus_free = self._bus_free(m, bus)

        # Buses have their turns, and on each of them its lanes: no lane loses its turn to a busy bus.
        turns = Array(
            Signal(range(max(machine.lanes // machine.word_buses, 2)), name=f"turn{number}")
            for number in range(machine.word_buses)
        )
        next_bus = (bus + 1)[: len(bus)]
        other_bus = [lane.eq(Cat(next_bus, turns[next_bus]))]
        next_lane = [
            *other_bus,
            turns[bus].eq(Mux(turns[bus] == (stored >> len(bus)) - 1, 0, turns[bus] + 1)),
        ]
        with m.FSM():
            # Memories are not reset.
            with m.State("clear"):
                m.d.comb += sent_write.en.eq(1)
                m.d.sync += listener.eq(listener + 1)
                with m.If(listener == machine.lanes - 1):
                    m.next = "rest"
            with m.State("rest"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [
                    image.eq(self.command.p.image >> 1),
                    stored.eq(self.command.p.stored_lanes),
                    behind.eq(self.command.p.stored_lanes),
                    repeats.eq(self.command.p.repeats),
                    lane.eq(0),
                    *(turn.eq(0) for turn in turns),
                ]
                with m.If(self.command.valid):
                    m.next = "load"
            with m.State("load"):
                given = data.View(LANE_ENTRY, self.table.payload)
                m.d.comb += [
                    self.table.ready.eq(1),
                    entry_write.en.eq(self.table.valid),
                    entry_write.data.first.eq(image + Mux(given.words == 0, 0, given.offset >> 1)),
                    entry_write.data.words.eq(given.words),
                    place_write.en.eq(self.table.valid),
                    place_write.data.at.eq(0),
                    place_write.data.lap.eq(lap),
                ]
                with m.If(self.table.valid):
                    m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))
                    with m.If(last_lane):
                        m.next = "look"
            with m.State("look"):
                m.d.sync += [
                    address.eq(entry.data.first + place.data.at),
                    left.eq(entry.data.words - place.data.at),
                    mine.eq(place.data.lap == lap),
                    first.eq(place.data.at == 0),
                    listener.eq(lane),
                    groups.eq(0),
                ]
                m.next = "measure"
            with m.State("measure"):
                m.d.sync += [*measured, *look_at_queue]
                m.next = "room"
                with m.If(~mine):
                    m.d.sync += next_lane
                    m.next = "look"
            with m.State("room"):
                with m.If(~bus_free):
                    m.d.sync += other_bus
                    m.next = "look"
                with m.Elif(room <= take):
                    m.d.sync += next_lane
                    m.next = "look"
                with m.Elif(more):
                    m.d.sync += look_at_queue
                with m.Else():
                    m.d.sync += [listener.eq(lane), self.request.valid.eq(1)]
                    m.next = "ask"
            # While the request waits, the words are counted for each listener.
            with m.State("ask"):
                m.d.comb += [
                    sent_write.en.eq(more),
                    sent_write.data.eq(sent.data + take + marker),
                    place_write.en.eq(self.tag_valid),
                    place_write.data.at.eq(Mux(marker, 0, place.data.at + take)),
                    place_write.data.lap.eq(lap ^ marker),
                ]
                with m.If(more):
                    m.d.sync += listener.eq(listener + stored)
                with m.If(self.tag_valid):
                    m.d.sync += self.request.valid.eq(0)
                with m.If(
                    (~self.request.valid | self.tag_valid)
                    & (listener + Mux(more, stored, 0) >= machine.lanes)
                ):
                    m.next = "leave"
            with m.State("leave"):
                m.d.sync += next_lane
                m.next = "look"
                with m.If(marker):
                    m.d.sync += behind.eq(behind - 1)
                    with m.If(behind == 1):
                        m.d.sync += [lap.eq(~lap), behind.eq(stored), repeats.eq(repeats - 1)]
                        with m.If(repeats == 0):
                            m.next = "rest"
        return m

    def _memory(self, m: Module, name: str, shape) -> tuple:
        """Add a small memory with an entry for each lane; return its ports."""
        m.submodules[name] = ram = memory.Memory(
            shape=shape, depth=self.machine.lanes, init=[], attrs={"ram_style": "distributed"}
        )
        return ram.read_port(domain="comb"), ram.write_port()

    def _bus_free(self, m: Module, bus) -> Signal:
        """Count the bursts of each word bus; return whether there is room for one more on one of them."""
        most = bursts_a_bus(self.machine)
        free = Signal(self.machine.word_buses)
        for number in range(self.machine.word_buses):
            bursts = Signal(range(most + 1), name=f"bursts{number}")
            m.d.sync += bursts.eq(bursts + (self.tag_valid & (bus == number)) - self.released[number])
            m.d.comb += free[number].eq(bursts != most)
        # Between two requests are more clocks than this one.
        chosen = Signal()
        m.d.sync += chosen.eq(free.bit_select(bus, 1))
        return chosen
