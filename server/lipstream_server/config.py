"""What `lipstream serve` can be told."""

import base64
import hmac
import importlib.util
import ipaddress
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from lipstream.errors import InputError
from lipstream.inference.manifest import LIVE
from lipstream.machine import plugin_names
from lipstream.speech import SpeechSettings

RECORDED = (".mp4", ".mkv")
"""File endings of recordings: those of ``outputs.FILES``."""
LOCAL_NAMES = ("localhost", "localhost.localdomain")
TURN_SECONDS = 12 * 3600
"""From when a client asks to when its credentials end: TURN asks for them all along."""
_ICE_URL = re.compile(r"(stuns?:[^\s?\"<>]+)|(turns?:[^\s?\"<>]+(\?transport=(udp|tcp))?)")
MOST_NAME = 100
"""Characters of a stage's name."""
_STAGE_NAME = re.compile(rf"[A-Za-z0-9_.~-]{{1,{MOST_NAME}}}")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@]+")
SINKS = "lipstream.sinks"
"""Entry points by which other packages add kinds of outputs: ``outputs`` says how."""
NO_CAMERA_PACKAGE = "camera: needs pyvirtualcam: pip install 'lipstream[camera]'"
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


MOST_DRAIN_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server, as a client is told of it."""

    url: str
    username: str | None = None
    credential: str | None = None

    @property
    def link(self) -> str:
        """What stands in a Link header (RFC 9725, 4.6)."""
        parts = [f"<{self.url}>", 'rel="ice-server"']
        if self.username is not None:
            parts += [f'username="{self.username}"', f'credential="{self.credential}"']
            parts.append('credential-type="password"')
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class ReachConfig:
    """How clients behind firewalls reach the server."""

    ice_servers: tuple[str, ...] = ()
    """URLs of STUN and TURN servers, ``turn:turn.example.org:3478?transport=udp``."""
    turn_secret: str | None = None
    """Shared with the TURN server, which takes credentials that end (``use-auth-secret``)."""
    udp_ports: tuple[int, int] | None = None
    """First and last of the ports for sound and pictures; None for any."""
    public_address: str | None = None
    """Address at which a router passes those ports on to this machine."""
    advertised_url: str = ""
    """Where this very server is asked when others share its name; sessions come back there."""

    def servers(self, now: float) -> list[IceServer]:
        """Return the servers, with credentials that end; ``now`` is seconds since 1970.

        They are made as TURN servers with a shared secret want them (draft-uberti-behave-turn-rest,
        2.2): the name is the end, the password its HMAC-SHA1 with the secret, in base 64.
        """
        made = []
        for url in self.ice_servers:
            if self.turn_secret is None or not url.startswith("turn"):
                made.append(IceServer(url))
                continue
            name = f"{int(now) + TURN_SECONDS}:lipstream"
            signed = hmac.digest(self.turn_secret.encode(), name.encode(), "sha1")
            made.append(IceServer(url, name, base64.b64encode(signed).decode()))
        return made

    def check(self) -> None:
        """Raise InputError when the values cannot work."""
        node = self.advertised_url
        if node and not (node.startswith("http") and _ORIGIN.fullmatch(node)):
            raise InputError(
                f"--advertise-url {node}: give scheme, name and port, as in"
                " https://node7.example.org:8080"
            )
        for url in self.ice_servers:
            if not _ICE_URL.fullmatch(url):
                raise InputError(
                    f"--ice-server {url} is none: give stun:HOST:PORT or turn:HOST:PORT, where"
                    " ?transport=tcp may follow"
                )
        turn = any(url.startswith("turn") for url in self.ice_servers)
        if self.turn_secret is not None and not turn:
            raise InputError("--turn-secret is for a TURN server: give that with --ice-server")
        if self.udp_ports is not None:
            first, last = self.udp_ports
            if not 1 <= first <= last <= 65_535:
                raise InputError(f"--udp-ports {first}-{last} are no ports: give 40000-40100")
        if self.public_address is not None:
            try:
                ipaddress.ip_address(self.public_address)
            except ValueError:
                raise InputError(
                    f"--public-address {self.public_address} is no IP address: give 203.0.113.7"
                ) from None


def ports_of(words: str | None) -> tuple[int, int] | None:
    """Return the first and last of ``40000-40100``; raises InputError for something else."""
    if words is None:
        return None
    first, _, last = words.partition("-")
    if not (first.isascii() and first.isdecimal() and last.isascii() and last.isdecimal()):
        raise InputError(f"--udp-ports {words}: give the first and the last, as in 40000-40100")
    return int(first), int(last)


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """Where a stage goes besides its viewers."""

    stage: str = "main"
    """Name of the stage that is opened for them."""
    push: tuple[str, ...] = ()
    """Streaming servers, ``rtmp://live.example.org/app/KEY``; https:// is WHIP."""
    push_token: str | None = None
    """What WHIP servers are sent as `Authorization: Bearer`."""
    record: tuple[Path, ...] = ()
    """Files, MP4 or Matroska."""
    recordings: Path | None = None
    """Folder of recordings that are asked for while the server runs; None refuses them."""

    @property
    def wanted(self) -> bool:
        """Whether a stage is to be opened for them."""
        return bool(self.push or self.record)

    def check(self) -> None:
        """Raise InputError when something cannot be sent to, or written."""
        by_whip = [url for url in self.push if url.startswith("http")]
        if self.push_token is not None and not by_whip:
            raise InputError(
                "--push-token is for WHIP: give its address with --push https://HOST/PATH"
            )
        for url in self.push:
            check_push(url, self.push_token if url in by_whip else None)
        for path in self.record:
            check_recording(path)
        if self.recordings is not None and not _can_hold_files(self.recordings):
            raise InputError(f"--recordings {self.recordings}: give a folder that can be written")
        if self.wanted:
            check_stage_name(self.stage)


