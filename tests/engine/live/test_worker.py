import threading

import numpy as np
import pytest

from lipstream import LipSync, MouthModel, Options, Worker
from lipstream.errors import InputError, ServerError
from toys import make_toy_avatar

PATIENCE_SECONDS = 20


class Collected:
    """Frames of one session, and an event for the last one."""

    def __init__(self, wanted):
        self.frames, self.wanted = [], wanted
        self.done = threading.Event()

    def __call__(self, frame):
        self.frames.append(frame)
        if len(self.frames) == self.wanted:
            self.done.set()

    def wait(self):
        assert self.done.wait(PATIENCE_SECONDS), f"{len(self.frames)} of {self.wanted} frames came"
        return self.frames


@pytest.fixture
def worker(toy_folder):
    with Worker(MouthModel.open(toy_folder, threads=1), capacity=2) as opened:
        yield opened


def feed(session, pcm):
    for at in range(0, len(pcm), 960):
        assert session.feed(pcm[at : at + 960])
    session.flush()


def test_live_equals_offline_for_two_sessions_at_once(worker, toy_folder, toy_pack, bursts):
    options = Options(model=toy_folder, avatar=toy_pack, rate=48_000, threads=1)
    with LipSync.open(options) as lips:
        offline = lips.feed(bursts) + lips.flush()
    avatar, collected = make_toy_avatar(), [Collected(75), Collected(75)]
    sessions = [worker.open_session(avatar, rate=48_000, on_frame=c) for c in collected]
    for session in sessions:
        feed(session, bursts)
    for one in collected:
        for live, wanted in zip(one.wait(), offline, strict=True):
            np.testing.assert_array_equal(live.image, wanted.image)
            np.testing.assert_array_equal(live.pcm, wanted.pcm)


def test_one_more_than_the_capacity_is_refused_until_one_ends(worker, toy_avatar):
    sessions = [
        worker.open_session(toy_avatar, rate=16_000, on_frame=lambda f: None) for _ in range(2)
    ]
    with pytest.raises(ServerError, match="all 2 places"):
        worker.open_session(toy_avatar, rate=16_000, on_frame=lambda f: None)
    sessions[0].close()
    worker.open_session(toy_avatar, rate=16_000, on_frame=lambda f: None)
    assert worker.session_count() == 2


def test_a_session_that_fails_is_closed_and_the_others_go_on(worker, toy_avatar, bursts, caplog):
    def fail(frame):
        raise RuntimeError("the receiver broke")

    good = Collected(75)
    bad = worker.open_session(toy_avatar, rate=48_000, on_frame=fail)
    other = worker.open_session(toy_avatar, rate=48_000, on_frame=good)
    bad.feed(bursts[:48_000])
    feed(other, bursts)
    good.wait()
    assert bad.closed
    assert not bad.feed(bursts[:10])
    assert "the receiver broke" in caplog.text


def test_too_much_waiting_sound_is_refused_and_counted(worker, toy_avatar):
    session = worker.open_session(toy_avatar, rate=16_000, on_frame=lambda f: None)
    assert not session.feed(np.zeros(5 * 16_000, np.int16))
    assert session.stats().refused_samples == 5 * 16_000


def test_frames_too_late_to_be_of_use_are_skipped_and_the_rest_are_as_ever(
    worker, toy_folder, toy_pack, bursts
):
    options = Options(model=toy_folder, avatar=toy_pack, rate=48_000, threads=1)
    with LipSync.open(options) as lips:
        offline = lips.feed(bursts) + lips.flush()
    frames = []
    session = worker.open_session(
        make_toy_avatar(), rate=48_000, on_frame=frames.append, most_late_ms=250
    )
    engine_busy = threading.Event()
    worker.post(lambda: engine_busy.wait(PATIENCE_SECONDS))
    feed(session, bursts)
    engine_busy.set()
    while not frames or frames[-1].index < 74:
        assert worker.session_count() == 1
    # 3 s came in at once: what is made lies in the last 250 ms and the look-ahead before the end.
    assert session.stats().skipped_frames == frames[0].index
    assert 60 <= frames[0].index <= 68
    for frame in frames:
        np.testing.assert_array_equal(frame.image, offline[frame.index].image)


def test_reset_starts_again_at_frame_zero(worker, toy_avatar, bursts):
    frames = Collected(75 + 25)
    session = worker.open_session(toy_avatar, rate=48_000, on_frame=frames)
    feed(session, bursts)
    while len(frames.frames) < 75 and not session.closed:
        worker.session_count()
    session.reset()
    feed(session, bursts[:48_000])
    assert [f.index for f in frames.wait()] == [*range(75), *range(25)]
    assert session.stats().frames == 100


