"""What the studio refuses, besides input that is wrong (InputError)."""

import errno

from lipstream.errors import InputError, LipstreamError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class TooLarge(InputError):
    """A file is larger than the limit."""


class NotFound(InputError):
    """There is no film or file of this name."""


class WrongState(InputError):
    """A film is in a state in which this cannot be done."""


class QueueFull(LipstreamError):
    """As many films wait as may."""


class DiskFull(LipstreamError):
    """There is no room on the server's disk."""


class StudioBusy(LipstreamError):
    """The folder belongs to another server that runs."""


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, says that a disk or quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def disk_full_error() -> DiskFull:
    """Return the error for a disk that filled up under way."""
    return DiskFull("the server's disk is full: delete films that are no longer needed, try again")
