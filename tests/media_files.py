"""Real media files for the tests, made on the spot."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray


def tone(rate: int, samples: int, seed: int = 0) -> NDArray[np.int16]:
    """Return (samples,) int16: a hum whose loudness goes up and down as in speech."""
    time = np.arange(samples) / rate
    swell = np.clip(np.sin(2 * np.pi * 2 * time + seed), 0, None)
    return (9000 * swell * np.sin(2 * np.pi * 150 * time)).astype(np.int16)


def write_wav(path: Path, pcm: NDArray[np.int16], rate: int, channels: int = 1) -> Path:
    """Write a wav by hand, so that its header can say anything."""
    frames = np.repeat(pcm[:, None], channels, 1).tobytes()
    return write_riff(path, frames, rate, channels)


def write_riff(path: Path, sound: bytes, rate: int, channels: int = 1, kind: int = 1) -> Path:
    """``kind`` is 1 for int16 and 3 for float32."""
    width = 2 if kind == 1 else 4
    layout = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width
    )
    body = b"WAVEfmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", len(sound))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + len(sound)) + body + sound)
    return path


def write_sound(path: Path, pcm: NDArray[np.int16], rate: int, codec: str) -> Path:
    """Write a compressed sound file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_film(path: Path, pictures: list[NDArray[np.uint8]], fps: Fraction | int = 25) -> Path:
    """Write a film without sound and without loss (FFV1 for .mkv), else with H.264."""
    codec, kind = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("libx264", "yuv420p")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = kind
        for picture in pictures:
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def add_sound(path: Path, pcm: NDArray[np.int16], rate: int) -> Path:
    """Give a film sound, (n, channels) int16, without loss; returns a new .mkv beside it."""
    target = path.with_name(f"{path.stem}_heard.mkv")
    layout = "mono" if pcm.shape[1] == 1 else "stereo"
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        seen = source.streams.video[0]
        video = container.add_stream_from_template(seen)
        audio = container.add_stream("flac", rate=rate, layout=layout)
        for packet in source.demux(seen):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        frame = AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return target


def numbered(count: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """Return pictures that differ: picture i is filled with the grey 5 i."""
    return [np.full((height, width, 3), 5 * index, np.uint8) for index in range(count)]


def write_picture(path: Path, picture: NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), picture)
    return path


def film_contents(path: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.int16], int]:
    """Return a film's pictures, its sound and the sound's rate."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("s16", "mono", rate)
        sound = [
            piece.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for piece in resampler.resample(frame)
        ]
    return pictures, np.concatenate(sound), rate
