"""The Pipecat adaptor in real pipelines. Run by ``test_pipecat_apart.py``, where Pipecat is."""

import asyncio
import time

import numpy as np
import pytest

pytest.importorskip("pipecat", reason="run in an environment of its own by test_pipecat_apart.py")
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner

from documents.markdown import blocks, run_python
from lipstream_clients.integrations.pipecat import AvatarProcessor

RATE = 24_000


class Sink(FrameProcessor):
    """Keeps what comes out of the avatar, and when."""

    def __init__(self):
        super().__init__()
        self.got, self.errors = [], []

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        self.got.append((time.monotonic(), frame))
        await self.push_frame(frame, direction)

    def of(self, kind, since=0.0):
        return [(at, frame) for at, frame in self.got if isinstance(frame, kind) and at >= since]

    def sound_seconds(self, since=0.0):
        sound = self.of(TTSAudioRawFrame, since)
        return sum(np.count_nonzero(np.frombuffer(one.audio, np.int16)) for _, one in sound) / RATE


def speech(seconds, rate=RATE):
    wave = np.sin(np.arange(int(seconds * rate)) * 0.13) * 9000
    return np.where(wave < 0, wave - 500, wave + 500).astype(np.int16)


def in_pipeline(engine, use, end=True):
    """Run ``use(task, sink)`` while a pipeline runs; then end it."""

    async def run():
        sink = Sink()
        await run_pipeline(Pipeline([AvatarProcessor(engine), sink]), sink, use, end)

    asyncio.run(run())


async def run_pipeline(pipeline, sink, use, end=True):
    """Run ``use(task, sink)`` while a pipeline runs that ends with a sink."""
    task = PipelineWorker(pipeline, params=PipelineParams(audio_out_sample_rate=RATE))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(task)

    @task.event_handler("on_pipeline_error")
    async def on_pipeline_error(_, frame):
        sink.errors.append(frame)

    async def drive():
        await until(lambda: len(sink.of(OutputImageRawFrame)) > 3)
        await use(task, sink)
        if end:
            await task.queue_frame(EndFrame())

    async with asyncio.timeout(60):
        await asyncio.gather(runner.run(), drive())


async def say(task, pcm, rate=RATE, channels=1):
    await task.queue_frame(TTSStartedFrame())
    for at in range(0, len(pcm), 4800):
        sound = pcm[at : at + 4800].tobytes()
        await task.queue_frame(TTSAudioRawFrame(sound, rate, channels))


async def until(what):
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.005)


def test_speech_comes_out_whole_and_its_end_when_it_was_heard(engine):
    async def use(task, sink):
        begun = time.monotonic()
        await say(task, speech(0.8))
        await task.queue_frame(TTSStoppedFrame())
        await until(lambda: sink.of(TTSStoppedFrame))
        (ended, _), *others = sink.of(TTSStoppedFrame)
        assert not others
        assert ended - begun > 0.8
        assert sink.sound_seconds() == pytest.approx(0.8, abs=0.001)
        kinds = [type(frame) for _, frame in sink.got]
        assert TTSAudioRawFrame not in kinds[kinds.index(TTSStoppedFrame) :]

    in_pipeline(engine, use)


def test_pictures_go_on_and_wait_for_the_sound_before_them(engine):
    async def use(task, sink):
        begun = time.monotonic()
        await asyncio.sleep(1.0)
        await say(task, speech(0.5))
        await task.queue_frame(TTSStoppedFrame())
        await until(lambda: sink.of(TTSStoppedFrame))
        pictures = sink.of(OutputImageRawFrame, begun)
        rate = len(pictures) / (time.monotonic() - begun)
        assert 10 < rate < 28
        assert all(frame.sync_with_audio for _, frame in pictures)
        assert pictures[0][1].size == (128, 128)
        assert len(pictures[0][1].image) == 128 * 128 * 3
        speaking = [
            one for one in sink.got if isinstance(one[1], OutputImageRawFrame | TTSAudioRawFrame)
        ]
        first = next(k for k, (_, f) in enumerate(speaking) if isinstance(f, TTSAudioRawFrame))
        around = [isinstance(frame, TTSAudioRawFrame) for _, frame in speaking[first : first + 12]]
        assert 5 <= sum(around) <= 9  # two blocks of 20 ms to a picture

    in_pipeline(engine, use)


def test_no_sound_comes_after_an_interruption_and_the_next_reply_is_whole(engine):
    async def use(task, sink):
        await say(task, speech(3.0))
        await task.queue_frame(TTSStoppedFrame())
        await until(lambda: sink.sound_seconds() > 0.3)
        await task.queue_frame(InterruptionFrame())
        await until(lambda: sink.of(InterruptionFrame))
        stopped = time.monotonic()
        await asyncio.sleep(0.5)
        assert sink.of(OutputAudioRawFrame, stopped) == []
        assert sink.of(TTSStoppedFrame) == []
        await say(task, speech(0.4))
        await task.queue_frame(TTSStoppedFrame())
        await until(lambda: sink.of(TTSStoppedFrame))
        assert sink.sound_seconds(stopped) == pytest.approx(0.4, abs=0.001)

    in_pipeline(engine, use)


