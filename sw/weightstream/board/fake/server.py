"""PYNQ.remote's protocol, served for a fake board: an unmodified pynq takes it for a board in the network."""

from __future__ import annotations

import importlib
import logging
import signal
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

from ...errors import TargetError, WeightstreamError
from ...runtime.sim_port import SimPort, machine_of_target, simulated_board
from .board import FakeBoard
from .errors import BoardError, Status
from .runner import Runner

#: The port that pynq connects to: it knows no other.
PORT = 7967
#: Bytes of a message.
_CHUNK = 1 << 20
#: Characters of an error: they travel in a header, which is limited, and may quote the request.
_TEXT = 500
_THREADS = 32

_log = logging.getLogger("weightstream")


class RemoteServer:
    """A server for a board; it runs from its creation until `close`.

    Parameters
    ----------
    board : FakeBoard
        The board; it is closed with the server.
    host : str
        Address that it listens on.

    Attributes
    ----------
    address : str
        Host and port.

    Raises
    ------
    TargetError
        A package is missing, or the address cannot be used.
    """

    def __init__(self, board: FakeBoard, host: str = "127.0.0.1"):
        self.address = f"{host}:{PORT}"
        self._board = board
        self._grpc = _load("grpc")
        _check_address(host)
        # Two boards must not share a port, which gRPC would let them.
        self._server = self._grpc.server(
            futures.ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 0)]
        )
        for service in ("remote_device", "mmio", "buffer"):
            self._add(service)
        try:
            self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise TargetError(f"cannot listen on {self.address}: {error}") from error
        self._runner = Runner(board)
        self._server.start()

    def wait(self) -> None:
        """Serve until Ctrl-C, or until the process is asked to end (SIGTERM); call it in the main thread."""
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._server.wait_for_termination()
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)

    def close(self) -> None:
        """Stop serving; what is under way is given up. Calling it again does nothing."""
        self._server.stop(None).wait()
        self._runner.close()

    def __enter__(self) -> RemoteServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the protocol ----------------------------------------------------------------------------

    def _add(self, package: str) -> None:
        """Register the methods of a service: those that pynq's client calls."""
        messages = _load(f"pynq.remote.{package}_pb2")
        service = next(iter(messages.DESCRIPTOR.services_by_name.values()))
        handlers = {}
        for method in service.methods:
            answer = getattr(self, f"_{package}_{method.name}", None)
            if answer is None:
                continue
            kind = "_".join(
                "stream" if streaming else "unary"
                for streaming in (method.client_streaming, method.server_streaming)
            )
            request = getattr(messages, method.input_type.name)
            response = getattr(messages, method.output_type.name)
            # Requests are parsed by us: gRPC loses a thread with each stream of which it cannot parse a part.
            handlers[method.name] = getattr(self._grpc, f"{kind}_rpc_method_handler")(
                self._handler(method, answer, request, response),
                response_serializer=response.SerializeToString,
            )
        generic = self._grpc.method_handlers_generic_handler(service.full_name, handlers)
        self._server.add_generic_rpc_handlers((generic,))

    def _handler(
        self, method: Any, answer: Callable[..., Any], request: Any, response: Any
    ) -> Callable[..., Any]:
        """Return the handler of a method: an error of the board becomes one of the protocol."""
        malformed = _load("google.protobuf.message").DecodeError

        def parse(data: bytes) -> Any:
            try:
                return request.FromString(data)
            except malformed as error:
                text = f"this is no {request.DESCRIPTOR.full_name}"
                raise BoardError(Status.INVALID_ARGUMENT, text) from error

        def ask(data: Any) -> Any:
            return answer(map(parse, data) if method.client_streaming else parse(data), response)

        def refuse(context: Any, error: WeightstreamError) -> None:
            status = error.status if isinstance(error, BoardError) else Status.INTERNAL
            text = str(error)[:_TEXT]
            _log.info("refused: %s", text)
            context.abort(self._grpc.StatusCode[status.name], text)

        def one(data: Any, context: Any) -> Any:
            try:
                return ask(data)
            except WeightstreamError as error:
                refuse(context, error)

        def many(data: Any, context: Any) -> Iterator[Any]:
            try:
                yield from ask(data)
            except WeightstreamError as error:
                refuse(context, error)

        return many if method.server_streaming else one

    # ---- files -----------------------------------------------------------------------------------

    def _remote_device_existsfile(self, request: Any, response: Any) -> Any:
        return response(exists=self._runner.call(self._board.files.exists, request.file_path))

    def _remote_device_readfile(self, request: Any, response: Any) -> Iterator[Any]:
        data = self._runner.call(self._board.files.read, request.file_path)
        return (response(data=part) for part in _parts(data))

    def _remote_device_writefile(self, requests: Iterable[Any], response: Any) -> Any:
        files, path, data = self._board.files, None, bytearray()
        for request in requests:
            if path not in (None, request.file_path):
                raise BoardError(Status.INVALID_ARGUMENT, f"parts of {path!r} and {request.file_path!r}")
            path = request.file_path
            self._runner.call(files.check_write, path, len(data) + len(request.data))
            data += request.data
        if path is None:
            raise BoardError(Status.INVALID_ARGUMENT, "there is nothing to write")
        self._runner.call(files.write, path, bytes(data))
        return response()

    def _remote_device_set_bitstream_attrs(self, _: Any, response: Any) -> Any:
        return response(status=True)

    # ---- registers -------------------------------------------------------------------------------

    def _mmio_get_mmio(self, request: Any, response: Any) -> Any:
        # The name says all, so nothing is kept for clients that go away without a word.
        return response(status=True, mmio_id=f"{request.base_addr:x}+{request.length:x}")

    def _mmio_read(self, request: Any, response: Any) -> Any:
        # As on a board, a word is read whatever length is asked for.
        value = self._runner.call(self._board.read32, _register(request))
        data = response.DESCRIPTOR.fields_by_name["data"]
        if data.type == data.TYPE_INT32:  # pynq 3
            value -= (value & 1 << 31) << 1
        return response(status=True, data=value)

    def _mmio_write(self, request: Any, response: Any) -> Any:
        if len(request.data) != 4:
            raise BoardError(
                Status.INVALID_ARGUMENT,
                f"a write must have 4 bytes, not {len(request.data)}: a board would take the first 4 alone",
            )
        value = int.from_bytes(request.data, "little")
        self._runner.call(self._board.write32, _register(request), value)
        return response(status=True)

    # ---- memory ----------------------------------------------------------------------------------

    def _buffer_allocate(self, request: Any, response: Any) -> Any:
        try:
            return response(buffer_id=self._runner.call(self._board.allocate, request.size))
        except BoardError as error:
            if error.status is Status.INTERNAL:
                raise
            # As a board does it: no error, and a buffer without a name.
            _log.info("refused: %s", error)
            return response(msg=str(error))

    def _buffer_write(self, requests: Iterable[Any], response: Any) -> Any:
        start = 0
        for request in requests:
            self._runner.call(self._board.fill, request.buffer_id, start, request.data)
            start += len(request.data)
        return response()

    def _buffer_read(self, request: Any, response: Any) -> Iterator[Any]:
        data = self._runner.call(self._board.content, request.buffer_id)
        return (response(data=part) for part in _parts(data))

    def _buffer_flush(self, request: Any, response: Any) -> Any:
        self._runner.call(self._board.flush, request.buffer_id)
        return response()

    def _buffer_invalidate(self, request: Any, response: Any) -> Any:
        self._runner.call(self._board.invalidate, request.buffer_id)
        return response()

    def _buffer_freebuffer(self, request: Any, response: Any) -> Any:
        self._runner.call(self._board.free, request.buffer_id)
        return response()

    def _buffer_physical_address(self, request: Any, response: Any) -> Any:
        return response(address=self._runner.call(self._board.address, request.buffer_id))

    # The processor of the fake board has no addresses of its own.
    _buffer_virtual_address = _buffer_physical_address

    def _buffer_cacheable(self, request: Any, response: Any) -> Any:
        self._runner.call(self._board.buffer, request.buffer_id)
        return response(cacheable=True)


