"""Addresses of this machine for fake boards: pynq knows one port, so each board needs an address."""

import socket

from weightstream.board.fake.server import PORT, RemoteServer
from weightstream.errors import TargetError

_ADDRESSES = [f"127.0.0.{last}" for last in range(2, 250)]


def free_address() -> str:
    """Return an address at which nobody listens."""
    for address in _ADDRESSES:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, PORT))
            except OSError:
                continue
            return address
    raise AssertionError("somebody listens at all addresses")


def listen_somewhere(board) -> RemoteServer:
    """Serve a board at an address that is free."""
    for address in _ADDRESSES:
        try:
            return RemoteServer(board, address)
        except TargetError:
            continue
    raise AssertionError("somebody listens at all addresses")
