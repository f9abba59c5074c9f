"""What the fake board refuses, in the words of gRPC."""

import enum

from ...errors import WeightstreamError


class Status(enum.Enum):
    """Status codes of gRPC that the board answers with; each has gRPC's own name."""

    INVALID_ARGUMENT = enum.auto()
    NOT_FOUND = enum.auto()
    PERMISSION_DENIED = enum.auto()
    RESOURCE_EXHAUSTED = enum.auto()
    FAILED_PRECONDITION = enum.auto()
    OUT_OF_RANGE = enum.auto()
    UNIMPLEMENTED = enum.auto()
    INTERNAL = enum.auto()


class BoardError(WeightstreamError):
    """A request that the board does not fulfil.

    Parameters
    ----------
    status : Status
        What kind of error it is.
    message : str
        What is wrong with the request.
    """

    def __init__(self, status: Status, message: str):
        super().__init__(message)
        self.status = status
