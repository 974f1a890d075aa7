"""`lipstream serve` as a process of its own, so that what attacks it does not slow its loop."""

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from server.peers import Running

_SERVE = """
import resource, sys
files, *sys.argv[1:] = sys.argv[1:]
if int(files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
from lipstream.cli import main
sys.exit(main())
"""

_COUNT_DECODERS = """
import sys
from aiortc import rtcrtpreceiver
get_decoder = rtcrtpreceiver.get_decoder
def counted(codec):
    print("a decoder of", codec.mimeType, file=sys.stderr, flush=True)
    return get_decoder(codec)
rtcrtpreceiver.get_decoder = counted
"""


@dataclass(frozen=True, slots=True)
class Apart(Running):
    """A server in another process."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def memory_mb(self) -> float:
        """Memory that the process has to itself and in use."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def stop(self, patience: float = 20.0) -> float:
        """Send SIGTERM and return how long the end took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(patience)
        return time.monotonic() - begun


def show(figures: str) -> None:
    """Print what a test measured; pytest -rA shows it."""
    sys.stdout.write(f"{figures}\n")


@asynccontextmanager
async def apart(
    model: Path,
    avatar: Path,
    log: Path,
    *words: str,
    files: int = 0,
    environment: dict[str, str] | None = None,
    before: Sequence[str] = (),
    logs_decoders: bool = False,
) -> AsyncGenerator[Apart]:
    """Run a server.

    ``files`` is how many file descriptors it may have, 0 for as many as usual; ``environment`` is
    what it has besides ours; ``before`` are words before the command. With ``logs_decoders`` its
    log tells of each decoder that is opened.
    """
    code = (_COUNT_DECODERS if logs_decoders else "") + _SERVE
    command = [*before, sys.executable, "-c", code, str(files), "serve", "--port", "0"]
    command += ["--model", str(model), "--avatar", str(avatar), *words]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | (environment or {}),
        )
        try:
            line = (await asyncio.to_thread(process.stdout.readline)).decode()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert found, log.read_text()
            yield Apart(found.group(), None, process, log)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