def test_bad_sound_and_bad_rates_are_refused_at_once(worker, toy_avatar):
    with pytest.raises(InputError, match="8000"):
        worker.open_session(toy_avatar, rate=0, on_frame=lambda f: None)
    session = worker.open_session(toy_avatar, rate=16_000, on_frame=lambda f: None)
    with pytest.raises(InputError, match="int16"):
        session.feed(np.zeros((4, 2), np.float32))


def test_closing_twice_is_fine_and_a_closed_worker_says_so(toy_folder, toy_avatar):
    worker = Worker(MouthModel.open(toy_folder, threads=1))
    worker.close()
    worker.close()
    with pytest.raises(ServerError, match="closed"):
        worker.open_session(toy_avatar, rate=16_000, on_frame=lambda f: None)


def show_at_once(model, pcm, collected, received=lambda one: one):
    """Let all hear the same sound, fed before the engine makes the first frame."""
    with Worker(model, capacity=4) as worker:
        avatar, hold = make_toy_avatar(), threading.Event()
        sessions = [
            worker.open_session(avatar, rate=48_000, on_frame=received(one)) for one in collected
        ]
        worker.post(lambda: hold.wait(PATIENCE_SECONDS))
        for session in sessions:
            feed(session, pcm)
        hold.set()
        for one in collected:
            one.wait()


def test_sessions_made_together_get_the_pictures_they_would_get_alone(
    toy_folder, toy_pack, bursts, monkeypatch
):
    options = Options(model=toy_folder, avatar=toy_pack, rate=48_000, threads=1)
    with LipSync.open(options) as lips:
        offline = lips.feed(bursts) + lips.flush()
    model = MouthModel.open(toy_folder, threads=1)
    batches, paint_rows = [], MouthModel.paint_rows

    def counted(self, mels, rows):
        batches.append(len(rows))
        return paint_rows(self, mels, rows)

    monkeypatch.setattr(MouthModel, "paint_rows", counted)
    monkeypatch.setattr(MouthModel, "best_batch", 3)
    collected = [Collected(75) for _ in range(4)]
    show_at_once(model, bursts, collected)
    for one in collected:
        for live, wanted in zip(one.wait(), offline, strict=True):
            np.testing.assert_array_equal(live.image, wanted.image)
    assert 3 in batches
    assert max(n for n in batches if n != 5) == 3  # 5: the avatar's frames, prepared


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "openvino"])
def test_worker_threads_make_frames_at_once_and_each_session_gets_the_pictures_it_would_get_alone(
    toy_folder, toy_pack, bursts, backend
):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="one of the two that run on several threads")
    options = Options(model=toy_folder, avatar=toy_pack, rate=48_000, backend=backend, threads=1)
    with LipSync.open(options) as lips:
        offline = lips.feed(bursts) + lips.flush()
    meet = threading.Barrier(2)
    threads, collected = set(), [Collected(75) for _ in range(3)]

    def received(one):
        def on_frame(frame):
            if frame.index == 0 and one is not collected[2]:
                meet.wait(PATIENCE_SECONDS)  # passes only if two frames are made at once
            threads.add(threading.current_thread().name)
            one(frame)

        return on_frame

    model = MouthModel.open(toy_folder, backend=backend, frame_threads=2)
    show_at_once(model, bursts, collected, received)
    for one in collected:
        for live, wanted in zip(one.wait(), offline, strict=True):
            np.testing.assert_array_equal(live.image, wanted.image)
    assert threads == {"lipstream-engine", "lipstream-frames_0"}


def test_a_session_that_fails_on_another_thread_is_closed_and_the_other_goes_on(
    toy_folder, toy_avatar, bursts, caplog
):
    def fail(frame):
        raise RuntimeError("the receiver broke")

    good = Collected(75)
    with Worker(MouthModel.open(toy_folder, frame_threads=2), capacity=2) as worker:
        sessions = [
            worker.open_session(toy_avatar, rate=48_000, on_frame=one) for one in (good, fail)
        ]
        hold = threading.Event()
        worker.post(lambda: hold.wait(PATIENCE_SECONDS))
        for session in reversed(sessions):
            session.feed(bursts[:48_000])
        sessions[0].feed(bursts[48_000:])
        sessions[0].flush()
        hold.set()
        good.wait()
        while not sessions[1].closed:
            assert worker.session_count() > 0
        assert worker.session_count() == 1
    assert "the receiver broke" in caplog.text


