"""What is kept: whole or not at all, taken up by the next server, deleted by rule."""

import asyncio
import json
import resource
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from lipstream_server.config import StudioLimits
from lipstream_server.metrics import ServerMetrics
from lipstream_server.studio.errors import (
    DiskFull,
    DiskSpace,
    NotFound,
    QueueFull,
    StudioBusy,
    WrongState,
    bytes_in,
)
from lipstream_server.studio.records import FilmOrder, Job, Media, Piece
from lipstream_server.studio.store import MOST_STARTS, Folder, Store, write_json

LIMITS = StudioLimits(waiting=2, keep_days=7, upload_hours=24)
HOUR = 3600.0


@pytest.fixture
def now():
    return [1_000_000.0]


@pytest.fixture
def store(tmp_path, now):
    opened = Store(Folder(tmp_path / "studio"), LIMITS, ServerMetrics(), lambda: now[0])
    opened.open()
    yield opened
    opened.close()


def add_sound(store):
    with store.folder.new("media") as new:
        (new.path / "media.wav").write_bytes(b"sound")
        media = Media(
            new.id, "sound", "a.wav", "media.wav", store.now(), rate=8000, channels=1, samples=9
        )
        write_json(new.path / "media.json", media.to_json())
        new.keep()
    store.add_media(media)
    return media


def add_job(store):
    order = FilmOrder("film", None, "ada", (Piece(add_sound(store)),))
    return asyncio.run(store.add_job(order))


def reopened(store):
    store.close()
    other = Store(Folder(store.folder.path), LIMITS, store.metrics, store.now)
    other.open()
    return other


def test_nothing_is_written_before_something_is_kept(store):
    assert not store.folder.exists()
    add_sound(store)
    assert store.folder.exists()


def test_the_next_server_finds_films_and_files(store):
    job = add_job(store)
    again = reopened(store)
    assert again.jobs() == [job]
    assert again.media(job.order.pieces[0].sound.id).name == "a.wav"
    assert (again.folder_of(job) / "sound-1.wav").read_bytes() == b"sound"
    again.close()


def test_a_film_has_files_of_its_own(store):
    job = add_job(store)
    asyncio.run(store.delete(store.media(job.order.pieces[0].sound.id)))
    assert (store.folder_of(job) / "sound-1.wav").read_bytes() == b"sound"


def test_a_film_under_way_waits_again_but_not_for_ever(store):
    job = replace(add_job(store), state="working", starts=MOST_STARTS - 1)
    store.put(job)
    again = reopened(store)
    assert [one.id for one in again.waiting()] == [job.id]
    again.put(replace(job, starts=MOST_STARTS))
    last = reopened(again)
    assert last.job(job.id).state == "failed"
    assert f"stopped {MOST_STARTS} times" in last.job(job.id).message
    last.close()


def test_films_are_made_in_the_order_they_were_asked_for(store, now):
    first = add_job(store)
    now[0] += 1
    second = add_job(store)
    assert [job.id for job in store.waiting()] == [first.id, second.id]
    assert [job.id for job in store.jobs()] == [second.id, first.id]


def test_more_than_may_wait_are_refused(store):
    add_job(store)
    done = add_job(store)
    with pytest.raises(QueueFull, match="2 films"):
        add_job(store)
    store.put(replace(done, state="done", ended=store.now()))
    add_job(store)


def test_a_film_is_deleted_a_week_after_it_was_over_and_a_file_after_a_day(store, now):
    job = add_job(store)
    now[0] += 24 * HOUR + 1
    asyncio.run(store.sweep())
    assert store.jobs() == [job]  # it still waits
    with pytest.raises(NotFound):
        store.media(job.order.pieces[0].sound.id)
    store.put(replace(job, state="failed", ended=store.now()))
    now[0] += 7 * 24 * HOUR - 2
    asyncio.run(store.sweep())
    assert len(store.jobs()) == 1
    now[0] += 3
    asyncio.run(store.sweep())
    assert store.jobs() == []
    assert not store.folder_of(job).exists()


def test_a_film_under_way_cannot_be_deleted(store):
    job = add_job(store)
    with pytest.raises(WrongState, match="cancel it first"):
        asyncio.run(store.delete(job))


def test_two_servers_do_not_share_a_folder(store):
    add_sound(store)
    other = Folder(store.folder.path)
    with pytest.raises(StudioBusy, match="another lipstream server"):
        other.open()
    store.close()
    other.open()
    other.close()


