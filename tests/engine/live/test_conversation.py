import asyncio
import time

import numpy as np
import pytest

from engine.live.inline_worker import Talk
from lipstream import Avatar, MouthModel, Worker
from lipstream.errors import InputError
from lipstream.lips.phones import CLASSES, Phone
from lipstream.live.conversation import (
    AvatarStream,
    ConversationEvent,
    ConversationSettings,
    ShownPicture,
    SoundBlock,
)
from lipstream.live.speech_input import SpeechCue, speech_cues
from mouth_faces import portrait

TOGETHER = ConversationSettings(lead_ms=0.0)


@pytest.fixture
def talk(toy_model, toy_avatar):
    return Talk(toy_model, toy_avatar)


def noise(seconds, rate, seed=0):
    samples = np.random.default_rng(seed).standard_normal(int(seconds * rate)) * 4000
    return np.clip(samples, -20_000, 20_000).astype(np.int16)


def sound(items):
    return np.concatenate([one.pcm for one in items if isinstance(one, SoundBlock)])


def pictures(items):
    return [one for one in items if isinstance(one, ShownPicture)]


def events(items):
    return [one for one in items if isinstance(one, ConversationEvent)]


def test_while_nobody_speaks_it_idles_at_full_rate_and_no_network_runs(talk):
    items = talk.run(2.0)
    shown = pictures(items)
    assert len(shown) in (45, 46, 47)  # all but the delay's
    assert all(one.frame.openness == 0.0 for one in shown)
    assert not sound(items).any()
    assert talk.worker.painted == 0


def test_what_is_pushed_is_heard_whole_and_told_from_begin_to_end(talk):
    said = noise(1.0, 48_000)
    talk.run(0.5)
    talk.conversation.begin("hello")
    talk.conversation.push(said, 48_000)
    talk.conversation.end_of_speech()
    items = talk.run(2.0)
    heard = sound(items)
    first = int(np.flatnonzero(heard)[0])
    np.testing.assert_array_equal(heard[first : first + len(said)], said)
    told = events(items)
    assert [one.kind for one in told if one.kind != "progress"] == ["began", "ended"]
    assert told[-1].heard_ms == 1000.0
    assert {one.utterance for one in told} == {"hello"}
    assert len(told) == 2 + 4
    assert any(one.frame.openness == 1.0 for one in pictures(items))


@pytest.mark.slow
def test_eighty_seconds_pushed_at_once_are_all_said(talk):
    said = noise(80.0, 24_000)
    talk.conversation.push(said, 24_000)
    talk.conversation.end_of_speech()
    items = talk.run(81.0)
    told = events(items)
    assert told[-1].kind == "ended"
    assert told[-1].heard_ms == pytest.approx(80_000, abs=1)
    queued = [one.queued_ms for one in told if one.kind == "progress"]
    assert queued == sorted(queued, reverse=True)
    assert queued[0] > 79_000


def test_more_than_may_wait_is_refused_and_what_waits_is_said(talk):
    talk.conversation.push(noise(1.0, 16_000), 16_000)
    with pytest.raises(InputError, match="601 s of speech would wait"):
        talk.conversation.push(np.zeros(600 * 16_000, np.int16), 16_000)
    with pytest.raises(InputError, match="0 Hz"):
        talk.conversation.push(noise(0.1, 16_000), 0)
    talk.conversation.end_of_speech()
    assert events(talk.run(2.0))[-1].kind == "ended"


def test_sound_may_change_its_rate_in_mid_utterance(talk):
    for rate in (24_000, 8_000, 44_100, 48_000):
        talk.conversation.push(noise(0.5, rate), rate)
    talk.conversation.end_of_speech()
    items = talk.run(3.0)
    assert events(items)[-1].heard_ms == pytest.approx(2000, abs=5)
    heard = np.flatnonzero(np.abs(sound(items)) > 50)
    assert (heard[-1] - heard[0]) / 48 == pytest.approx(2000, abs=10)