def _register(request: Any) -> int:
    """Return the address that a request is about.

    Raises
    ------
    BoardError
        It lies outside the range that was asked for, or there was none.
    """
    start, _, length = request.mmio_id.partition("+")
    try:
        base, size = int(start, 16), int(length, 16)
    except ValueError as error:
        raise BoardError(Status.NOT_FOUND, f"there is no range {request.mmio_id!r}") from error
    if request.offset + 4 > size:
        raise BoardError(Status.OUT_OF_RANGE, f"0x{request.offset:x} is outside a range of {size} bytes")
    return base + request.offset


def _parts(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK))


def _load(module: str) -> Any:
    try:
        with warnings.catch_warnings():
            # pynq says that this processor is none of a board's, and that its tools are old.
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise TargetError(
            f"a fake board needs {error.name or module}: pip install 'weightstream[board,hw,sim]', "
            "for Python 3.10 to 3.12, with pynq 3.1 or newer"
        ) from error


def _check_address(host: str) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, PORT))
    except OSError as error:
        raise TargetError(
            f"cannot listen on {host}:{PORT} ({error.strerror or error}): if another board has it, "
            "name another address of this machine, as in --host 127.0.0.2"
        ) from error


def serve(board: str, preset: str, host: str = "127.0.0.1") -> tuple[RemoteServer, str, str]:
    """Serve a fake board; return the server, the FPGA of the board, and the handoff of its overlay.

    Parameters
    ----------
    board : str
        Which board.
    preset : str
        The accelerator in its logic.
    host : str
        Address to listen on.

    Raises
    ------
    TargetError
        There is no such board or preset, a package is missing, or the address cannot be used.
    """
    machine = machine_of_target(f"sim:{preset}")
    _load("grpc")  # before a minute of compiling
    _check_address(host)
    port = SimPort(machine)
    try:
        description, handoff = simulated_board(board)
        return RemoteServer(FakeBoard(description, port), host), description.part, handoff
    except BaseException:
        port.close()
        raise
