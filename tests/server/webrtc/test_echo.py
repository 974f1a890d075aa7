"""Sound sent comes back as it was, whatever its codec and its microphone."""

import asyncio
from fractions import Fraction

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCRtpSender
from av import AudioFrame, AudioResampler, CodecContext, Packet

from lipstream_server.webrtc import aiortc_setup
from server.peers import peer, running

TONE = 300.0
RATE = 48_000
CODECS = ["opus", "PCMU", "PCMA", "G722"]


class Microphone(MediaStreamTrack):
    """A tone in blocks of 20 ms, when they are due."""

    kind = "audio"

    def __init__(self, rate: int = RATE, channels: int = 1) -> None:
        super().__init__()
        self.rate, self.channels = rate, channels
        self.block, self.begun = 0, None

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        self.begun = self.begun or loop.time()
        await asyncio.sleep(self.begun + self.block * 0.02 - loop.time())
        count = self.rate // 50
        t = (self.block * count + np.arange(count)) / self.rate
        pcm = (9000 * np.sin(2 * np.pi * TONE * t)).astype(np.int16).repeat(self.channels)
        layout = "stereo" if self.channels == 2 else "mono"
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout=layout)
        frame.sample_rate, frame.time_base = self.rate, Fraction(1, self.rate)
        frame.pts = self.block * count
        self.block += 1
        return frame


def pitch(pcm) -> float:
    """Return the frequency of most energy in (n,) samples at 48 kHz, Hz: the median of 100 ms.

    Where the machine is busy blocks are lost, and the tone leaps; between leaps it is what it was.
    """
    windows = pcm[: len(pcm) // 4800 * 4800].reshape(-1, 4800) * np.hanning(4800)
    loud = windows[np.abs(windows).max(axis=1) > 3000]
    peaks = np.abs(np.fft.rfft(loud, 1 << 17)).argmax(axis=1)
    return float(np.median(peaks)) * RATE / (1 << 17)


async def echo(server, microphone, codec: str | None = None, seconds: float = 2.0):
    """Send a microphone's sound, and return (n,) of what comes back once it is loud, at 48 kHz."""
    async with peer() as client:
        client.connection.addTrack(microphone)
        [audio] = client.connection.getTransceivers()
        if codec is not None:
            known = RTCRtpSender.getCapabilities("audio").codecs
            audio.setCodecPreferences([c for c in known if c.mimeType == f"audio/{codec}"])
        client.connection.addTransceiver("video", "recvonly")
        await client.connection.setLocalDescription(await client.connection.createOffer())
        answer = await server.offer("/session", client.connection.localDescription.sdp)
        assert answer.status == 201, answer.body
        await client.accept(answer)
        track, heard, resampler = client.track("audio"), [], AudioResampler("s16", "mono", RATE)
        while sum(map(len, heard)) < seconds * RATE:
            frame = await asyncio.wait_for(track.recv(), 20)
            for part in resampler.resample(frame):
                pcm = part.to_ndarray().ravel()
                if heard or np.abs(pcm).max() > 3000:
                    heard.append(pcm)
        return np.concatenate(heard)


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_a_tone_comes_back_at_its_pitch_in_every_codec(worker, toy_avatar, codec):
    async def once():
        async with running(worker, toy_avatar) as server:
            return await echo(server, Microphone(), codec)

    assert pitch(asyncio.run(once())) == pytest.approx(TONE, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (96_000, 1), (48_000, 2)])
def test_a_tone_comes_back_at_its_pitch_from_every_microphone(worker, toy_avatar, rate, channels):
    async def once():
        async with running(worker, toy_avatar) as server:
            return await echo(server, Microphone(rate, channels))

    assert pitch(asyncio.run(once())) == pytest.approx(TONE, rel=0.01)


@pytest.mark.slow
def test_a_muted_microphone_leaves_the_session_silent_and_open(worker, toy_avatar):
    class Muted(Microphone):
        async def recv(self) -> AudioFrame:
            await asyncio.Event().wait()
            raise AssertionError

    async def once():
        async with running(worker, toy_avatar) as server, peer() as client:
            client.connection.addTrack(Muted())
            await client.connection.setLocalDescription(await client.connection.createOffer())
            sdp = client.connection.localDescription.sdp
            await client.accept(await server.offer("/session", sdp))
            blocks = [await asyncio.wait_for(client.track("audio").recv(), 20) for _ in range(50)]
            return max(np.abs(b.to_ndarray()).max() for b in blocks), len(server.sessions)

    loudest, sessions = asyncio.run(once())
    assert loudest < 50
    assert sessions == 1


class Discontinuous(Microphone):
    """0.6 s of a tone, 1.4 s of nothing, and so on, sent as with DTX (RFC 7587, 3.1.3).

    Of silence one packet in 400 ms is sent: timestamps leap, sequence numbers do not. FFmpeg gives
    libopus no such option, so it is the packets of pure silence, three bytes, that are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._encoder = CodecContext.create("libopus", "w")
        self._encoder.options = {"application": "voip"}
        self._encoder.format, self._encoder.layout = "s16", "mono"
        self._encoder.sample_rate = RATE
        self.left_out = 0

    async def recv(self) -> Packet:
        while True:
            frame = await super().recv()
            if self.block % 100 > 30:
                silent = AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
                silent.sample_rate, silent.time_base = RATE, frame.time_base
                silent.pts = frame.pts
                frame = silent
            for packet in self._encoder.encode(frame):
                if packet.size > 3 or self.left_out % 20 == 19:
                    self.left_out += packet.size <= 3
                    packet.pts += 960  # the encoder's own delay lies before zero
                    return packet
                self.left_out += 1


@pytest.mark.slow
def test_pauses_that_are_not_sent_last_as_long_as_they_did(worker, toy_avatar):
    microphone = Discontinuous()

    async def once():
        async with running(worker, toy_avatar) as server:
            return await echo(server, microphone, "opus", seconds=10.0)

    heard = asyncio.run(once())
    assert microphone.left_out > 100
    loud = np.abs(heard[: len(heard) // 480 * 480].reshape(-1, 480)).max(axis=1) > 3000
    begun = np.flatnonzero(np.diff(loud.astype(int), prepend=0) == 1)
    onsets = np.array([at for k, at in enumerate(begun) if k == 0 or at - begun[k - 1] > 50]) / 100
    assert len(onsets) >= 5
    np.testing.assert_allclose(np.diff(onsets), 2.0, atol=0.2)  # a late block is made up for
    assert onsets[-1] - onsets[0] == pytest.approx(2.0 * (len(onsets) - 1), abs=0.2)
    loud = loud[int(onsets[0] * 100) : int(onsets[-1] * 100)]
    assert 0.25 <= loud.mean() <= 0.35
    assert pitch(heard) == pytest.approx(TONE, rel=0.01)


def test_the_ticks_of_a_report_are_those_of_the_track():
    assert aiortc_setup.TICKS == {"audio": 48_000, "video": 90_000}