def test_an_interruption_is_silent_in_ten_ms_and_the_mouth_rests_within_fifty(talk):
    talk.conversation.push(noise(5.0, 48_000), 48_000)
    before = talk.run(2.0)
    heard_ms = talk.conversation.interrupt()
    after = talk.run(1.0)
    quiet = sound(after)
    assert np.flatnonzero(quiet)[-1] < 480
    all_heard = np.concatenate([sound(before), quiet])
    spoken_ms = (np.flatnonzero(all_heard)[-1] - np.flatnonzero(all_heard)[0]) / 48
    assert heard_ms == pytest.approx(spoken_ms, abs=2)
    shown = pictures(after)
    due = (talk.clock.now - 1.0 - talk.conversation._origin) * 48_000
    resting = next(one for one in shown if one.frame.openness == 0.0)
    assert (resting.sample - due) / 48 <= 50
    assert all(one.frame.openness == 0.0 for one in shown[shown.index(resting) :])
    assert all(one.frame.generation == 1 for one in shown)
    told = [one for one in events(after) if one.kind == "interrupted"]
    assert [one.heard_ms for one in told] == [pytest.approx(heard_ms, abs=0.1)]


def test_pictures_go_on_without_a_gap_over_an_interruption(talk):
    talk.conversation.push(noise(5.0, 48_000), 48_000)
    shown = pictures(talk.run(1.5))
    talk.conversation.interrupt()
    shown += pictures(talk.run(1.0))
    samples = [one.sample for one in shown]
    assert np.diff(samples).max() <= 1920
    assert np.diff(samples).min() > 0
    indices = [one.frame.index for one in shown]
    assert indices == sorted(indices)


def test_fewer_pictures_are_the_same_ones_and_only_they_are_made(toy_model, toy_avatar):
    whole, fewer = Talk(toy_model, toy_avatar), Talk(toy_model, toy_avatar)
    fewer.conversation.picture_step = 3
    said = noise(2.0, 48_000)
    for talk in (whole, fewer):
        talk.conversation.push(said, 48_000)
        talk.conversation.end_of_speech()
    all_items, items = whole.run(3.0), fewer.run(3.0)
    np.testing.assert_array_equal(sound(items), sound(all_items))
    expected = [one for one in pictures(all_items) if one.frame.index % 3 == 0]
    shown = pictures(items)
    assert [one.frame.index for one in shown] == [one.frame.index for one in expected]
    for one, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one.frame.image, other.frame.image)
        assert one.sample == other.sample
        assert not one.repeated
    assert fewer.worker.painted == pytest.approx(whole.worker.painted / 3, abs=1)
    fewer.conversation.picture_step = 1
    assert len(pictures(fewer.run(1.0))) == 25


def test_a_mouth_of_few_pictures_rests_as_soon_after_an_interruption(talk):
    talk.conversation.picture_step = 5
    talk.conversation.push(noise(5.0, 48_000), 48_000)
    talk.run(2.0)
    talk.conversation.interrupt()
    shown = pictures(talk.run(1.0))
    due = (talk.clock.now - 1.0 - talk.conversation._origin) * 48_000
    resting = next(one for one in shown if one.frame.openness == 0.0)
    assert (resting.sample - due) / 48 <= 50
    assert all(one.frame.openness == 0.0 for one in shown[shown.index(resting) :])
    assert len(shown) <= 8


def test_what_is_said_after_an_interruption_has_nothing_of_the_old_in_its_pictures(
    toy_model, toy_avatar
):
    fresh, cut = Talk(toy_model, toy_avatar), Talk(toy_model, toy_avatar)
    cut.conversation.push(noise(5.0, 48_000, seed=1), 48_000)
    for one in (fresh, cut):
        one.run(1.0)
        if one is cut:
            one.conversation.interrupt()
        one.run(0.4)
        one.conversation.push(noise(1.0, 48_000, seed=2), 48_000)
    expected, found = pictures(fresh.run(0.8)), pictures(cut.run(0.8))
    for wanted, shown in zip(expected, found, strict=True):
        assert wanted.frame.index == shown.frame.index
        np.testing.assert_array_equal(wanted.frame.image, shown.frame.image)


