"""Errors of the outside world: files, networks, devices."""


class WeightstreamError(Exception):
    """Base of every error that weightstream raises for what came from outside."""


class FormatError(WeightstreamError):
    """A file or a section of it is truncated, corrupt or impossible."""


class VersionError(FormatError):
    """The file is a weightstream file of a version that this program does not read."""


class MatrixError(WeightstreamError, ValueError):
    """A weight matrix cannot be coded: wrong shape, type or range."""


class LayoutError(WeightstreamError, ValueError):
    """A stream layout is impossible, or does not fit what it is applied to."""


class NetworkError(WeightstreamError, ValueError):
    """A network cannot be imported, quantised or executed; the message names the node."""


class InputError(WeightstreamError, ValueError):
    """The data given to a network, for a run or for calibration, do not fit it."""


class TargetError(WeightstreamError, ValueError):
    """There is no such device to open, or what it needs is missing."""


class MachineError(WeightstreamError, ValueError):
    """A network does not fit the machine that it is to run on; the message names need and limit."""


class ImageError(FormatError):
    """An accelerator cannot execute an image: it is corrupt, or made for another machine.

    Parameters
    ----------
    message : str
        What is wrong.
    code : int
        Error code that the accelerator reports, see `weightstream.spec.registers`.
    """

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class DeviceError(WeightstreamError):
    """An accelerator did not do what it was asked; the message has its registers' account of it.

    Parameters
    ----------
    message : str
        What happened.
    code : int
        Error code of the accelerator, 0 if it reported none.
    """

    def __init__(self, message: str, code: int = 0):
        super().__init__(message)
        self.code = code
