"""Sound of an incoming track: whatever its codec, rate and channels, it is heard as it was."""

from fractions import Fraction

import numpy as np
import pytest
from aiortc.codecs import get_decoder, get_encoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av import AudioFrame

from lipstream_server.stage.stage import RATE
from lipstream_server.webrtc.tracks import AudioTrackReader

CODECS = [("opus", 48_000, 2), ("PCMU", 8_000, 1), ("PCMA", 8_000, 1), ("G722", 8_000, 1)]
TONE = 300.0


def sine(rate, seconds, channels=1):
    """Return (n * channels,) int16, interleaved."""
    t = np.arange(int(rate * seconds)) / rate
    return np.repeat((9000 * np.sin(2 * np.pi * TONE * t)).astype(np.int16), channels)


def frames(rate, channels=1, seconds=1.0, start=0):
    """Yield blocks of 20 ms of a tone."""
    count = rate // 50
    blocks = sine(rate, seconds, channels).reshape(-1, count * channels)
    for number, block in enumerate(blocks):
        frame = AudioFrame.from_ndarray(
            block[None], format="s16", layout="stereo" if channels == 2 else "mono"
        )
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start + number * count
        yield frame


def pitch(pcm):
    """Return the frequency of most energy in (n,) samples at 48 kHz, Hz."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 1 << 18))
    return float(np.argmax(spectrum)) * RATE / (1 << 18)


@pytest.mark.parametrize(("name", "clock", "channels"), CODECS, ids=[c[0] for c in CODECS])
def test_every_codec_that_is_answered_keeps_its_pitch_and_its_length(name, clock, channels):
    codec = RTCRtpCodecParameters(f"audio/{name}", clock, channels, payloadType=96)
    encoder, decoder, reader = get_encoder(codec), get_decoder(codec), AudioTrackReader()
    heard = []
    for frame in frames(48_000):
        packets, timestamp = encoder.encode(frame)
        for packet in packets:
            decoded = decoder.decode(JitterFrame(packet, timestamp))
            heard += [reader.read(one).pcm for one in decoded]
    pcm = np.concatenate(heard)
    assert len(pcm) == pytest.approx(RATE, abs=RATE // 20)
    assert pitch(pcm) == pytest.approx(TONE, rel=0.01)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_a_microphone_of_any_rate_keeps_its_pitch_and_its_length(rate, channels):
    reader = AudioTrackReader()
    pcm = np.concatenate([reader.read(frame).pcm for frame in frames(rate, channels)])
    assert len(pcm) == pytest.approx(RATE, abs=RATE // 50)
    assert pitch(pcm) == pytest.approx(TONE, rel=0.01)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_sound_has_its_place_in_the_senders_count_so_that_holes_are_seen(rate):
    reader, kept = AudioTrackReader(), list(frames(rate))
    del kept[20:24]  # 80 ms
    read = [reader.read(frame) for frame in kept]
    ends = [one.pts + len(one.pcm) for one in read[:-1]]
    gaps = [one.pts - end for one, end in zip(read[1:], ends, strict=True)]
    assert sum(gaps) == pytest.approx(0.08 * RATE, abs=RATE // 100)
    assert [number for number, gap in enumerate(gaps) if gap] == [19]
