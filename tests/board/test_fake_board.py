"""The fake board serves on, whatever it is sent."""

import random
import socket
import time
import warnings

import grpc
import numpy as np
import pytest

from loopback import listen_somewhere
from weightstream.board.fake import server as server_module
from weightstream.board.fake.board import FakeBoard
from weightstream.board.fake.overlay import build_bitstream, write_overlay
from weightstream.board.fake.server import PORT, serve
from weightstream.errors import TargetError, WeightstreamError
from weightstream.runtime.sim_port import SimPort, simulated_board
from weightstream.spec.machine import PRESETS
from weightstream_hw.boards.description import BOARDS, ZYNQ_MPSOC

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynq.pl_server.embedded_device import bit2bin
    from pynq.remote import buffer_pb2, mmio_pb2, remote_device_pb2

TINY = PRESETS["tiny"]
CORE = ZYNQ_MPSOC.core
#: By its path: a method, and its requests.
METHODS = {
    f"/{service.full_name}/{method.name}": (method, getattr(module, method.input_type.name))
    for module in (remote_device_pb2, mmio_pb2, buffer_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@pytest.fixture(scope="module")
def server():
    with listen_somewhere(FakeBoard(BOARDS["kv260"], SimPort(TINY))) as made:
        yield made


@pytest.fixture(scope="module")
def served(server):
    """A channel to a board that is served."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def call(channel, path, *requests):
    """Send bytes to a method, and return the parts of its answer."""
    if path in METHODS and METHODS[path][0].client_streaming:
        return list(channel.stream_stream(path)(iter(requests), timeout=20))
    return list(channel.unary_stream(path)(requests[0], timeout=20))


def status(channel, path, *requests):
    """Return the status of a call that is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, path, *requests)
    return caught.value.code()


def check_alive(channel):
    """The board still answers."""
    request = remote_device_pb2.ExistsFileRequest(file_path="/proc/version").SerializeToString()
    (answer,) = call(channel, "/remote_device.RemoteDevice/existsfile", request)
    assert remote_device_pb2.ExistsFileResponse.FromString(answer).exists


@pytest.mark.parametrize("path", METHODS)
def test_malformed_messages_do_not_end_the_server(served, path):
    # A field's number that never ends; a field that is longer than the message.
    for data in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x7f"):
        for _ in range(10):  # more often than the server has threads
            assert status(served, path, data) in (
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.UNIMPLEMENTED,
            )
    check_alive(served)


@pytest.mark.parametrize("path", METHODS)
def test_random_requests_do_not_end_the_server(served, path):
    noise = random.Random(path)
    for _ in range(20):
        request = METHODS[path][1]()
        for field in request.DESCRIPTOR.fields:
            setattr(request, field.name, random_value(noise, field))
        try:
            call(served, path, request.SerializeToString())
        except grpc.RpcError as error:
            # Unknown: an exception that nobody has foreseen.
            assert error.code() is not grpc.StatusCode.UNKNOWN, error.details()
    check_alive(served)


def random_value(noise, field):
    """Return a value for a field, often one that means something."""
    if field.type == field.TYPE_STRING:
        return noise.choice(
            ["", "buffer-1", "a0000000+1000", "+", "-1+4", "/lib/firmware/x.bin", "x" * 10_000]
        )
    if field.type == field.TYPE_BYTES:
        return noise.randbytes(noise.choice([0, 1, 4, 5000]))
    if field.type == field.TYPE_BOOL:
        return noise.random() < 0.5
    wide = field.type in (field.TYPE_UINT64, field.TYPE_UINT32)
    return noise.choice([0, 1, 4, (1 << 31) - 1, *[CORE] * wide])


def test_methods_that_nobody_knows_are_refused(served):
    for path in ("/mmio.Mmio/erase", "/gpio.Gpio/get_gpio", "/x", "/remote_device.RemoteDevice/shutdown"):
        assert status(served, path, b"") is grpc.StatusCode.UNIMPLEMENTED
    check_alive(served)


def test_clients_that_speak_something_else_do_not_end_the_server(server, served):
    host = server.address.partition(":")[0]
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000), random.Random(1).randbytes(10_000)):
        with socket.create_connection((host, PORT), timeout=10) as client:
            client.sendall(data)
    check_alive(served)


