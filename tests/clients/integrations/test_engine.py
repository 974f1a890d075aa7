"""The engine that agents of every framework share."""

import gc

from lipstream_clients.integrations import AvatarEngine


def test_what_is_loaded_holds_up_no_picture_when_garbage_is_collected(toy_folder, toy_pack):
    gc.unfreeze()
    loaded = len(gc.get_objects())
    try:
        with AvatarEngine.open(toy_pack, model=toy_folder):
            assert gc.get_freeze_count() > 0.9 * loaded
            assert len(gc.get_objects()) < 0.1 * loaded
    finally:
        gc.unfreeze()
