"""The avatars that visitors choose: opened once, forgotten when nobody has them."""

import asyncio
import gc
from pathlib import Path

import pytest

from lipstream import MouthModel, Worker
from lipstream.errors import AtCapacity, AvatarError
from lipstream.live.frame_source import MOST_UNUSED
from lipstream.speech import SpeechSettings
from lipstream_server.stage import registry as module
from lipstream_server.stage.registry import Avatars, Stages
from toys import make_toy_avatar


@pytest.fixture
def packs(tmp_path, monkeypatch):
    """Four embedded avatars, two pictures each, and one whose pack is gone."""
    found = {name: tmp_path / f"{name}.avatar" for name in "abcd"}
    for path in found.values():
        make_toy_avatar(2).save(path, "jpeg")
    found["gone"] = Path("gone.avatar")
    monkeypatch.setattr(module, "embedded_avatars", lambda: found)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("packs")
def test_an_avatar_is_shared_by_all_who_ask_and_forgotten_with_the_last(toy_avatar):
    async def ask():
        avatars = Avatars(toy_avatar)
        had = [*await asyncio.gather(avatars.open("a"), avatars.open("a")), await avatars.open("a")]
        different = len({id(one) for one in had})
        before = avatars.opened
        had.clear()
        await asyncio.sleep(0)  # the loop has what it woke this task with
        gc.collect()
        return different, before, avatars.opened

    assert asyncio.run(ask()) == (1, ["toy", "a"], ["toy"])


@pytest.mark.slow
@pytest.mark.usefixtures("packs")
def test_the_engine_keeps_those_left_last(toy_folder, toy_avatar):
    async def visit_all(worker):
        avatars = Avatars(toy_avatar)
        for name in "abcd":
            shown = await avatars.open(name)
            worker.open_session(shown, rate=16_000, on_frame=lambda frame: None).close()
            worker.session_count()  # commands are done in order
        del shown
        gc.collect()
        return avatars.opened

    with Worker(MouthModel.open(toy_folder, threads=1)) as worker:
        worker.prepare(toy_avatar)
        assert asyncio.run(visit_all(worker)) == ["toy", *"abcd"[-MOST_UNUSED:]]


@pytest.mark.usefixtures("packs")
def test_an_avatar_that_is_open_is_had_while_another_one_is_being_opened(toy_avatar, monkeypatch):
    begun, go_on = asyncio.Event(), asyncio.Event()
    to_thread = asyncio.to_thread

    async def late(function, *args):
        begun.set()
        await go_on.wait()
        return await to_thread(function, *args)

    async def ask():
        avatars = Avatars(toy_avatar)
        a = await avatars.open("a")
        monkeypatch.setattr(module.asyncio, "to_thread", late)
        b = asyncio.create_task(avatars.open("b"))
        await begun.wait()
        assert await asyncio.wait_for(avatars.open("a"), 5) is a
        assert await asyncio.wait_for(avatars.open(None), 5) is toy_avatar
        assert not b.done()
        go_on.set()
        await b

    asyncio.run(ask())


@pytest.mark.usefixtures("packs")
def test_no_avatar_is_opened_for_who_finds_no_place(worker, toy_avatar):
    stages = Stages(worker, Avatars(toy_avatar), SpeechSettings())
    with pytest.raises(AvatarError, match="gone cannot be read on the server"):
        asyncio.run(stages.open(None, "gone"))
    assert stages.refused == 0
    taken = [
        worker.open_session(toy_avatar, rate=16_000, on_frame=lambda frame: None)
        for _ in range(worker.capacity)
    ]
    with pytest.raises(AtCapacity, match="all 2 places"):
        asyncio.run(stages.open(None, "gone"))
    assert stages.refused == 1
    for session in taken:
        session.close()