def test_sound_fed_as_it_comes_by_several_threads_gives_the_pictures_of_sound_fed_at_once(
    toy_folder, toy_pack, bursts
):
    options = Options(model=toy_folder, avatar=toy_pack, rate=48_000, threads=1)
    with LipSync.open(options) as lips:
        offline = lips.feed(bursts) + lips.flush()
    collected = [Collected(75) for _ in range(4)]

    def speak(session, seed):
        rng, at = np.random.default_rng(seed), 0
        while at < len(bursts):
            step = int(rng.integers(0, 3000))
            assert session.feed(bursts[at : at + step])
            at += step
        session.flush()

    with Worker(MouthModel.open(toy_folder, frame_threads=3), capacity=4) as worker:
        avatar = make_toy_avatar()
        sessions = [worker.open_session(avatar, rate=48_000, on_frame=one) for one in collected]
        speakers = [
            threading.Thread(target=speak, args=(one, seed)) for seed, one in enumerate(sessions)
        ]
        for speaker in speakers:
            speaker.start()
        for one in collected:
            for live, wanted in zip(one.wait(), offline, strict=True):
                np.testing.assert_array_equal(live.image, wanted.image)
        for speaker in speakers:
            speaker.join()


def test_a_session_is_served_once_a_frame_and_not_for_each_block(worker, toy_avatar, monkeypatch):
    frames, lined_up, enqueue = Collected(20), [], Worker.enqueue

    def counted(self, session):
        lined_up.append(session)
        enqueue(self, session)

    monkeypatch.setattr(Worker, "enqueue", counted)
    session = worker.open_session(toy_avatar, rate=48_000, on_frame=frames)
    needed = session.look_ahead_ms * 48 + 19 * 1920 + 48
    for _ in range(-(-int(needed) // 96)):  # 2 ms at a time
        assert session.feed(np.zeros(96, np.int16))
    frames.wait()
    assert len(lined_up) == 20


def test_sound_after_the_end_ends_the_session(worker, toy_avatar, caplog):
    frames = Collected(1)
    session = worker.open_session(toy_avatar, rate=16_000, on_frame=frames)
    session.feed(np.zeros(100, np.int16))
    session.flush()
    frames.wait()
    session.feed(np.zeros(100, np.int16))
    while worker.session_count() > 0:
        assert not caplog.text or "reset()" in caplog.text
    assert session.closed


def test_a_callback_may_ask_and_close_but_not_open(worker, toy_avatar, bursts):
    answers, done = [], threading.Event()

    def ask(frame):
        if done.is_set():
            return
        answers.append(worker.session_count())
        for call in (
            lambda: worker.open_session(toy_avatar, rate=16_000, on_frame=ask),
            lambda: worker.prepare(toy_avatar),
        ):
            try:
                call()
            except ServerError as error:
                answers.append(str(error))
        worker.check_place()
        session.close()
        done.set()

    session = worker.open_session(toy_avatar, rate=48_000, on_frame=ask)
    session.feed(bursts[:48_000])
    assert done.wait(PATIENCE_SECONDS)
    assert answers == [
        1,
        "on_frame cannot open a session: do it on another thread",
        "on_frame cannot prepare an avatar: do it on another thread",
    ]
    while worker.session_count():
        pass


@pytest.mark.slow
def test_a_worker_closed_by_its_own_callback_ends(toy_folder, toy_avatar, bursts):
    worker = Worker(MouthModel.open(toy_folder, threads=1))
    session = worker.open_session(toy_avatar, rate=48_000, on_frame=lambda frame: worker.close())
    session.feed(bursts[:48_000])
    while not session.closed:
        pass
    worker.close()
    assert worker.fault is None
    assert not session.feed(bursts[:10])


def test_a_worker_that_cannot_start_closes_the_model(toy_folder, monkeypatch):
    model = MouthModel.open(toy_folder, threads=1, frame_threads=3)
    closed, close, clone = [], MouthModel.close, MouthModel.clone
    made = []

    def one_only(self):
        if made:
            raise MemoryError("no room for another")
        made.append(clone(self))
        return made[0]

    monkeypatch.setattr(MouthModel, "clone", one_only)
    monkeypatch.setattr(MouthModel, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(MemoryError):
        Worker(model)
    assert closed == [*made, model]


@pytest.mark.parametrize(
    "refused", ["lipstream-frames_0", "lipstream-frames_1", "lipstream-engine"]
)
def test_a_system_without_threads_to_give_leaves_none_and_no_model(
    toy_folder, monkeypatch, refused
):
    start, close, closed = threading.Thread.start, MouthModel.close, []

    def start_unless_refused(thread):
        if thread.name == refused:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_unless_refused)
    monkeypatch.setattr(MouthModel, "close", lambda self: (closed.append(self), close(self)))
    before = threading.active_count()
    model = MouthModel.open(toy_folder, threads=1, frame_threads=3)
    with pytest.raises(RuntimeError, match="can't start"):
        Worker(model, capacity=3)
    assert threading.active_count() == before
    assert len(set(closed)) == 3
    assert model in closed
