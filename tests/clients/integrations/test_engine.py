"""The engine that agents of every framework share."""

import asyncio
import gc

import pytest

from lipstream_clients.integrations import MOST_QUEUED_MS, RATE, AvatarEngine, say


@pytest.mark.slow
def test_what_is_loaded_holds_up_no_picture_when_garbage_is_collected(toy_folder, toy_pack):
    gc.unfreeze()
    gc.collect()  # what earlier tests left behind is not what is loaded
    loaded = len(gc.get_objects())
    try:
        with AvatarEngine.open(toy_pack, model=toy_folder):
            assert gc.get_freeze_count() > 0.9 * loaded
            assert len(gc.get_objects()) < 0.1 * loaded
    finally:
        gc.unfreeze()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["interrupt", "close"])
def test_who_says_more_than_may_wait_is_kept_waiting_until_the_end(engine, end):
    async def run():
        conversation = engine.converse()
        second = bytes(2 * RATE)
        for _ in range(int(MOST_QUEUED_MS / 1000) + 1):
            await say(conversation, second, RATE, 1)
        more = asyncio.create_task(say(conversation, second, RATE, 1))
        await asyncio.sleep(0.2)
        assert not more.done()
        getattr(conversation, end)()
        async with asyncio.timeout(5):
            await more
        assert conversation.queued_ms <= 1000

    asyncio.run(run())
