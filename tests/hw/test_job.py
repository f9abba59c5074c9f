"""Jobs: how they begin, how they end, what is kept of an error."""

import functools
import inspect
import random

import pytest

from simulation import simulate
from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode
from weightstream_hw.control.job import JobControl

REPORTERS = 4


class Job:
    """A job control in a test bench; counts the clocks in which `done` is set."""

    def __init__(self, ctx, dut):
        self._ctx, self.dut, self.done = ctx, dut, 0

    def __getattr__(self, name):
        return self._ctx.get(getattr(self.dut, name))

    def set(self, **inputs):
        for name, value in inputs.items():
            self._ctx.set(getattr(self.dut, name), value)

    async def tick(self, count=1):
        for _ in range(count):
            await self._ctx.tick()
            self.done += self._ctx.get(self.dut.done)

    async def pulse(self, *names):
        self.set(**dict.fromkeys(names, 1))
        await self.tick()
        self.set(**dict.fromkeys(names, 0))

    async def fail(self, *reports):
        """Report errors (number, code, address), all in one clock."""
        for number, code, address in reports:
            self._ctx.set(self.dut.errors[number], {"valid": 1, "code": code, "address": address})
        await self.tick()
        for number, *_ in reports:
            self._ctx.set(self.dut.errors[number], {})

    async def start(self):
        self.set(start=1)
        assert self.accepted
        await self.tick()
        self.set(start=0)

    def resets(self):
        """Return whether the job is being given up."""
        assert self.flush == self.core_reset
        return bool(self.flush)


def simulated(bench):
    """Make a test of a test bench: run it on a job control at rest, with idle masters."""

    @functools.wraps(bench)
    def test(**arguments):
        dut = JobControl(Machine(address_bits=40), REPORTERS)

        async def whole(ctx):
            job = Job(ctx, dut)
            job.set(masters_idle=1)
            assert job.idle and not job.resets()
            await bench(job, **arguments)

        simulate(dut, whole)

    # What pytest passes is all but the job.
    _, *parameters = inspect.signature(bench).parameters.values()
    test.__signature__ = inspect.Signature(parameters)
    return test


@pytest.mark.parametrize("seed", range(3))
@simulated
async def test_each_start_is_one_job_and_one_done(job, seed):
    rng = random.Random(seed)
    for number in range(20):
        await job.start()
        assert job.core_start and not job.idle
        job.set(start=number % 2)
        for _ in range(rng.randrange(1, 30)):
            job.set(masters_idle=rng.randrange(2), progress=rng.randrange(2))
            await job.tick()
            assert not (job.core_start or job.idle or job.resets() or job.accepted)
        assert job.done == number
        # The next job may have been asked for meanwhile.
        job.set(masters_idle=0)
        await job.pulse("core_done")
        # What was asked for in vain is swallowed before the next job.
        assert job.done == number + 1 and job.resets() and not job.idle
        await job.tick(rng.randrange(3))
        job.set(masters_idle=1)
        await job.tick()
        assert job.idle and not job.resets() and job.done == number + 1


@pytest.mark.parametrize("first", range(REPORTERS))
@simulated
async def test_of_simultaneous_errors_the_first_counts(job, first):
    await job.start()
    await job.fail(*((number, 3 + number, 0xFF_0000_0000 + number) for number in range(first, REPORTERS)))
    assert job.resets() and job.done == 0
    # What goes wrong while the job is given up does not count.
    await job.fail((0, 1, 1), (1, 2, 2))
    await job.tick(3)
    assert (job.error_code, job.error_address) == (3 + first, 0xFF_0000_0000 + first)
    assert job.done == 1 and job.idle and not job.resets()


@pytest.mark.parametrize("busy", [0, 1, 40])
@simulated
async def test_a_failed_job_is_done_when_the_masters_are_idle(job, busy):
    await job.start()
    # Errors of its last clock count too.
    job.set(masters_idle=int(busy == 0), core_done=1)
    await job.fail((0, 1, 16))
    job.set(core_done=0)
    for _ in range(busy):
        assert job.resets() and job.done == 0 and not job.idle
        await job.tick()
    job.set(masters_idle=1)
    await job.tick()
    assert job.done == 1
    await job.tick(2)
    assert job.done == 1 and job.idle and not job.resets()