def test_everything_that_waits_is_told_to_be_interrupted(talk):
    for name in ("one", "two", "three"):
        talk.conversation.begin(name)
        talk.conversation.push(noise(0.4, 16_000), 16_000)
    talk.run(0.9)
    talk.conversation.interrupt()
    told = events(talk.run(0.1))
    names = [one.utterance for one in told if one.kind == "interrupted"]
    assert names == ["two", "three"]
    assert talk.conversation.queued_ms == 0


def test_cues_are_told_as_their_sample_is_heard(talk):
    talk.conversation.push(noise(1.0, 24_000), 24_000, [SpeechCue(0, "a"), SpeechCue(12_000, "b")])
    talk.conversation.push(noise(0.5, 24_000), 24_000, [SpeechCue(12_000, "last")])
    talk.conversation.end_of_speech()
    told = [one for one in events(talk.run(2.5)) if one.kind != "progress"]
    assert [(one.kind, one.cue) for one in told] == [
        ("began", None),
        ("cue", "a"),
        ("cue", "b"),
        ("cue", "last"),
        ("ended", None),
    ]
    assert told[2].heard_ms == pytest.approx(500, abs=20)


def test_live_sound_is_heard_and_gives_way_to_what_is_pushed(talk):
    live = noise(3.0, 48_000, seed=3)
    items = []
    for block in range(150):
        talk.conversation.hear(live[block * 960 : (block + 1) * 960], block * 960)
        if block == 50:
            talk.conversation.push(np.full(24_000, 25_000, np.int16), 48_000)
            talk.conversation.end_of_speech()
        items += talk.run(0.02)
    heard = sound(items)
    pushed = np.flatnonzero(heard == 25_000)
    assert len(pushed) >= 23_900
    assert np.all(heard[pushed[0] : pushed[-1]] == 25_000)
    assert np.abs(heard[pushed[-1] + 9600 :]).max() > 4000


def test_an_utterance_that_is_never_ended_ends_when_nothing_comes(talk):
    talk.conversation.push(noise(0.3, 16_000), 16_000)
    kinds = [one.kind for one in events(talk.run(5.0))]
    assert kinds == ["began", "progress", "ended"]
    assert not talk.conversation.speech_active


def test_speech_is_active_from_the_push_until_its_end_is_told(talk):
    talk.run(0.5)
    talk.conversation.push(noise(0.03, 48_000), 48_000)
    talk.conversation.end_of_speech()
    told = []
    while talk.conversation.speech_active:
        told += [one.kind for one in events(talk.run(0.01))]
    assert told == ["began", "ended"]


def test_the_delay_grows_at_a_pause_when_pictures_come_late_and_no_sound_is_lost(talk):
    talk.worker.making_s = 0.045
    said = noise(1.0, 48_000)
    heard = []
    for _ in range(3):
        talk.conversation.push(said, 48_000)
        talk.conversation.end_of_speech()
        heard += talk.run(1.6)
    stats = talk.conversation.stats().playout
    first_delay = talk.conversation._session.look_ahead_ms + 20
    assert stats.delay_ms > first_delay + 25
    late = stats.repeated
    talk.conversation.push(said, 48_000)
    heard += talk.run(1.5)
    assert talk.conversation.stats().playout.repeated == late
    loud = sound(heard)
    assert np.count_nonzero(loud) == pytest.approx(4 * np.count_nonzero(said), abs=4)


@pytest.mark.slow
def test_the_delay_comes_down_when_pictures_are_early_for_long(talk):
    talk.worker.making_s = 0.06
    for k in range(12):
        if k == 3:
            talk.worker.making_s = 0.0
            high = talk.conversation.stats().playout.delay_ms
        talk.conversation.push(noise(2.0, 48_000), 48_000)
        talk.conversation.end_of_speech()
        talk.run(2.6)
    assert talk.conversation.stats().playout.delay_ms < high - 15