def test_the_end_of_a_reply_without_sound_comes_and_those_of_replies_that_wait_in_their_order(
    engine,
):
    async def use(task, sink):
        ends = [TTSStoppedFrame(context_id=str(number)) for number in range(3)]
        await task.queue_frame(ends[0])
        for end in ends[1:]:
            await say(task, speech(0.2))
            await task.queue_frame(end)
        await until(lambda: len(sink.of(TTSStoppedFrame)) == 3)
        assert [frame.context_id for _, frame in sink.of(TTSStoppedFrame)] == ["0", "1", "2"]
        assert sink.sound_seconds() == pytest.approx(0.4, abs=0.001)

    in_pipeline(engine, use)


def test_when_the_engine_ends_the_voice_goes_on_without_a_face(engine):
    async def use(task, sink):
        engine.close()
        await until(lambda: sink.errors)
        await say(task, speech(0.2))
        await task.queue_frame(TTSStoppedFrame())
        await until(lambda: sink.of(TTSStoppedFrame))
        assert sink.sound_seconds() == pytest.approx(0.2, abs=0.001)

    in_pipeline(engine, use)


def test_the_end_of_the_pipeline_waits_for_what_is_said(engine):
    sinks = []

    async def use(task, sink):
        sinks.append(sink)
        await say(task, speech(0.6))
        await task.queue_frame(TTSStoppedFrame())

    in_pipeline(engine, use)
    assert sinks[0].sound_seconds() == pytest.approx(0.6, abs=0.001)
    assert len(sinks[0].of(TTSStoppedFrame)) == 1
    engine.converse().close()  # the place is free again


def test_of_a_reply_shorter_than_what_is_gathered_nothing_is_lost_at_the_end(engine):
    sinks = []

    async def use(task, sink):
        sinks.append(sink)
        await say(task, speech(0.03))
        await task.queue_frame(TTSStoppedFrame())

    in_pipeline(engine, use)
    kinds = [type(frame) for _, frame in sinks[0].got]
    assert sinks[0].sound_seconds() == pytest.approx(0.03, abs=0.001)
    assert kinds.index(TTSStoppedFrame) > max(
        at for at, kind in enumerate(kinds) if kind is TTSAudioRawFrame
    )


def test_a_cancelled_pipeline_gives_its_place_back(engine):
    async def use(task, _):
        await say(task, speech(5.0))
        await task.cancel()

    in_pipeline(engine, use, end=False)
    engine.converse().close()


def test_other_frames_pass_and_other_rates_and_channels_are_taken(engine):
    async def use(task, sink):
        await task.queue_frame(TextFrame("hello"))
        await say(task, np.repeat(speech(0.3, 16_000), 2), 16_000, 2)
        await task.queue_frame(TTSStoppedFrame())
        await until(lambda: sink.of(TTSStoppedFrame))
        assert sink.of(TextFrame)
        assert sink.sound_seconds() == pytest.approx(0.3, abs=0.01)

    in_pipeline(engine, use)


def test_sound_that_cannot_be_said_is_an_error_upstream_and_the_avatar_goes_on(engine):
    async def use(task, sink):
        await task.queue_frame(TTSAudioRawFrame(bytes(200), 7, 1))
        await until(lambda: sink.errors)
        assert isinstance(sink.errors[0], ErrorFrame)
        assert "is not said" in sink.errors[0].error
        before = len(sink.of(OutputImageRawFrame))
        await until(lambda: len(sink.of(OutputImageRawFrame)) > before + 5)

    in_pipeline(engine, use)


class Passing(FrameProcessor):
    """Recognizes, answers and synthesizes nothing."""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


def test_the_pipeline_of_the_document_speaks(engine):
    (block,) = [b for b in blocks("python", of="docs/frameworks.md") if "Pipeline(" in b.text]

    class Ends:
        sink = Sink()
        input, output = Passing, lambda self: self.sink

    async def speak(task, sink):
        await say(task, speech(0.3))
        await task.queue_frame(TTSStoppedFrame())
        await until(lambda: sink.of(TTSStoppedFrame))

    async def run():
        ends = Ends()
        given = {"transport": ends, "engine": engine}
        given |= {name: Passing() for name in ("stt", "llm", "tts")}
        pipeline = (await run_python(block, given))["pipeline"]
        await run_pipeline(pipeline, ends.sink, speak)
        return ends.sink.sound_seconds()

    assert asyncio.run(run()) == pytest.approx(0.3, abs=0.001)
