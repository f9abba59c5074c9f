"""From beats of the memory bus to words of the lanes' queues."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import WORD_BITS
from weightstream.spec.machine import Machine

from ..bus.axi import read_beat

#: Bursts of stream words have at most so many beats, however long the bus lets them be.
_MOST_BEATS = 16


def burst_beats(machine: Machine) -> int:
    """Return the beats of the longest burst of stream words, a power of two.

    Two of them must fit a queue that holds too few words for its lane to go on (8 a slot): else the lane
    could wait for words that there is no room for.
    """
    beats = (machine.queue_words - 8 * machine.slots) // (2 * words_a_beat(machine))
    return min(machine.burst_beats, _MOST_BEATS, 1 << beats.bit_length() - 1)


def words_a_beat(machine: Machine) -> int:
    """Return the stream words of a beat."""
    return machine.bus_bits // WORD_BITS


def bursts_a_bus(machine: Machine) -> int:
    """Return the bursts that a word bus has room for: one is played while memory answers for the next.

    On a narrow memory bus a burst is played in fewer clocks than memory takes to answer.
    """
    return max(2, 128 // machine.bus_bits)


def word_tag(machine: Machine) -> data.StructLayout:
    """Return the layout of what is known about a burst before its beats come.

    It is for lane ``bus + lane * word_buses`` of all groups whose bit is set in `groups`. Its words `skip`
    to `end` - 1 are wanted, counted from the first word of its first beat. `marker`: it ends the lane's
    words of a pass.
    """
    return data.StructLayout(
        {
            "bus": range(machine.word_buses),
            "lane": range(machine.group_lanes // machine.word_buses),
            "groups": machine.groups,
            "skip": range(words_a_beat(machine)),
            "end": range(burst_beats(machine) * words_a_beat(machine) + 1),
            "marker": 1,
        }
    )


def word_bus(machine: Machine) -> data.StructLayout:
    """Return the layout of a word bus: a word or, with `last`, a marker behind the last word of a pass.

    It is for lane ``bus + lane * word_buses`` of all groups whose bit is set in `groups`. `final`: the marker
    comes behind this word.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "data": WORD_BITS,
            "last": 1,
            "final": 1,
            "lane": range(machine.group_lanes // machine.word_buses),
            "groups": machine.groups,
        }
    )