@pytest.mark.slow
def test_a_frame_at_a_time_for_asyncio_carries_all_the_sound(toy_folder, toy_avatar):
    said = noise(0.3, 16_000)

    async def talk_and_watch():
        frames = []
        with Worker(MouthModel.open(toy_folder, threads=1)) as worker:
            worker.prepare(toy_avatar)
            async with AvatarStream.open(worker, toy_avatar, TOGETHER, sleep=asyncio.sleep) as live:
                live.push(said, 16_000)
                live.end_of_speech()
                async with asyncio.timeout(20):
                    async for frame in live:
                        frames.append(frame)
                        if any(one.kind == "ended" for one in frame.events):
                            return frames
        return frames

    begun = time.monotonic()
    frames = asyncio.run(talk_and_watch())
    heard = np.concatenate([frame.pcm for frame in frames])
    assert np.count_nonzero(np.abs(heard) > 100) > 0.28 * 48_000
    assert time.monotonic() - begun > 0.3
    assert [frame.index for frame in frames] == sorted(frame.index for frame in frames)
    assert {frame.image.shape for frame in frames} == {(128, 128, 3)}


def test_each_block_says_how_much_of_it_was_pushed(talk):
    talk.run(0.1)
    talk.conversation.push(noise(0.205, 24_000), 24_000)
    talk.conversation.end_of_speech()
    blocks = [one for one in talk.run(0.6) if isinstance(one, SoundBlock)]
    assert sum(one.spoken for one in blocks) == round(0.205 * 48_000)
    assert all(one.spoken == 0 for one in blocks if not one.pcm.any())
    talk.conversation.push(noise(1.0, 48_000), 48_000)
    before = sum(one.spoken for one in talk.run(0.5) if isinstance(one, SoundBlock))
    heard_ms = talk.conversation.interrupt()
    after = [one for one in talk.run(0.5) if isinstance(one, SoundBlock)]
    assert heard_ms - before / 48 == pytest.approx(10.0)  # the fade, which nobody counts on
    assert sum(one.spoken for one in after) == 0


@pytest.mark.slow
def test_phones_of_a_text_move_the_lips_and_are_told_to_nobody():
    face = portrait()
    avatar = Avatar.from_frames([face.image], [face.crop], name="test")
    model = MouthModel.open(None, backend="cpu", threads=1)
    gaps = {}
    for name in ("heard", "known"):
        talk = Talk(model, avatar)
        talk.run(0.2)
        pressed = Phone((CLASSES.index("MBP"),), 0, 12_000)
        cues = speech_cues([pressed] if name == "known" else [], 24_000)
        talk.conversation.push(noise(0.8, 24_000), 24_000, cues)
        talk.conversation.end_of_speech()
        items = talk.run(2.0)
        assert not [one for one in events(items) if one.kind == "cue"]
        measures = [one.frame.measures for one in pictures(items)]
        gaps[name] = np.array([one[0] for one in measures if one is not None])
    model.close()
    pressed_frames = {name: int((gap < -0.05).sum()) for name, gap in gaps.items()}
    assert pressed_frames["known"] >= pressed_frames["heard"] + 6


def test_pictures_keep_their_place_when_the_engine_was_away_for_seconds(talk):
    """It takes four seconds of sound at most: what it refuses is fed again."""
    enqueue = talk.worker.enqueue
    said = np.concatenate([np.zeros(48_000 * 7, np.int16), noise(1.0, 48_000)])
    talk.conversation.push(said, 48_000)
    talk.conversation.end_of_speech()
    talk.run(1.0)
    talk.worker.enqueue = lambda session: None
    talk.run(5.5)
    talk.worker.enqueue = enqueue
    enqueue(talk.conversation._session)
    items = talk.run(3.0)
    spoken = [one for one in items if isinstance(one, SoundBlock) and one.pcm.any()]
    moving = [one for one in pictures(items) if one.frame.openness > 0]
    assert moving[0].sample - spoken[0].sample == pytest.approx(0, abs=3 * 1920)
