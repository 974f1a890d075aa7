"""How long each stage of one frame takes, alone and on one thread."""

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from lipstream.audio.mel import MelWindow, mel_columns
from lipstream.audio.resampler import Resampler
from lipstream.audio.ring import RingBuffer
from lipstream.avatar.pack import Avatar
from lipstream.inference.model import MouthModel
from lipstream.live.compositor import draw, empty_planes, make_compositor
from lipstream.live.frame_source import PreparedAvatar
from lipstream.live.lipsync import LipSync
from lipstream.live.pipeline import Pipeline, paint
from lipstream.types import AvFrame
from lipstream_bench.ratio import has_whole_graph, measure_ratios
from lipstream_bench.report import Measurement, Report
from lipstream_bench.subject import (
    FPS,
    RATE,
    Settings,
    called,
    describe,
    open_model,
    speech_like,
    timing_of,
)

METHOD = (
    "each stage is called again and again on one thread with the shapes of the live path, warmed up"
    " first; 'whole frame' is 40 ms of sound through the live pipeline in one go (resampling, mel,"
    " network, paste); conversion comes on top: to I420, what a video encoder takes, where the"
    " mouth shows, over the still converted once; 'outside the network' is the whole frame and the"
    " conversion without the network, each timed in the same frames; where the model folder has its"
    " whole graph, the network and that graph in ONNX Runtime take turns, with a rest between"
)
_WARM_UP = 10
_LEAST, _MOST = 20, 5000
"""Times a stage is measured."""


def measure_stages(settings: Settings) -> Report:
    """Measure every stage in every backend asked for."""
    avatar = Avatar.open(settings.avatar)
    rows: list[Measurement] = []
    subject = None
    for backend in settings.backends:
        with open_model(settings, backend) as model:
            subject = describe(model, avatar)
            rows += [
                Measurement.of(called(model, backend), name, _timed(stage, settings.seconds))
                for name, stage in _stages(model, avatar).items()
            ]
            outside = _outside_the_network(model, avatar, settings.seconds)
            rows.append(Measurement.of(called(model, backend), "outside the network", outside))
    assert subject is not None, "there is at least one backend"
    ratios: dict[str, float] = {}
    if has_whole_graph(settings.model):
        compared, ratios = measure_ratios(settings)
        rows += compared
    return Report("stages", METHOD, subject, tuple(rows), ratios)


_FIRST_FRAME = 25
"""A second in: the windows of this frame and of the 70 after it lie in the sound."""


def _stages(model: MouthModel, avatar: Avatar) -> dict[str, Callable[[int], object]]:
    """Return name -> a function that does the stage for frame k."""
    timing = timing_of(model)
    prepared = PreparedAvatar.prepare(avatar, model)
    compositor: Any = make_compositor(model)  # its targets are of one kind, those of the model
    sound = speech_like(5.0)
    resampler = Resampler(RATE)
    model_sound = Resampler(RATE).feed(sound)
    first = timing.mel_span(_FIRST_FRAME)
    sound_ring = RingBuffer(len(model_sound), np.float32)
    sound_ring.append(model_sound)
    window = MelWindow(timing.mel_columns)
    frame_samples = int(RATE / FPS)
    pictures = [prepared.picture(k, Fraction(FPS)) for k in range(min(len(avatar), 50))]
    mel = mel_columns(model_sound[first.start : first.stop])[None, None]
    features = [picture.features or {} for picture in pictures]
    mouth = model.mouth(mel, features[0])[0].copy()
    convert = _conversion(avatar)
    lips = LipSync(model, prepared, timing)
    lips.feed(sound[:RATE])

    def cut(k: int) -> slice:
        at = frame_samples * (k % 90)
        return slice(at, at + frame_samples)

    def one_mel(k: int) -> object:
        if k % 70 == 0:  # the sound from its beginning: columns are asked for in rising order
            window.reset()
        return window.read(timing.first_column(_FIRST_FRAME + k % 70), sound_ring)

    def one_paste(k: int) -> object:
        target = pictures[k % len(pictures)].target
        assert target is not None, "every avatar frame has a face"
        return compositor.patch(target, mouth, 1.0)

    first_frame = lips.feed(sound[cut(0)])[0]
    return {
        "resampling": lambda k: resampler.feed(sound[cut(k)]),
        "mel": one_mel,
        "network": lambda k: model.mouth(mel, features[k % len(features)]),
        "paste": one_paste,
        "whole frame": lambda k: lips.feed(sound[cut(k)]),
        "conversion": lambda _: convert(first_frame),
    }


def _conversion(avatar: Avatar) -> Callable[[AvFrame], object]:
    """Return what makes a frame ready for an encoder: nothing where a side is odd."""
    if avatar.height % 2 or avatar.width % 2:
        return lambda _: None
    canvas = empty_planes(avatar.height, avatar.width)
    return lambda frame: draw(frame, canvas)


def _outside_the_network(model: MouthModel, avatar: Avatar, seconds: float) -> list[float]:
    """Return the milliseconds of whole frames, drawn for an encoder, less those of the network."""
    timing = timing_of(model)
    prepared = PreparedAvatar.prepare(avatar, model)
    pipeline = Pipeline(prepared, timing, make_compositor(model))
    sound, samples = speech_like(4.0), int(RATE / FPS)
    convert = _conversion(avatar)
    pipeline.feed(sound[:RATE])
    for request in iter(pipeline.next_request, None):
        convert(pipeline.complete(request, paint(model, request)))  # stills are made here
    times_ms: list[float] = []
    end = time.perf_counter() + seconds
    while len(times_ms) < _LEAST or (len(times_ms) < _MOST and time.perf_counter() < end):
        at = samples * (len(times_ms) % 90)
        started = time.perf_counter()
        pipeline.feed(sound[at : at + samples])
        made = pipeline.next_request()
        assert made is not None, "40 ms of sound are one frame"
        painting = time.perf_counter()
        mouth = paint(model, made)
        painted = time.perf_counter()
        convert(pipeline.complete(made, mouth))
        times_ms.append((time.perf_counter() - painted + painting - started) * 1000)
    return times_ms


def _timed(stage: Callable[[int], object], seconds: float) -> list[float]:
    """Return the milliseconds of each call, until ``seconds`` have passed."""
    for k in range(_WARM_UP):
        stage(k)
    times_ms: list[float] = []
    end = time.perf_counter() + seconds
    while len(times_ms) < _LEAST or (len(times_ms) < _MOST and time.perf_counter() < end):
        started = time.perf_counter()
        stage(len(times_ms))
        times_ms.append((time.perf_counter() - started) * 1000)
    return times_ms
