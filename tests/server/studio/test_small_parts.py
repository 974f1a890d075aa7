"""Names, links, estimator and limits: the studio's pure parts."""

import pytest

from lipstream.errors import InputError
from lipstream_server.auth import VALID_SECONDS, UrlSigner
from lipstream_server.config import ServerConfig, StudioConfig, StudioLimits, limits_of
from lipstream_server.studio.records import LONGEST, display_name, safe_suffix
from lipstream_server.studio.runner import WINDOW_SECONDS, ProgressEstimator


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("hello.wav", "hello.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\clip.mov", "clip.mov"),
        ("a\x00b\nc\u202egnp.exe", "a b c gnp.exe"),
        ("مرحبا.wav", "مرحبا.wav"),
        ("", "file"),
        ("///", "file"),
        ("x" * 300, "x" * (LONGEST - 1) + "…"),
    ],
)
def test_a_name_is_one_short_line_without_folders(given, shown):
    assert display_name(given, "file") == shown


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a.MP4", ".mp4"),
        ("a.heic", ".heic"),
        ("a.mp4/../../x", ".media"),
        ("a.py", ".media"),
        ("a.avatar", ".media"),
        ("noending", ".media"),
        ("", ".media"),
    ],
)
def test_only_endings_we_know_reach_the_disk(given, kept):
    assert safe_suffix(given) == kept


def test_a_link_opens_its_own_path_until_it_expires():
    now = [1_000_000.0]
    signer = UrlSigner(lambda: now[0])
    path, _, query = signer.link("/studio/jobs/a/film").partition("?")
    sent = dict(part.split("=") for part in query.split("&"))
    assert signer.valid(path, sent)
    assert not signer.valid("/studio/jobs/b/film", sent)
    assert not signer.valid(path, sent | {"until": str(int(sent["until"]) + 1)})
    assert not signer.valid(path, sent | {"ticket": "é"})
    assert not signer.valid(path, {})
    assert not UrlSigner(lambda: now[0]).valid(path, sent)  # another server, another key
    now[0] += VALID_SECONDS / 2 - 1
    assert signer.valid(path, sent)
    now[0] += VALID_SECONDS
    assert not signer.valid(path, sent)


def test_a_link_stays_the_same_for_a_while_so_that_a_player_is_not_disturbed():
    now = [VALID_SECONDS * 10.0]
    signer = UrlSigner(lambda: now[0])
    first = signer.link("/studio/jobs/a/film")
    now[0] += VALID_SECONDS / 2 - 1
    assert signer.link("/studio/jobs/a/film") == first


def test_what_is_left_follows_the_speed_of_the_last_seconds():
    estimator = ProgressEstimator()
    assert estimator.progress(0.0).left_s is None
    for second in range(21):  # the first phase is slow
        estimator.step(float(second), second, 120)
    assert estimator.progress(20.0).left_s == pytest.approx(100)
    assert estimator.progress(25.0).left_s == pytest.approx(95)
    for tenth in range(1, 201):  # the second is quick: ten steps a second
        estimator.step(20 + tenth / 10, 20 + tenth // 2, 120)
    left = estimator.progress(40.0)
    assert (left.done, left.of) == (120, 120)
    assert left.left_s == 0


def test_old_steps_are_forgotten():
    estimator = ProgressEstimator()
    estimator.step(0.0, 0, 1000)
    estimator.step(100.0, 1, 1000)
    for step in range(1, int(WINDOW_SECONDS) + 2):
        estimator.step(100.0 + step, 1 + 10 * step, 1000)
    assert estimator.progress(100.0 + WINDOW_SECONDS + 1).left_s == pytest.approx(88.9, abs=0.1)


def test_a_jump_over_work_done_before_is_no_speed_yet():
    estimator = ProgressEstimator()
    estimator.step(5.0, 900, 1000)
    assert estimator.progress(5.5) == estimator.progress(9.0)
    assert estimator.progress(5.5).left_s is None


def test_a_limit_that_lets_nothing_through_is_refused():
    limits = StudioLimits(waiting=0)
    with pytest.raises(InputError, match="waiting=0: give 1 or more"):
        ServerConfig(studio=StudioConfig(limits=limits)).check()
    ServerConfig().check()


def test_limits_are_changed_by_words():
    assert limits_of([]) == StudioLimits()
    words = ["waiting=3", "upload-mb = 20", "reserve_mb=0", "waiting=4"]
    assert limits_of(words) == StudioLimits(waiting=4, upload_mb=20, reserve_mb=0)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("films=3", "no such limit; give one of upload_mb, film_seconds, waiting"),
        ("waiting", "waiting as a whole number"),
        ("waiting=", "waiting as a whole number"),
        ("waiting=-1", "waiting as a whole number"),
        ("waiting=2.5", "waiting as a whole number"),
        ("check=1", "no such limit"),
    ],
)
def test_a_word_that_is_no_limit_is_refused(word, says):
    with pytest.raises(InputError, match=says):
        limits_of([word])