@simulated
async def test_an_error_is_kept_until_a_soft_reset(job):
    await job.start()
    await job.fail((3, 9, 4096))
    await job.tick(5)
    for number in range(3):
        await job.start()
        assert job.done == 2 + number and job.idle, "a start with a kept error ends at once"
        for _ in range(3):
            assert not job.core_start and (job.error_code, job.error_address) == (9, 4096)
            await job.tick()
    await job.pulse("soft_reset")
    assert (job.error_code, job.error_address) == (0, 0)
    await job.tick()
    await job.start()
    assert job.core_start and job.done == 4


@pytest.mark.parametrize("limit", [1, 20])
@simulated
async def test_watchdog_counts_clocks_without_progress(job, limit):
    job.set(watchdog=limit)
    await job.start()
    for _ in range(4):
        await job.tick(limit - 1)
        await job.pulse("progress")
        assert not job.resets()
    await job.tick(limit)
    assert not job.resets()
    await job.tick()
    assert job.resets() and job.error_code == ErrorCode.WATCHDOG and job.error_address == 0
    # The next job has as many clocks, one without a limit all the clocks there are.
    for following in (limit, 300):
        await job.pulse("soft_reset")
        await job.tick()
        job.set(watchdog=limit if following == limit else 0)
        await job.start()
        await job.tick(following)
        assert not job.resets() and not job.idle
        await job.tick()
        assert job.resets() == (following == limit)


@pytest.mark.parametrize("error", [0, 7], ids=["complete", "failed"])
@simulated
async def test_a_job_that_ends_with_the_last_clock_of_the_watchdog_has_beaten_it(job, error):
    job.set(watchdog=10)
    await job.start()
    await job.tick(10)
    await (job.fail((3, error, 32)) if error else job.pulse("core_done"))
    await job.tick(5)
    assert job.done == 1 and job.idle and job.error_code == error


@simulated
async def test_a_memory_that_never_answers_does_not_hold_the_job(job):
    job.set(masters_idle=0)
    await job.start()
    await job.fail((0, 4, 8))
    await job.tick(job.dut.PATIENCE - 1)
    assert job.done == 0
    await job.tick()
    assert job.done == 1
    # The next job waits for the masters, however long that takes, also behind a soft reset.
    await job.pulse("soft_reset")
    job.set(start=1)
    for _ in range(50):
        await job.tick()
        assert job.resets() and not (job.idle or job.accepted or job.core_start)
    job.set(masters_idle=1)
    await job.tick()
    await job.start()
    assert job.core_start and job.done == 1


@pytest.mark.parametrize("busy", [0, 7])
@simulated
async def test_a_soft_reset_gives_up_a_job_without_done(job, busy):
    for _ in range(2):
        await job.start()
        await job.tick(5)
        job.set(masters_idle=0)
        await job.pulse("soft_reset")
        for _ in range(busy):
            assert job.resets() and not job.idle
            await job.tick()
        job.set(masters_idle=1)
        await job.tick()
        assert job.idle and not job.resets()
    await job.start()
    await job.pulse("core_done")
    assert job.done == 1


@pytest.mark.parametrize("later", range(4))
@simulated
async def test_a_soft_reset_of_a_job_that_fails_leaves_no_done(job, later):
    job.set(masters_idle=0)
    await job.start()
    await job.fail((1, 8, 8))
    await job.tick(later)
    job.set(masters_idle=int(later == 3))
    await job.pulse("soft_reset")
    job.set(masters_idle=1)
    await job.tick(5)
    assert job.idle and job.done == 0 and job.error_code == ErrorCode.NONE


@simulated
async def test_a_start_that_meets_a_soft_reset_is_not_lost(job):
    job.set(start=1, soft_reset=1)
    assert not job.accepted
    await job.tick()
    job.set(soft_reset=0)
    await job.tick()
    await job.start()
    assert job.core_start