def test_what_was_left_unfinished_is_thrown_away(store):
    job = add_job(store)
    for kind in ("media", "jobs"):
        (store.folder.path / kind / ".unfinished-abc").mkdir()
    again = reopened(store)
    assert [path.name for path in (store.folder.path / "jobs").glob("*")] == [job.id]
    assert not list((store.folder.path / "media").glob(".*"))
    again.close()


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "order": null}', b"\xff\xff"],
)
def test_a_damaged_film_is_left_out_and_the_others_are_there(store, damage):
    damaged, whole = add_job(store), add_job(store)
    (store.folder_of(damaged) / "job.json").write_bytes(damage)
    again = reopened(store)
    assert again.jobs() == [whole]
    again.close()


def test_every_cut_of_a_job_file_is_survived(store):
    job = add_job(store)
    written = json.dumps(job.to_json())
    store.close()
    for end in range(0, len(written), 37):
        (store.folder_of(job) / "job.json").write_text(written[:end])
        other = Store(Folder(store.folder.path), LIMITS, store.metrics, store.now)
        other.open()
        assert other.jobs() == []
        other.close()


def test_a_full_disk_leaves_no_half_file(tmp_path):
    path = tmp_path / "job.json"
    write_json(path, {"old": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(DiskFull, match="disk is full"):
            write_json(path, {"new": "x" * 100_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert json.loads(path.read_text()) == {"old": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["job.json"]


def test_a_job_of_today_is_read_by_tomorrows_server(store):
    """The form on disk is a promise: what this JSON says is what is read."""
    sound = add_sound(store).to_json()
    order = {
        "title": "t",
        "face": None,
        "avatar": "ada",
        "pieces": [{"sound": sound, "at": "1/2", "until": None}],
        "length": "film",
        "ends": "repeat",
        "quality": "medium",
        "still": False,
    }
    made = {"frames": 10, "seconds": 0.4, "faceless": 0, "bytes": 99}
    written = {"format": 1, "id": "a", "order": order, "asked": 1.0, "state": "done", "ended": 2.0}
    job = Job.from_json(written | {"message": None, "starts": 1, "made": made})
    assert (job.order.pieces[0].at, job.made.frames, job.over) == (0.5, 10, True)


def test_a_file_of_two_names_takes_its_room_once(tmp_path):
    assert bytes_in(tmp_path / "nowhere") == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"12345")
    (tmp_path / "two").hardlink_to(tmp_path / "a" / "one")
    (tmp_path / "three").write_bytes(b"123")
    assert bytes_in(tmp_path) == 8


def modes(folder):
    """Return the modes of a folder and all in it: of folders, of files."""
    inside = [folder, *folder.rglob("*")]
    folders = {path.stat().st_mode & 0o777 for path in inside if path.is_dir()}
    return folders, {path.stat().st_mode & 0o777 for path in inside if path.is_file()}


def test_what_is_kept_is_for_its_owner_alone(store):
    store.folder.path.mkdir(0o755)
    add_job(store)
    for path in store.folder.path.rglob("*.wav"):
        path.chmod(0o600)  # the test wrote it by itself
    assert modes(store.folder.path) == ({0o700}, {0o600})


def claim(space, *lengths):
    async def claim_all():
        async with AsyncExitStack() as stack:
            return [await stack.enter_async_context(space.claim(length)) for length in lengths]

    return asyncio.run(claim_all())


def test_uploads_share_the_room_that_all_may_take(tmp_path):
    (tmp_path / "old").write_bytes(b"0" * 400_000)
    space = DiskSpace(tmp_path, StudioLimits(reserve_mb=0, total_mb=1))
    claim(space, 500_000)
    claim(space, 500_000)  # the one before is over
    with pytest.raises(DiskFull, match="the studio keeps 0 MB, and at most 1 MB"):
        claim(space, 500_000, 200_000)
    assert asyncio.run(space.left()) == 600_000


def test_a_file_that_does_not_say_its_length_is_stopped_while_it_is_written(tmp_path):
    space = DiskSpace(tmp_path, StudioLimits(reserve_mb=0, total_mb=1))

    async def write():
        async with space.claim(0) as room:
            for _ in range(10):
                room.wrote(100_000)
            with pytest.raises(DiskFull, match="at most 1 MB"):
                room.wrote(100_000)

    asyncio.run(write())


def test_the_reserve_is_looked_at_while_a_file_is_written(tmp_path):
    free_mb = shutil.disk_usage(tmp_path).free // 1_000_000
    roomy = StudioLimits(reserve_mb=0, total_mb=free_mb * 2)
    full = StudioLimits(reserve_mb=free_mb * 2, total_mb=free_mb * 2)

    async def write():
        space = DiskSpace(tmp_path, roomy)
        async with space.claim(1000) as room:
            room.wrote(500)
            space._limits = full  # as if something else had filled the disk
            with pytest.raises(DiskFull, match="nearly full"):
                room.wrote(500)

    asyncio.run(write())
