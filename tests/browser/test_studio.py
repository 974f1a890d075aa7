"""The studio page, as somebody uses it."""

import json
import shutil

import av
import cv2
import numpy as np
import pytest

from browser.driving import serving
from lipstream import Avatar
from media_files import tone, write_film, write_wav

PATIENCE_MS = 180_000
TEXT = "Good morning. This picture can speak."

needs_voice = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="no espeak-ng: apt-get install espeak-ng"
)


@pytest.fixture
def portrait(tmp_path):
    """A small picture of a person."""
    path = tmp_path / "ada at home.png"
    assert cv2.imwrite(str(path), cv2.resize(np.array(Avatar.open().frames[0]), (192, 192)))
    return path


@pytest.fixture
def studio(toy_folder, toy_pack, tmp_path, monkeypatch):
    """Words for a server whose studio is empty."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return ("--model", toy_folder, "--avatar", toy_pack)


@pytest.fixture
def page(visitor):
    opened = visitor.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    complaints = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    assert complaints == []


def visit(page, url):
    page.goto(f"{url}/studio")
    page.wait_for_selector(".avatars img")


def give_film_and_word(page, film, folder):
    """Give the page a film with a face, and half a second of sound for it to say."""
    page.set_input_files("#face-input", film)
    page.wait_for_selector(".ring")
    page.set_input_files("#sound-input", write_wav(folder / "word.wav", tone(8000, 4000), 8000))


@needs_voice
def test_a_picture_says_a_text_through_a_reload_and_a_restart(page, studio, portrait, tmp_path):
    with serving(*studio) as url:
        visit(page, url)
        page.set_input_files("#face-input", portrait)
        page.wait_for_selector("#face-name:not([hidden])")
        page.fill("#text", TEXT)
        page.click("#make")
        page.wait_for_selector(".film")
        page.click(".avatars label:has-text('Ada')")
        page.fill("#text", "And so can I.")
        page.click("#make")
        page.wait_for_selector(".film:nth-child(2)")
        page.reload()
        page.wait_for_selector(".film:nth-child(2)")
    with serving(*studio, "--port", url.rpartition(":")[2]):
        page.wait_for_selector(".film[data-state=done]:nth-child(2)")
        row = page.locator(".film", has_text="ada at home.png: Good morning.")
        watch(page, row)
        download(page, row, tmp_path / "saved.mp4")
        page.wait_for_selector(".film[data-state=done]:nth-child(1)")
        remove = row.get_by_role("button", name="Delete")
        remove.click()
        remove.click()
        page.wait_for_selector(".film:nth-child(2)", state="detached")


def watch(page, row):
    row.get_by_role("button", name="Watch").click()
    video = row.locator("video")
    video.evaluate("film => film.play()")
    page.wait_for_function(
        "document.querySelector('.screen:not([hidden]) > video').currentTime > 0.2"
    )
    size = video.evaluate("film => [film.videoWidth, film.videoHeight]")
    assert size == [192, 192]


def download(page, row, path):
    with page.expect_download() as started:
        row.get_by_role("link", name="Download").click()
    started.value.save_as(path)
    assert started.value.suggested_filename.startswith("ada at home.png")
    with av.open(str(path)) as film:
        assert film.format.name.startswith("mov,mp4")
        pictures = sum(1 for _ in film.decode(video=0))
        sound = film.streams.audio[0]
        assert pictures / 25 == pytest.approx(float(sound.duration * sound.time_base), abs=0.1)


def test_what_is_wrong_is_said_where_it_is_wrong(page, studio, tmp_path, speech):
    with serving(*studio) as url:
        visit(page, url)
        page.click("#make")
        assert "Choose who speaks first" in page.inner_text("#make-trouble")
        page.click(".avatars label:has-text('Ada')")
        page.click("#make")
        assert "Nothing is said yet" in page.inner_text("#make-trouble")
        notes = tmp_path / "notes.txt"
        notes.write_text("not media")
        page.set_input_files("#face-input", notes)
        page.wait_for_selector("#face-trouble:not([hidden])")
        assert "notes.txt cannot be read" in page.inner_text("#face-trouble")
        assert page.is_checked(".avatars input[value=ada]")
        page.set_input_files("#sound-input", speech)
        page.set_input_files("#sound-input", speech)
        page.wait_for_selector(".times li:nth-child(2)")
        page.fill(".times li:nth-child(2) input", "1")
        page.keyboard.press("Tab")
        assert "begins before" in page.inner_text("#time-trouble")
        page.locator(".block").nth(1).focus()
        for _ in range(20):
            page.keyboard.press("Shift+ArrowRight")
        assert page.is_hidden("#time-trouble")
        page.set_viewport_size({"width": 320, "height": 812})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        boxes = [one.bounding_box() for one in page.locator(".times li:first-child input").all()]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


def test_one_of_two_people_says_a_part_of_a_sound(page, studio, portrait, speech, tmp_path):
    one = cv2.imread(str(portrait))
    picture = tmp_path / "two.png"
    assert cv2.imwrite(str(picture), np.hstack([one, one]))
    with serving(*studio) as url:
        visit(page, url)
        assert page.is_hidden("#whose")
        page.set_input_files("#face-input", picture)
        page.wait_for_selector(".ring")
        assert page.is_hidden("#follow")
        page.select_option("#who", "1")
        pressed = ".ring[aria-pressed=true]"
        assert page.get_attribute(pressed, "data-face") == "0"
        page.locator(".ring").nth(1).click()
        assert page.get_attribute(pressed, "data-face") == "1"
        assert page.locator("#who option:checked").inner_text() == "The one you clicked"
        page.set_input_files("#sound-input", speech)
        page.get_by_role("button", name="Trim").click()
        page.fill(".trim input >> nth=0", "0.5")
        page.fill(".trim input >> nth=1", "1.25")
        page.get_by_role("slider").nth(1).press("ArrowRight")
        assert page.inner_text("#pieces .time").startswith("0.8 s of ")
        page.set_input_files("#sound-input", speech)
        page.wait_for_selector("#pieces li:nth-child(2)")
        assert page.input_value(".trim input >> nth=0") == "0.50"  # what is open stays open
        assert page.is_visible(".strip")
        page.get_by_role("button", name="Remove").nth(1).click()
        page.click("#make")
        page.wait_for_selector(".film")
        (kept,) = (tmp_path / "state").rglob("job.json")
        order = json.loads(kept.read_text())["order"]
        assert (order["pieces"][0]["from"], order["pieces"][0]["to"]) == ("1/2", "13/10")
        assert (order["who"]["rule"], order["who"]["x"] > 192) == ("nearest", True)
        page.click(".avatars label:has-text('Ada')")
        assert page.is_hidden("#whose")


def test_a_person_pointed_at_in_a_film_is_followed(page, studio, portrait, tmp_path):
    one = cv2.imread(str(portrait))
    film = write_film(tmp_path / "two.mp4", [np.hstack([one, one])] * 5)
    with serving(*studio) as url:
        page.set_viewport_size({"width": 375, "height": 812})
        visit(page, url)
        page.set_input_files("#face-input", film)
        page.wait_for_selector(".ring >> nth=1")
        assert not page.is_checked("#follow")
        page.locator("#face-marks").click(position={"x": 250, "y": 5})
        assert page.is_checked("#follow")
        assert page.is_visible(".dot")
        assert page.get_attribute(".ring[aria-pressed=true]", "data-face") == "1"
        assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_two_people_of_a_film_take_turns(page, studio, portrait, tmp_path):
    one = cv2.imread(str(portrait))
    film = write_film(tmp_path / "two.mp4", [np.hstack([one, one])] * 40)
    sound = write_wav(tmp_path / "word.wav", tone(8000, 4000), 8000)
    with serving(*studio) as url:
        visit(page, url)
        page.set_input_files("#face-input", film)
        page.wait_for_selector(".ring")
        page.set_input_files("#sound-input", sound)
        page.wait_for_selector("#pieces li")
        assert page.locator(".times select").count() == 0  # one piece: the choice above is its own
        page.set_input_files("#sound-input", sound)
        page.wait_for_selector(".times li:nth-child(2) select")
        second = page.get_by_label("Said by: word.wav").nth(1)
        assert second.locator("option:checked").inner_text() == "As chosen above"
        second.select_option("1")
        page.set_input_files("#face-input", film)  # somebody else may stand there
        page.wait_for_function("document.querySelectorAll('.times select')[1]?.value === ''")
        second.select_option("2")
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 812})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("#make")
        page.wait_for_selector(".film")
        (kept,) = (tmp_path / "state").rglob("job.json")
        order = json.loads(kept.read_text())["order"]
        named = [
            piece["who"] and (piece["who"]["rule"], piece["who"]["place"])
            for piece in order["pieces"]
        ]
        assert (order["who"]["rule"], named) == ("largest", [None, ("nth", 2)])


def test_a_preview_is_compared_with_the_film_before_and_replaced(page, studio, portrait, tmp_path):
    film = write_film(tmp_path / "walk.mp4", [cv2.imread(str(portrait))] * 40)
    with serving(*studio) as url:
        visit(page, url)
        give_film_and_word(page, film, tmp_path)
        page.wait_for_selector("#pieces li")
        page.click("#preview")
        page.wait_for_selector(".film[data-state=done] video")
        assert page.inner_text(".film .state").startswith("Preview")
        assert page.locator("#pieces li").count() == 1
        page.get_by_role("button", name="Compare").click()
        page.wait_for_function("document.querySelector('.before video').readyState >= 2")
        slider = page.get_by_role("slider", name="Before and after")
        slider.fill("20")
        place = "getComputedStyle(document.querySelector('.wipe')).getPropertyValue('--at')"
        assert page.evaluate(place) == "20%"
        page.wait_for_function("document.querySelector('.screen > video').readyState >= 2")
        # it plays if it was seen as it grew
        paused = "video => { video.pause(); video.currentTime = %s; }"
        player = page.locator(".screen > video")
        player.evaluate(paused % "video.duration")
        page.wait_for_function("document.querySelector('.before video').currentTime > 1.5")
        player.evaluate(paused % 1)
        page.wait_for_function("document.querySelector('.before video').currentTime === 1")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("document.querySelector('.screen > video').currentTime > 1.1")
        page.get_by_role("button", name="Compare").click()
        assert page.locator(".wipe").count() == 0
        page.click("#make")
        page.wait_for_selector(".film[data-state=done] .state:not(:has-text('Preview'))")
        assert page.locator(".film").count() == 1


def test_what_was_done_is_undone_step_by_step(page, studio, portrait, tmp_path):
    film = write_film(tmp_path / "walk.mp4", [cv2.imread(str(portrait))] * 60)
    with serving(*studio) as url:
        visit(page, url)
        give_film_and_word(page, film, tmp_path)
        begin = page.locator(".times input").first
        begin.fill("1.2")  # at once: adding the piece is a step of its own all the same
        begin.press("Tab")
        page.wait_for_function("document.querySelector('.times input')?.value === '1.20'")
        page.get_by_role("button", name="Remove").click()
        page.click("#undo")
        page.wait_for_function("document.querySelector('.times input')?.value === '1.20'")
        page.locator("body").press("Control+z")
        page.wait_for_function("document.querySelector('.times input')?.value === '0.00'")
        page.click("#undo")
        page.wait_for_selector("#pieces li", state="detached")
        assert page.is_visible(".ring")


def test_a_recording_becomes_speech(page, studio):
    with serving(*studio) as url:
        visit(page, url)
        page.get_by_text("Record", exact=True).click()
        page.click("#record")
        page.wait_for_selector("#record[aria-pressed=true]")
        page.wait_for_function("document.querySelector('#record-time').value === '0:01'")
        page.click("#record")
        page.wait_for_selector("#pieces li")
        assert "Recording" in page.inner_text("#pieces li .title")


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_sticks_out_and_all_can_be_reached_by_keyboard(page, studio, width):
    with serving(*studio) as url:
        page.set_viewport_size({"width": width, "height": 812})
        visit(page, url)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        reached = set()
        for _ in range(16):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert {"live", "face-choose", "avatar", "way", "text", "voice", "say", "make"} <= reached


def test_a_token_is_asked_for(page, studio):
    with serving(*studio, "--token", "open sesame") as url:
        page.goto(f"{url}/studio")
        page.fill("#token", "wrong word")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-trouble:not([hidden])")
        assert page.is_hidden("#compose")
        page.fill("#token", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector(".avatars img")
        page.wait_for_function("document.querySelector('.avatars img').naturalWidth > 0")
        assert page.get_attribute("#live", "href") == "/#token=open%20sesame"
