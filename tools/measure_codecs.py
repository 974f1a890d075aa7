"""What VP8, H.264, VP9 and AV1 cost and give on the pictures of a live avatar, in one run.

python tools/measure_codecs.py SPEECH.wav [AVATAR] [SECONDS]

Each codec encodes the same pictures at the sizes and rates that viewers are sent, with one thread,
as a stage does: no look-ahead, one key picture. Processor time is the whole process's. A picture's
PSNR is of all three planes; the first second, in which the rate settles, is left out.
"""

import sys
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from av import CodecContext, VideoFrame

from lipstream import LipSync, Options
from lipstream.inference.manifest import LIVE
from lipstream.media import SoundFile
from lipstream.media.codecs import LIVE_ENCODERS, LiveEncoder
from lipstream_server.webrtc.encoding import RUNGS, VideoEncoding
from lipstream_server.webrtc.tracks import scaled, video_frame

RATE, FPS = 48_000, 25
VP9 = {
    **{"deadline": "realtime", "lag-in-frames": "0", "error-resilient": "0", "row-mt": "0"},
    **{"noise-sensitivity": "0", "static-thresh": "0", "overshoot-pct": "15"},
    **{"undershoot-pct": "100", "max-intra-rate": "600"},
}
SVT = "pred-struct=1:rc=2:lookahead=0:lp=1:scm=0"
ENCODERS = {
    **LIVE_ENCODERS,
    **{f"VP9, cpu-used {n}": LiveEncoder("libvpx-vp9", {**VP9, "cpu-used": n}) for n in "78"},
    **{
        f"AV1 (SVT), preset {n}": LiveEncoder("libsvtav1", {"preset": n, "svtav1-params": SVT})
        for n in ("9", "11")
    },
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a codec did at one size and rate."""

    median_ms: float
    """Processor time of a picture."""
    key_ms: float
    """Of the first, a key picture."""
    kbit_s: float
    psnr_db: float


def open_encoder(encoder: LiveEncoder, bitrate: int, frame: VideoFrame) -> Any:
    """Return an encoder; those of viewers as `VideoEncoding` opens them."""
    rung = replace(RUNGS[0], bitrate=bitrate)
    codec = next((name for name, one in LIVE_ENCODERS.items() if one is encoder), "")
    context = VideoEncoding(codec, rung, encoder)._open(frame)
    if encoder.name == "libvpx-vp9":
        context.qmin, context.qmax = 2, 56
    if encoder.name == "libsvtav1":  # it refuses a highest rate when its rate is constant
        context.options = encoder.options
        context.time_base = Fraction(1, FPS)
    return context


def measure(encoder: LiveEncoder, bitrate: int, pictures: list[VideoFrame]) -> Outcome:
    """Encode pictures, decode them again, and compare."""
    context = open_encoder(encoder, bitrate, pictures[0])
    ticks = int(1 / context.time_base / FPS)
    took, packets = [], []
    for number, picture in enumerate(pictures):
        picture.pts, picture.time_base = number * ticks, context.time_base
        begun = time.process_time()
        packets += context.encode(picture)
        took.append((time.process_time() - begun) * 1000)
    packets += context.encode(None)
    settled = sum(packet.size for packet in packets if packet.pts >= FPS * ticks)
    names = {"libsvtav1": "libdav1d", "libvpx-vp9": "vp9", "libvpx": "vp8", "libx264": "h264"}
    decoder: Any = CodecContext.create(names[encoder.name], "r")
    shown = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    assert len(shown) == len(pictures), (len(shown), len(pictures))
    both = list(zip(pictures, shown, strict=True))[FPS:]
    psnr = float(np.mean([psnr_of(*pair) for pair in both]))
    seconds = (len(pictures) - FPS) / FPS
    return Outcome(float(np.median(took[FPS:])), took[0], settled * 8 / seconds / 1000, psnr)


def psnr_of(one: VideoFrame, other: VideoFrame) -> float:
    """Return the PSNR of all planes, dB."""
    apart = one.to_ndarray().astype(np.float32) - other.to_ndarray()
    return float(10 * np.log10(255**2 / max(1e-9, float((apart**2).mean()))))


def main(speech: Path, avatar: str, seconds: float) -> None:
    """Measure and print a table."""
    with LipSync.open(Options(model=Path(LIVE), avatar=Path(avatar), rate=RATE)) as lips:
        blocks = SoundFile.open(speech).blocks(RATE, RATE // 50)
        sound = np.concatenate(list(islice(blocks, int(seconds * 50))))
        whole = [video_frame(frame) for frame in lips.stream(sound)]
    sys.stdout.write(f"{len(whole)} pictures of {avatar}\n")
    for size, kbit_s in ((512, 800), (512, 300), (256, 120)):
        pictures = [scaled(frame, size, size) for frame in whole]
        for name, encoder in ENCODERS.items():
            got = measure(encoder, kbit_s * 1000, pictures)
            sys.stdout.write(
                f"| {size} at {kbit_s} | {name} | {got.median_ms:.2f} | {got.key_ms:.1f} |"
                f" {got.kbit_s:.0f} | {got.psnr_db:.2f} |\n"
            )


if __name__ == "__main__":
    speech, avatar, seconds = (*sys.argv[1:], *("ada", "10")[len(sys.argv) - 2 :])
    main(Path(speech), avatar, float(seconds))
