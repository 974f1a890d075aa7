"""The studio's routes: what they tell, to whom, and what they answer where there is nothing."""

import pytest

from lipstream_server.config import StudioConfig, StudioLimits
from server.studio.serving import serving


@pytest.fixture(scope="module")
def limits():
    return StudioLimits(film_seconds=300, waiting=3, reserve_mb=0)


def test_there_are_avatars_to_choose_and_limits_to_know(visitor):
    about = visitor.ask("GET", "/studio/about").said
    assert [avatar["name"] for avatar in about["avatars"]] == ["ada", "mei", "omar"]
    assert about["limits"]["film_seconds"] == 300
    assert "reserve_mb" not in about["limits"]
    assert visitor.ask("GET", "/studio/avatars/eve").status == 404


def test_the_page_is_there_and_loads_nothing_from_elsewhere(visitor):
    page = visitor.ask("GET", "/studio")
    assert page.status == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert b"https://" not in page.body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/studio/jobs/nobody"),
        ("GET", "/studio/jobs/..%2f..%2fmedia"),
        ("POST", "/studio/jobs/nobody/cancel"),
        ("POST", "/studio/jobs/nobody/again"),
        ("DELETE", "/studio/jobs/nobody"),
        ("GET", "/studio/jobs/nobody/film"),
        ("GET", "/studio/media/%2e%2e/file"),
        ("DELETE", "/studio/media/nobody"),
    ],
)
def test_what_is_not_there_is_not_found(visitor, method, path):
    assert visitor.ask(method, path).status == 404


@pytest.mark.slow
def test_without_the_token_nothing_is_told_but_links_open(worker, toy_avatar, config, tmp_path):
    private = StudioConfig(tmp_path / "private", model=config.model, limits=config.limits)
    with serving(worker, toy_avatar, private, token="correct horse") as owner:
        paths = [("GET", "about"), ("GET", "voices"), ("GET", "jobs"), ("POST", "jobs")]
        paths += [("POST", "media?use=face"), ("POST", "speech"), ("GET", "avatars/ada")]
        paths += [("GET", "jobs/a/film"), ("DELETE", "jobs/a"), ("POST", "jobs/a/cancel")]
        for method, path in paths:
            stranger = owner.ask(method, f"/studio/{path}", Authorization="")
            assert stranger.status == 401, path
        assert not private.folder.exists()
        link = owner.ask("GET", "/studio/about").said["avatars"][0]["poster"]
        opened = owner.ask("GET", link, Authorization="")
        assert (opened.status, opened.body[:2]) == (200, b"\xff\xd8")
        assert owner.ask("GET", link + "0", Authorization="").status == 401
        assert owner.ask("GET", "/studio", Authorization="").status == 200


def test_a_page_of_another_site_cannot_ask(visitor):
    """Its name may be made to lead here, but it is not ours."""
    refused = visitor.ask("GET", "/studio/jobs", Host="films.example")
    assert refused.status == 403
    assert "127.0.0.1" in refused.error
    assert visitor.ask("GET", "/studio/jobs", Host="localhost:8080").status == 200


@pytest.mark.slow
def test_a_second_server_says_whose_the_folder_is(worker, toy_avatar, visitor, config):
    assert visitor.ask("GET", "/studio/avatars/ada").status == 200  # now it keeps something
    with serving(worker, toy_avatar, config) as second:
        answer = second.ask("GET", "/studio/jobs")
        assert answer.status == 503
        assert "another lipstream server" in answer.error
        assert second.ask("GET", "/healthz").status == 200
    assert visitor.ask("GET", "/studio/jobs").status == 200
