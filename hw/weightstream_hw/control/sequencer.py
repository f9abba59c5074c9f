"""One pass through the rows of a layer, round by round."""

from amaranth import Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .columns import ColumnWalk
from .config_write import CONFIG_WRITE
from .groups import row_groups_of
from .round import ROUND, RoundKind

#: CLEAR rounds of a pass; the last one loads the first words of the streams.
CLEAR_ROUNDS = 2
#: FILL rounds of a pass: a stream begins with two words.
FILL_ROUNDS = 2


class Phase(enum.Enum):
    """What comes next."""

    REST = 0
    CLEAR = 1
    FILL = 2
    START = 3
    SYMBOL = 4
    END = 5


class RoundSequencer(wiring.Component):
    """Decide, in the last clock of each round, what the next round does.

    ::

        2 x CLEAR, 2 x FILL; for each tile: START, part_symbols x SYMBOL; a CLEAR that captures the last sums

    Both CLEAR reset the streams. With the first one the sums that an abandoned job may have left are dropped;
    with the second one the queues go on to the first words of the pass.

    A round waits, as IDLE, for what it needs: the pass's words in all queues (the last CLEAR before the first
    tile), words in all queues (FILL, START, SYMBOL), keys of the tile (START), columns (SYMBOL), the shadow
    sums of the tile before (START, the last CLEAR of all).

    Timing
    ------
    Latency: at most two rounds from `start` to the first CLEAR.
    Throughput: a round every `slots` clocks; `rounds` of them a pass that never waits.
    Stall: IDLE rounds, while something is not ready.

    Parameters
    ----------
    machine : Machine
        Lanes and slots.

    Attributes
    ----------
    start : In(1)
        Begin a pass; the configuration must be in place.
    done : Out(1)
        The last round of the pass was decided on.
    tiles, tile_rows, last_full, last_edge, row_groups, part_symbols, passes, column_period, distance
        From the descriptor, static.
    config : In(CONFIG_WRITE)
        For the map of column classes.
    streams_ready, words_ready, keys_ready, columns_ready, drain_ready : In(1)
        What rounds wait for; looked at in the last clock of a round. `streams_ready`: the words of the pass
        have begun to arrive in all queues.
    keys_bank : In(1)
        Where the keys of the next tile are.
    round, slot, edge : Out
        The round, its clock, the lanes that have a row in slot group `round.full`.
    commit, advance, end_tile : Out(1)
        With the first clock of a SYMBOL round: it takes a column; the last time; the last one of the tile.
    take_keys : Out(1)
        With the first clock of a START round.
    captured : Out(1)
        With the first clock of a round that captures.
    captured_row : Out(21)
        First row of the tile whose sums are captured.
    idle_words, idle_columns, idle_drain, idle_keys, busy : Out(1)
        Pulses, one a round, for counters.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        flags = (
            "done",
            "commit",
            "advance",
            "end_tile",
            "take_keys",
            "captured",
            "idle_words",
            "idle_columns",
            "idle_drain",
            "idle_keys",
            "busy",
        )
        super().__init__(
            {
                "start": In(1),
                "tiles": In(21),
                "tile_rows": In(11),
                "last_full": In(5),
                "last_edge": In(7),
                "row_groups": In(4),
                "part_symbols": In(24),
                "passes": In(2),
                "column_period": In(17),
                "distance": In(5),
                "config": In(CONFIG_WRITE),
                "streams_ready": In(1),
                "words_ready": In(1),
                "keys_ready": In(1),
                "keys_bank": In(1),
                "columns_ready": In(1),
                "drain_ready": In(1),
                "round": Out(ROUND),
                "slot": Out((machine.slots - 1).bit_length()),
                "edge": Out(machine.lanes),
                "captured_row": Out(21),
            }
            | {name: Out(1) for name in flags}
        )

    def rounds(self, tiles: int, part_symbols: int) -> int:
        """Return the rounds of a pass that never waits."""
        return CLEAR_ROUNDS + FILL_ROUNDS + tiles * (1 + part_symbols) + 1

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        m.submodules.walk = walk = ColumnWalk(machine)
        m.d.comb += [
            walk.config.eq(self.config),
            walk.part_symbols.eq(self.part_symbols),
            walk.passes.eq(self.passes),
            walk.column_period.eq(self.column_period),
            walk.distance.eq(self.distance),
            walk.restart.eq(self.start),
        ]
        boundary = Signal()
        # In the first clock of a round: there is time for the walk until its last one.
        step = Signal()
        m.d.comb += walk.step.eq(step)
        m.d.sync += [
            step.eq(0),
            self.slot.eq(Mux(self.slot == machine.slots - 1, 0, self.slot + 1)),
            boundary.eq(self.slot == machine.slots - 2),
        ]

        phase = Signal(Phase)
        pending = Signal()
        count = Signal(range(CLEAR_ROUNDS))
        tile, row = Signal(21), Signal(21)
        first_tile, last_tile = Signal(), Signal()
        m.d.sync += [first_tile.eq(tile == 0), last_tile.eq(tile == self.tiles - 1)]
        with m.If(self.start):
            m.d.sync += pending.eq(1)

        token = self.round
        edge = self._edge(m)
        pulses = [self.commit, self.take_keys, self.captured, self.done, self.busy]
        pulses += [self.idle_words, self.idle_columns, self.idle_drain, self.idle_keys]
        m.d.sync += [pulse.eq(0) for pulse in pulses]

        def issue(kind: RoundKind) -> list:
            return [
                token.kind.eq(kind),
                token.full.eq(Mux(last_tile, self.last_full, machine.slots)),
                self.edge.eq(Mux(last_tile, edge, 0)),
            ]

        def capture() -> list:
            return [
                token.capture.eq(1),
                self.captured.eq(1),
                self.captured_row.eq(row - self.tile_rows),
            ]

        def here() -> list:
            return [
                token.next_field.eq(walk.here.field),
                token.next_column.eq(walk.here.column),
                token.next_previous.eq(walk.here.previous),
                token.next_back.eq(walk.here.back),
            ]

        with m.If(boundary):
            m.d.sync += [
                token.kind.eq(RoundKind.IDLE),
                token.first.eq(0),
                token.prime.eq(0),
                token.capture.eq(0),
                *here(),
            ]
            with m.Switch(phase):
                with m.Case(Phase.REST):
                    with m.If(pending):
                        m.d.sync += [phase.eq(Phase.CLEAR), pending.eq(0), count.eq(0), tile.eq(0), row.eq(0)]
                with m.Case(Phase.CLEAR):
                    with m.If((count != CLEAR_ROUNDS - 1) | self.streams_ready):
                        # A job that was given up may have left sums: they are captured, but not drained.
                        m.d.sync += [
                            *issue(RoundKind.CLEAR),
                            token.capture.eq((count == 0) & self.drain_ready),
                            count.eq(count + 1),
                        ]
                        with m.If(count == CLEAR_ROUNDS - 1):
                            m.d.sync += [token.prime.eq(1), phase.eq(Phase.FILL), count.eq(0)]
                    with m.Else():
                        m.d.sync += self.idle_words.eq(1)
                with m.Case(Phase.FILL):
                    with m.If(self.words_ready):
                        m.d.sync += [*issue(RoundKind.FILL), count.eq(count + 1)]
                        with m.If(count == FILL_ROUNDS - 1):
                            m.d.sync += phase.eq(Phase.START)
                    with m.Else():
                        m.d.sync += self.idle_words.eq(1)
                with m.Case(Phase.START):
                    with m.If(~self.words_ready):
                        m.d.sync += self.idle_words.eq(1)
                    with m.Elif(~self.keys_ready):
                        m.d.sync += self.idle_keys.eq(1)
                    with m.Elif(~first_tile & ~self.drain_ready):
                        m.d.sync += self.idle_drain.eq(1)
                    with m.Else():
                        m.d.sync += [
                            *issue(RoundKind.START),
                            token.bank.eq(self.keys_bank),
                            self.take_keys.eq(1),
                            phase.eq(Phase.SYMBOL),
                            row.eq(row + self.tile_rows),
                        ]
                        with m.If(first_tile):
                            m.d.sync += token.first.eq(1)
                        with m.Else():
                            m.d.sync += capture()
                with m.Case(Phase.SYMBOL):
                    with m.If(~self.words_ready):
                        m.d.sync += self.idle_words.eq(1)
                    with m.Elif(~self.columns_ready):
                        m.d.sync += self.idle_columns.eq(1)
                    with m.Else():
                        m.d.sync += [
                            *issue(RoundKind.SYMBOL),
                            token.column.eq(walk.column),
                            token.palette.eq(walk.palette),
                            token.parity.eq(~token.parity),
                            token.next_field.eq(walk.ahead.field),
                            token.next_column.eq(walk.ahead.column),
                            token.next_previous.eq(walk.ahead.previous),
                            token.next_back.eq(walk.ahead.back),
                            self.commit.eq(1),
                            self.advance.eq(walk.last_pass),
                            self.end_tile.eq(walk.last),
                            self.busy.eq(1),
                        ]
                        m.d.sync += step.eq(1)
                        with m.If(walk.last):
                            m.d.sync += [tile.eq(tile + 1), phase.eq(Mux(last_tile, Phase.END, Phase.START))]
                with m.Case(Phase.END):
                    with m.If(self.drain_ready):
                        m.d.sync += [
                            *issue(RoundKind.CLEAR),
                            *capture(),
                            self.done.eq(1),
                            phase.eq(Phase.REST),
                        ]
                    with m.Else():
                        m.d.sync += self.idle_drain.eq(1)
        return m

    def _edge(self, m):
        """Return the lanes whose position among the row lanes is below `last_edge`, registered."""
        machine = self.machine
        lane_bits = (machine.group_lanes - 1).bit_length()
        edge = Signal(machine.lanes)
        position = Signal(range(machine.lanes + 1))
        m.d.comb += position.eq(self.last_edge)
        for group, row_group in enumerate(row_groups_of(machine, self.row_groups, m)):
            for lane in range(machine.group_lanes):
                index = (row_group << lane_bits) + lane
                m.d.sync += edge[group * machine.group_lanes + lane].eq(index < position)
        return edge