def test_clients_that_leave_in_the_middle_do_not_end_the_server(served):
    request = remote_device_pb2.WriteFileRequest(file_path="/lib/firmware/half.bin", data=bytes(100))
    begun = iter([request.SerializeToString()])

    def never_ending():
        yield next(begun)
        time.sleep(0.2)
        yield b""

    answer = served.stream_unary("/remote_device.RemoteDevice/writefile").future(never_ending())
    answer.cancel()
    check_alive(served)


def test_writes_of_more_than_a_word_are_refused(served):
    request = mmio_pb2.WriteRequest(mmio_id=f"{CORE:x}+1000", offset=0, data=bytes(8))
    code = status(served, "/mmio.Mmio/write", request.SerializeToString())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    outside = mmio_pb2.ReadRequest(mmio_id=f"{CORE:x}+1000", offset=0x1000)
    assert status(served, "/mmio.Mmio/read", outside.SerializeToString()) is grpc.StatusCode.OUT_OF_RANGE


def test_simulation_that_fails_is_told_to_everybody(monkeypatch):
    def break_down(self, cycles):
        raise WeightstreamError("a rule of the bus was broken")

    board = FakeBoard(BOARDS["kv260"], SimPort(TINY))
    monkeypatch.setattr(SimPort, "step", break_down)
    with listen_somewhere(board) as server, grpc.insecure_channel(server.address) as channel:
        request = buffer_pb2.AllocateRequest(size=10).SerializeToString()
        for _ in range(100):
            try:
                call(channel, "/buffer.RemoteBuffer/allocate", request)
            except grpc.RpcError as error:
                assert (error.code(), "a rule" in error.details()) == (grpc.StatusCode.INTERNAL, True)
                break
            time.sleep(0.01)  # the clock runs between two requests
        else:
            pytest.fail("the failure is not told")


def test_two_boards_do_not_share_an_address():
    with listen_somewhere(FakeBoard(BOARDS["kv260"], SimPort(TINY))) as server:
        with pytest.raises(TargetError, match=r"cannot listen on .* \(Address already in use\).*--host"):
            serve("kv260", "tiny", server.address.partition(":")[0])
    with pytest.raises(TargetError, match="cannot listen on 192.0.2.1"):
        serve("kv260", "tiny", "192.0.2.1")


def test_wrong_names_are_refused_before_anything_is_compiled():
    with pytest.raises(TargetError, match="preset must be one of tiny"):
        serve("kv260", "large")
    with pytest.raises(TargetError, match="there is no board 'vck190'; try pynq_z2"):
        serve("vck190", "tiny", "127.0.0.251")


@pytest.mark.parametrize("missing", ["grpc", "pynq.remote"])
def test_missing_packages_are_named(monkeypatch, missing):
    take = server_module.importlib.import_module

    def refuse(name):
        if name.startswith(missing):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return take(name)

    monkeypatch.setattr(server_module.importlib, "import_module", refuse)
    with pytest.raises(TargetError, match=rf"a fake board needs {missing}.*'weightstream\[board,hw,sim\]'"):
        serve("kv260", "tiny", "127.0.0.252")


# ---- its overlay -------------------------------------------------------------------------------------


def test_bitstream_is_read_by_pynq_and_belongs_to_its_handoff():
    board, handoff = simulated_board("kv260")
    bitstream = build_bitstream(board.part, handoff)
    # The words of a bitstream are turned round for the FPGA manager.
    data = np.frombuffer(bit2bin(bitstream), ">i4").astype("<i4").tobytes()
    assert b"for fake boards alone" in data
    # No word that tells a real FPGA to begin.
    assert bytes.fromhex("aa995566") not in bitstream + data
    assert build_bitstream(board.part, handoff + " ") != bitstream


def test_overlay_of_somebody_else_is_not_overwritten(tmp_path):
    path = write_overlay(tmp_path / "new", "part", "handoff")
    assert write_overlay(tmp_path / "new", "part", "other") == path
    assert path.with_suffix(".hwh").read_text() == "other"
    path.write_bytes(b"a real bitstream")
    with pytest.raises(TargetError, match="is no file of a fake board: name another folder"):
        write_overlay(tmp_path / "new", "part", "handoff")
    assert path.read_bytes() == b"a real bitstream"
