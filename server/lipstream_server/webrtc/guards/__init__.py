"""What aiortc and aioice let a stranger do, prevented. `docs/upstream-faults.md` shows each fault.

Each guard replaces a private method of theirs, so it holds for the versions it was written against
alone: `install` refuses to serve with others. A guard goes when the fault that it names is mended
in the version that is required.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from lipstream.errors import ServerError
from lipstream_server.webrtc.guards import ice, rtp, sctp


@dataclass(frozen=True, slots=True)
class Guard:
    """Faults of one library, mended in this process."""

    library: str
    written_for: str
    """First two numbers of the version whose private names it replaces. No later version is known
    that lacks the faults."""
    install: Callable[[], None]


GUARDS = (
    Guard("aioice", "0.13", ice.install),
    Guard("aiortc", "1.16", rtp.install),
    Guard("aiortc", "1.16", sctp.install),
)


def install() -> None:
    """Put every guard in place, once for the whole process.

    Raises ServerError for a version of a library that the guards were not written for.
    """
    for guard in GUARDS:
        found = version(guard.library)
        if found.split(".")[:2] != guard.written_for.split("."):
            raise ServerError(
                f"{guard.library} {found} is installed, and strangers are kept out for"
                f" {guard.written_for} alone: pip install '{guard.library}=={guard.written_for}.*'"
            )
        guard.install()