class WordDistributor(wiring.Component):
    """Play the words of beats on word buses.

    A beat goes into the buffer of the bus that its lane listens to. The bus plays its words one after
    another, a clock each; those that are not wanted leave their clock empty. Behind the last beat of a lane,
    it plays the marker.

    Timing
    ------
    Latency: `latency` clocks from a beat to its first word, if the bus has nothing else to play.
    Throughput: a word a clock and bus, so that beats for all buses in turn are played as fast as memory sends
        them; a marker takes a clock of its bus.
    Stall: none. Buffers hold what the fetch has asked for, because it asks for no more than `bursts_a_bus`.

    Parameters
    ----------
    machine : Machine
        Memory bus, lanes.

    Attributes
    ----------
    tag : In(word_tag), tag_valid : In(1)
        A burst was asked for; earlier than its first beat.
    beat : In(StructLayout), beat_valid : In(1)
        A beat of the oldest burst, from the read master.
    words : Out(word_bus), array
        What the word buses play.
    released : Out(word_buses)
        A burst of that bus has left its buffer.
    """

    #: Clocks from a beat to its first word.
    latency = 5

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "tag": In(word_tag(machine)),
                "tag_valid": In(1),
                "beat": In(read_beat(machine)),
                "beat_valid": In(1),
                "words": Out(word_bus(machine)).array(machine.word_buses),
                "released": Out(machine.word_buses),
            }
        )

    def listens(self, lane: int) -> Value:
        """Return whether what bus ``lane % word_buses`` plays in this clock is for a lane, as a bit."""
        group, within = divmod(lane, self.machine.group_lanes)
        number, bus = divmod(within, self.machine.word_buses)
        word = self.words[bus]
        return word.valid & word.groups[group] & (word.lane == number)

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        count = words_a_beat(machine)
        bursts = machine.word_buses * bursts_a_bus(machine)
        entry_layout = data.StructLayout(
            {
                "data": machine.bus_bits,
                "wanted": count,
                "lane": word_tag(machine)["lane"].shape,
                "groups": machine.groups,
                "end": 1,
                "marker": 1,
            }
        )

        # ---- beats get what their words need ---------------------------------------------------
        m.submodules.tags = tags = SyncFIFO(width=word_tag(machine).size, depth=bursts)
        # The beat with its tag: from memories and from afar, so both are registered.
        tag = Signal(word_tag(machine), reset_less=True)
        beat, beat_valid = Signal.like(self.beat, reset_less=True), Signal()
        m.d.sync += [tag.eq(tags.r_data), beat.eq(self.beat), beat_valid.eq(self.beat_valid)]
        entry = Signal(entry_layout, reset_less=True)
        chosen = Signal(machine.word_buses)
        # Whether a beat is the first one of its burst; the whole beats that are wanted from it on.
        first = Signal(init=1)
        whole, left = Signal(range(burst_beats(machine) + 1)), Signal(range(burst_beats(machine) + 1))
        within = (count - 1).bit_length()
        m.d.comb += [
            tags.w_en.eq(self.tag_valid),
            tags.w_data.eq(self.tag),
            tags.r_en.eq(self.beat_valid & self.beat.last),
            whole.eq(Mux(first, tag.end >> within, left)),
        ]
        m.d.sync += [
            entry.data.eq(beat.data),
            entry.wanted.eq(
                Cat(((whole != 0) | (tag.end[:within] > i)) & ~(first & (tag.skip > i)) for i in range(count))
            ),
            entry.lane.eq(tag.lane),
            entry.groups.eq(tag.groups),
            entry.end.eq(beat.last),
            entry.marker.eq(beat.last & tag.marker),
            chosen.eq(Mux(beat_valid, 1 << tag.bus, 0)),
        ]
        with m.If(beat_valid):
            m.d.sync += [first.eq(beat.last), left.eq(whole - 1)]

        for bus in range(machine.word_buses):
            buffer = SyncFIFO(width=entry_layout.size, depth=burst_beats(machine) * bursts_a_bus(machine))
            m.submodules[f"buffer{bus}"] = buffer
            m.d.comb += [buffer.w_en.eq(chosen[bus]), buffer.w_data.eq(entry)]
            self._play(m, bus, buffer, entry_layout)
        return m

    def _play(self, m: Module, bus: int, buffer: SyncFIFO, layout: data.StructLayout):
        """Play the words of a buffer, entry by entry."""
        count = words_a_beat(self.machine)
        entry = Signal(layout, name=f"playing{bus}", reset_less=True)
        playing = Signal(name=f"is_playing{bus}")
        index = Signal(range(count), name=f"index{bus}")
        # The marker has a clock of its own, behind the words of its beat.
        marking = Signal(name=f"marking{bus}")
        last_word = Signal(name=f"last_word{bus}")
        valid = Signal(name=f"valid{bus}")
        word = Signal(word_bus(self.machine), name=f"word{bus}", reset_less=True)
        m.d.comb += [
            last_word.eq(index == count - 1),
            buffer.r_en.eq(~playing | marking | (last_word & ~entry.marker)),
            self.words[bus].eq(word),
            self.words[bus].valid.eq(valid),
        ]
        with m.If(buffer.r_en):
            m.d.sync += [entry.eq(buffer.r_data), playing.eq(buffer.r_rdy)]
        m.d.sync += [
            valid.eq(playing & (marking | entry.wanted.bit_select(index, 1))),
            word.data.eq(Mux(marking, 0, entry.data.word_select(index, WORD_BITS))),
            word.last.eq(marking),
            word.final.eq(~marking & entry.marker & ~((entry.wanted >> 1) >> index).any()),
            word.lane.eq(entry.lane),
            word.groups.eq(entry.groups),
            self.released[bus].eq(playing & buffer.r_en & entry.end),
        ]
        with m.If(playing & marking):
            m.d.sync += marking.eq(0)
        with m.Elif(playing):
            m.d.sync += [index.eq(index + 1), marking.eq(last_word & entry.marker)]
