"""What `lipstream serve` can be told."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from lipstream.errors import InputError
from lipstream.inference.manifest import LIVE
from lipstream.speech import SpeechSettings
from lipstream_server.studio.settings import StudioConfig

LOCAL_NAMES = ("localhost", "localhost.localdomain")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server: where it listens, what it shows, and for how many."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free port."""
    model: Path = Path(LIVE)
    """Model folder, or an embedded model's name."""
    avatar: Path | None = None
    """Avatar pack, or the name of an embedded avatar; None is the default one."""
    backend: str = "auto"
    precision: str = "fp32"
    """One of ``lipstream.inference.backends.PRECISIONS``."""
    sessions: int = 4
    """Peers served at once; one more is answered 503."""
    token: str | None = None
    """What a client must send as `Authorization: Bearer`; needed off loopback."""
    speech: SpeechSettings = field(default_factory=SpeechSettings)
    """Who speaks texts."""
    studio: StudioConfig = field(default_factory=StudioConfig)
    """The studio page."""

    def check(self) -> None:
        """Raise InputError when the values cannot work, or would open the machine to strangers."""
        if not 0 <= self.port <= 65_535:
            raise InputError(f"port {self.port} does not exist: give --port 1 to 65535, 0 for any")
        if self.sessions < 1:
            raise InputError(f"--sessions {self.sessions} serves nobody: give 1 or more")
        self.studio.limits.check()
        if self.token is not None and len(self.token) < 8:
            raise InputError("--token is shorter than 8 characters: give a longer one")
        if not is_loopback(self.host) and self.token is None:
            raise InputError(
                f"--host {self.host} can be reached from other machines:"
                " add --token SECRET, which clients must then send"
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    if host.lower() in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