def check_stage_name(name: str) -> None:
    """Raise InputError for what cannot be a stage's name."""
    if not _STAGE_NAME.fullmatch(name):
        raise InputError(
            f"{name[:MOST_NAME]!r} cannot be a stage's name:"
            f" give up to {MOST_NAME} letters, digits, . _ ~ -"
        )


def check_push(url: str, token: str | None = None) -> None:
    """Raise InputError for what is no address of a stream on a streaming server."""
    if url.startswith("camera:"):
        if importlib.util.find_spec("pyvirtualcam") is None:
            raise InputError(NO_CAMERA_PACKAGE)
        return
    if url.partition(":")[0] in plugin_names(SINKS):
        return
    try:
        parts = urlsplit(url)
        by_whip = parts.scheme in ("http", "https")
        known = parts.port != 0 and (by_whip or parts.scheme in ("rtmp", "rtmps", "srt"))
        if not known or not parts.hostname:
            raise ValueError
    except ValueError as error:  # also of a port that is no number
        raise InputError(
            "a stage is pushed to rtmp://HOST/APP/KEY, rtmps://HOST/APP/KEY, srt://HOST:PORT, by"
            " WHIP to https://HOST/PATH, or to camera: what was given is none of them"
        ) from error
    where = f"{parts.scheme}://{parts.hostname}"
    if parts.scheme.startswith("rtmp") and not all(parts.path.strip("/").rpartition("/")):
        raise InputError(f"{where}: give path and stream key, /APP/KEY")
    if parts.username is not None:
        raise InputError(f"{where}: a name before the host is not sent")
    if token is not None:
        _check_push_token(token, where, sent=by_whip)
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InputError(f"{where}: the token would travel in the open: give https://")


def _check_push_token(token: str, where: str, *, sent: bool) -> None:
    if not sent:
        raise InputError(f"{where}: a token is sent by WHIP alone, to https://HOST/PATH")
    if not token or not token.isascii() or not token.isprintable():
        raise InputError(f"{where}: the token cannot be sent in a header: give letters, digits")


def check_recording(path: Path) -> None:
    """Raise InputError for a file that cannot be begun."""
    if path.suffix.lower() not in RECORDED:
        raise InputError(f"{path.name}: a recording ends in {' or '.join(RECORDED)}")
    if path.exists():
        raise InputError(f"{path.name} exists already: give another name, or move it away")
    if not (path.parent.is_dir() and _can_hold_files(path.parent)):
        raise InputError(f"{path.name} needs a folder that is there and can be written")


def _can_hold_files(folder: Path) -> bool:
    """Return whether files can be made in a folder; one that is not there may be made itself."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


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
    drain_seconds: float = 0.0
    """From SIGTERM on sessions may go on for so long, and no new ones come."""
    size: int = 512
    """Longest side of the pictures sent, pixels; an avatar's own where that is less."""
    token: str | None = None
    """What a client must send as `Authorization: Bearer`; needed off loopback."""
    allowed_origins: tuple[str, ...] = ()
    """Other sites whose pages may ask, such as ``https://example.org``; ``*`` is all of them."""
    tls_cert: Path | None = None
    """Certificates to serve HTTPS with, PEM: the server's own first."""
    tls_key: Path | None = None
    """Its private key, PEM; None when that is in the same file."""
    reach: ReachConfig = field(default_factory=ReachConfig)
    """How clients behind firewalls come here."""
    speech: SpeechSettings = field(default_factory=SpeechSettings)
    """Who speaks texts."""
    studio: StudioConfig = field(default_factory=StudioConfig)
    """The studio page."""
    outputs: OutputConfig = field(default_factory=OutputConfig)
    """Where a stage is pushed to, and recorded."""

    def check(self) -> None:
        """Raise InputError when the values cannot work, or would open the machine to strangers."""
        if not 0 <= self.port <= 65_535:
            raise InputError(f"port {self.port} does not exist: give --port 1 to 65535, 0 for any")
        if not 0 <= self.drain_seconds <= MOST_DRAIN_SECONDS:
            raise InputError(
                f"--drain-seconds {self.drain_seconds:g}: give 0 to {MOST_DRAIN_SECONDS}"
            )
        if self.sessions < 1:
            raise InputError(f"--sessions {self.sessions} serves nobody: give 1 or more")
        if not 64 <= self.size <= 4096:
            raise InputError(f"--size {self.size} is no size for a picture: give 64 to 4096")
        self.reach.check()
        self.studio.limits.check()
        self.outputs.check()
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
