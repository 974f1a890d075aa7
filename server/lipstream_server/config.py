"""What `lipstream serve` can be told."""

import ipaddress
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lipstream.errors import InputError
from lipstream.inference.manifest import LIVE
from lipstream.speech import SpeechSettings

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class StudioLimits:
    """What one visitor may ask for. Each is refused in a sentence that names the limit."""

    upload_mb: int = 500
    """Largest file taken, megabytes."""
    film_seconds: int = 600
    """Longest film or sound taken, and longest film made, seconds."""
    waiting: int = 10
    """Films that may wait or be worked on at once."""
    pieces: int = 50
    """Pieces of speech in one film."""
    text_characters: int = 5_000
    """Characters of a text to be spoken."""
    keep_days: int = 7
    """Films are deleted this long after they were finished, failed or were cancelled."""
    upload_hours: int = 24
    """Files that no film was made of are deleted after this long."""
    reserve_mb: int = 1_000
    """Room that stays free on the disk, megabytes."""
    total_mb: int = 20_000
    """Room that all films and files take at most, megabytes."""

    @property
    def upload_bytes(self) -> int:
        """Largest file taken, bytes."""
        return self.upload_mb * _MEGABYTE

    @property
    def reserve_bytes(self) -> int:
        """Room that stays free on the disk, bytes."""
        return self.reserve_mb * _MEGABYTE

    @property
    def total_bytes(self) -> int:
        """Room that all films and files take at most, bytes."""
        return self.total_mb * _MEGABYTE

    def check(self) -> None:
        """Raise InputError when a limit lets nothing through."""
        for name in self.__slots__:
            value, least = getattr(self, name), 0 if name == "reserve_mb" else 1
            if value < least:
                raise InputError(f"--studio-limit {name}={value}: give {least} or more")


def limits_of(words: Sequence[str]) -> StudioLimits:
    """Return the default limits with some changed by words such as ``waiting=3``.

    Raises InputError for a word that names no limit or gives no whole number.
    """
    changed: dict[str, int] = {}
    for word in words:
        name, _, value = (part.strip() for part in word.partition("="))
        name = name.replace("-", "_")
        if name not in StudioLimits.__slots__:
            raise InputError(
                f"--studio-limit {word}: there is no such limit; give one of"
                f" {', '.join(StudioLimits.__slots__)}, as in waiting=3"
            )
        if not (value.isascii() and value.isdecimal()):
            raise InputError(f"--studio-limit {word}: give {name} as a whole number, {name}=3")
        changed[name] = int(value)
    return replace(StudioLimits(), **changed)


@dataclass(frozen=True, slots=True)
class StudioConfig:
    """One studio."""

    folder: Path | None = None
    """Where films are kept; None for ``default_folder()``. It is made when something is kept."""
    model: Path | None = None
    """Model folder, or an embedded model's name; None is ``quality``."""
    backend: str = "auto"
    precision: str = "fp32"
    """One of ``lipstream.inference.backends.PRECISIONS``."""
    speech: SpeechSettings = field(default_factory=SpeechSettings)
    """Who says typed text; the page chooses among the voices of this provider."""
    limits: StudioLimits = field(default_factory=StudioLimits)


def default_folder() -> Path:
    """Return where films are kept unless told otherwise: XDG's place for what outlives a run."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "lipstream" / "studio"


LOCAL_NAMES = ("localhost", "localhost.localdomain")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@]+")


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
    allowed_origins: tuple[str, ...] = ()
    """Other sites whose pages may ask, such as ``https://example.org``; ``*`` is all of them."""
    tls_cert: Path | None = None
    """Certificates to serve HTTPS with, PEM: the server's own first."""
    tls_key: Path | None = None
    """Its private key, PEM; None when that is in the same file."""
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
            raise InputError("the token is shorter than 8 characters: give a longer --token")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise InputError("the token cannot be sent in a header: give --token letters, digits")
        self._check_access()
        if not is_loopback(self.host) and self.token is None:
            raise InputError(
                f"--host {self.host} can be reached from other machines:"
                " add --token SECRET, which clients must then send"
            )

    def _check_access(self) -> None:
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise InputError(
                    f"--allow-origin {origin} is no origin: give https://example.org or alike, or *"
                )
        if self.tls_cert is None:
            if self.tls_key is not None:
                raise InputError("--tls-key is the key of a certificate: give that with --tls-cert")
            return
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls_cert, self.tls_key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            where = self.tls_cert if self.tls_key is None else f"{self.tls_cert}, {self.tls_key}"
            raise InputError(
                f"{where}: no certificate and key that belong together can be read"
                f" ({_ssl_reason(error)}): give PEM files with --tls-cert and --tls-key"
            ) from error


def read_token(path: Path) -> str:
    """Return the secret that a file holds, without the spaces and line ends round it.

    Raises InputError when it cannot be read.
    """
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"--token-file {path} cannot be read: {reason}") from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # asking for it would block a service


def _ssl_reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).replace("_", " ").lower()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    if host.lower() in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
