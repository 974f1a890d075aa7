"""Avatars of a worker: prepared while sessions go on, once for all, and forgotten when unused."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lipstream import MouthModel, Worker
from lipstream.errors import ModelError, ServerError
from lipstream.inference.backends import open_backend
from lipstream.live.frame_source import MOST_UNUSED
from toys import make_toy_avatar

PATIENCE_SECONDS = 20


class FaceGraphs:
    """Opens face graphs that stop where they are told to, and counts what they do."""

    def __init__(self, folder):
        self.folder = folder
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.fails = False
        self.open = 0
        """Graphs open now."""
        self.threads = []
        """Name of the thread of each run: a toy avatar is prepared in one."""

    def __call__(self):
        self.open += 1
        return Face(self, open_backend(self.folder / "face.onnx", "cpu", 1))


class Face:
    """A face graph of the toy model that waits."""

    name, library, best_batch, frame_threads = "cpu", "toy", 1, 1
    device, form = "cpu", "onnx"

    def __init__(self, told, graph):
        self.told, self.graph = told, graph
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def run(self, feeds):
        self.told.threads.append(threading.current_thread().name)
        self.told.begun.set()
        assert self.told.go_on.wait(PATIENCE_SECONDS), "nobody let the face graph go on"
        if self.told.fails:
            raise ModelError("the face graph broke")
        return self.graph.run(feeds)

    def close(self):
        self.told.open -= 1
        self.graph.close()


@pytest.fixture
def faces(toy_folder):
    return FaceGraphs(toy_folder)


@pytest.fixture
def model(toy_folder, faces):
    """The toy model, its face graph under control; the worker closes it."""
    with MouthModel.open(toy_folder, threads=1) as opened:
        mouth = open_backend(toy_folder / "mouth.onnx", "cpu", 1)
        return MouthModel(opened.manifest, faces, mouth, opened.identity)


@pytest.fixture
def worker(model):
    with Worker(model, capacity=4) as opened:
        yield opened


@pytest.fixture
def visitors():
    """Threads that ask for sessions."""
    with ThreadPoolExecutor(4, "visitor") as pool:
        yield pool


def visit(worker, avatar):
    return worker.open_session(avatar, rate=16_000, on_frame=lambda frame: None)


def leave(worker, session):
    session.close()
    worker.session_count()  # commands are done in order


def visit_and_leave(worker, avatar):
    leave(worker, visit(worker, avatar))


def show(worker, avatar, count=10):
    """Open a session, hear out ``count`` frames and leave."""
    shown, done = [], threading.Event()

    def on_frame(frame):
        shown.append(frame.image)
        if len(shown) == count:
            done.set()

    session = worker.open_session(avatar, rate=16_000, on_frame=on_frame)
    session.feed(np.full(640 * count, 500, np.int16))
    session.flush()
    assert done.wait(PATIENCE_SECONDS), f"{len(shown)} of {count} frames came"
    leave(worker, session)
    return shown


def prepare_slowly(worker, faces, visitors, avatar):
    """Have a visitor ask for an avatar whose preparation has begun and goes no further."""
    faces.go_on.clear()
    faces.begun.clear()
    waiting = visitors.submit(visit, worker, avatar)
    assert faces.begun.wait(PATIENCE_SECONDS)
    return waiting


def test_frames_keep_coming_and_sessions_are_opened_while_an_avatar_is_prepared(
    worker, faces, visitors, toy_avatar
):
    before = show(worker, toy_avatar)
    other = make_toy_avatar(3)
    waiting = prepare_slowly(worker, faces, visitors, other)
    meanwhile = show(worker, toy_avatar)
    np.testing.assert_array_equal(meanwhile, before)
    assert not waiting.done()
    faces.go_on.set()
    leave(worker, waiting.result(PATIENCE_SECONDS))
    np.testing.assert_array_equal(show(worker, other)[1], show(worker, make_toy_avatar(3))[1])


def test_an_avatar_that_two_ask_for_at_once_is_prepared_once(worker, faces, visitors, toy_avatar):
    first = prepare_slowly(worker, faces, visitors, toy_avatar)
    others = [visitors.submit(visit, worker, toy_avatar) for _ in range(3)]
    faces.go_on.set()
    sessions = [one.result(PATIENCE_SECONDS) for one in (first, *others)]
    assert worker.session_count() == len(sessions)
    assert len(faces.threads) == 1


def test_a_runner_beside_prepares_on_the_thread_that_asks_and_is_freed(
    worker, faces, visitors, toy_avatar
):
    visitors.submit(visit, worker, toy_avatar).result(PATIENCE_SECONDS)
    assert faces.threads[0].startswith("visitor")
    assert faces.open == 0


def test_on_a_gpu_the_engine_thread_prepares(worker, faces, toy_avatar, monkeypatch):
    monkeypatch.setattr(MouthModel, "device", "gpu")
    monkeypatch.setattr(MouthModel, "clone", None)  # there is none
    visit(worker, toy_avatar)
    assert faces.threads == ["lipstream-engine"]


@pytest.mark.slow
def test_of_the_unused_avatars_the_last_ones_are_kept(worker, faces):
    avatars = [make_toy_avatar() for _ in range(MOST_UNUSED + 1)]
    held = [weakref.ref(one.frames) for one in avatars]
    for avatar in avatars[:-1]:
        visit_and_leave(worker, avatar)
    visit_and_leave(worker, avatars[0])
    assert len(faces.threads) == MOST_UNUSED
    visit_and_leave(worker, avatars[-1])  # goes beyond: the one used longest ago makes room
    del avatar
    avatars.clear()
    gc.collect()
    gone = [one() is None for one in held]
    assert gone == [False, True, *[False] * (MOST_UNUSED - 1)]


@pytest.mark.slow
def test_an_avatar_that_is_shown_or_was_prepared_by_its_owner_stays(worker, faces):
    owned, shown = make_toy_avatar(), make_toy_avatar()
    worker.prepare(owned)
    sessions = [visit(worker, shown) for _ in range(2)]
    leave(worker, sessions[0])
    for _ in range(MOST_UNUSED + 2):
        visit_and_leave(worker, make_toy_avatar())
    prepared = len(faces.threads)
    for avatar in (owned, shown):
        visit_and_leave(worker, avatar)
    assert len(faces.threads) == prepared
    leave(worker, sessions[1])
    held = weakref.ref(shown.frames)
    del shown, avatar, sessions
    for _ in range(MOST_UNUSED):
        visit_and_leave(worker, make_toy_avatar())
    gc.collect()
    assert held() is None, "nobody shows it any more"


def test_what_fails_while_preparing_goes_to_the_caller_and_the_next_may_try_again(
    worker, faces, visitors, toy_avatar
):
    waiting = prepare_slowly(worker, faces, visitors, toy_avatar)
    faces.fails = True
    faces.go_on.set()
    with pytest.raises(ModelError, match="the face graph broke"):
        waiting.result(PATIENCE_SECONDS)
    assert (worker.session_count(), faces.open) == (0, 0)
    faces.fails = False
    assert len(show(worker, toy_avatar)) == 10


def test_nothing_is_prepared_for_who_finds_no_place(worker, faces, toy_avatar):
    for _ in range(worker.capacity):
        visit(worker, toy_avatar)
    with pytest.raises(ServerError, match="all 4 places"):
        visit(worker, make_toy_avatar())
    assert len(faces.threads) == 1


@pytest.mark.slow
def test_who_loses_its_place_while_an_avatar_is_prepared_gives_the_avatar_back(
    worker, faces, visitors, toy_avatar
):
    sessions = [visit(worker, toy_avatar) for _ in range(worker.capacity - 1)]
    other = make_toy_avatar()
    waiting = prepare_slowly(worker, faces, visitors, other)
    sessions.append(visit(worker, toy_avatar))
    faces.go_on.set()
    with pytest.raises(ServerError, match="all 4 places"):
        waiting.result(PATIENCE_SECONDS)
    leave(worker, sessions[0])
    held = weakref.ref(other.frames)
    del other, waiting
    for _ in range(MOST_UNUSED):
        visit_and_leave(worker, make_toy_avatar())
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_closing_while_an_avatar_is_prepared_waits_for_it_and_tells_the_caller(
    model, faces, visitors, toy_avatar, monkeypatch, device
):
    monkeypatch.setattr(MouthModel, "device", device)
    worker = Worker(model)
    waiting = [prepare_slowly(worker, faces, visitors, toy_avatar)]
    if device == "cpu":  # on a GPU the engine thread, which would find a place, is busy
        waiting.append(visitors.submit(visit, worker, toy_avatar))
    closing = visitors.submit(worker.close)
    while not worker._closing:
        assert not closing.done()
    assert not closing.done()
    faces.go_on.set()
    closing.result(PATIENCE_SECONDS)
    for one in waiting:
        with pytest.raises(ServerError, match="closed"):
            one.result(PATIENCE_SECONDS)
    assert faces.open == 0
    worker.close()
