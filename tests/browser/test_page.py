"""The page, as somebody uses it."""

import time

import numpy as np
import pytest

from browser.driving import Balancer, killable, launch, leave, open_page, serving
from lipstream_server.webrtc.offer import PACKET_MS

WATCH = """() => {
    const video = document.querySelector("video");
    const see = () => {
        window.seenAt = performance.now();
        video.requestVideoFrameCallback(see);
    };
    see();
}"""
LIVE = "body[data-connection=live][data-picture=true]"
REFUSING = """() => {
  navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "%s"));
}"""


KEEP_CONNECTION = """
  const Connection = RTCPeerConnection;
  window.RTCPeerConnection = class extends Connection {
    constructor(...wanted) { super(...wanted); window.connection = this; }
  };
"""
PACKETS_SENT = """async () => {
  const told = [...(await connection.getStats()).values()];
  const sound = told.find(({ type, kind }) => type === "outbound-rtp" && kind === "audio");
  return [sound.packetsSent, sound.timestamp / 1000];
}"""


@pytest.fixture
def page(visitor, toy_server):
    opened = open_page(visitor, toy_server.url)
    complaints = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    yield opened
    assert complaints == []


def test_the_avatar_is_there_before_anything_is_pressed(page):
    size = page.evaluate("[avatar.videoWidth, avatar.videoHeight]")
    assert size == [512, 512]
    page.wait_for_function("/fps/.test(fps.textContent) && /ms/.test(delay.textContent)")


def test_talk_and_stop_with_the_keyboard_alone(page):
    page.keyboard.press("Space")
    page.wait_for_selector("body[data-source=microphone][data-speaking=true]")
    assert page.inner_text("#talk") == "Stop"
    assert page.get_attribute("#talk", "aria-pressed") == "true"
    assert page.evaluate("avatar.muted") is False
    assert page.locator("#microphone option").count() > 0
    assert page.locator("#meter").get_attribute("aria-valuenow") != "0"
    page.focus("#talk")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-source=none]")
    assert page.inner_text("#talk") == "Talk"
    page.wait_for_selector("body[data-speaking=false]")


def test_a_microphone_is_sent_in_short_packets(visitor, toy_server):
    visitor.add_init_script(KEEP_CONNECTION)
    page = open_page(visitor, toy_server.url)
    page.click("#talk")
    page.wait_for_selector("body[data-speaking=true]")
    begun = page.evaluate(PACKETS_SENT)
    page.wait_for_timeout(2000)
    packets, seconds = np.subtract(page.evaluate(PACKETS_SENT), begun)
    assert packets / seconds == pytest.approx(1000 / PACKET_MS, rel=0.1)


def test_every_control_can_be_reached_by_tab(page):
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"talk", "file", "mute"} <= reached


SEEN = """() => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 8, height: 8});
  canvas.getContext("2d").drawImage(avatar, 0, 0, 8, 8);
  return [...canvas.getContext("2d").getImageData(0, 0, 8, 8).data];
}"""


def test_somebody_else_is_chosen_and_kept_by_the_address(page):
    first = page.evaluate(SEEN)
    names = page.locator("#avatar-name option").all_inner_texts()
    assert names[0].startswith("Toy")
    assert names[1:] == ["Ada", "Mei", "Omar"]
    page.select_option("#avatar-name", "mei")
    page.wait_for_selector("body[data-connection=connecting]")
    page.wait_for_selector(LIVE)
    mei = page.evaluate(SEEN)
    apart = sum(abs(one - other) for one, other in zip(first, mei, strict=True)) / len(mei)
    assert apart > 10
    page.reload()
    page.wait_for_selector(LIVE)
    assert page.input_value("#avatar-name") == "mei"
    again = page.evaluate(SEEN)
    assert sum(abs(one - other) for one, other in zip(mei, again, strict=True)) / len(mei) < 5


def test_a_sound_file_is_spoken_to_its_end(page, speech):
    page.set_input_files("#file-input", speech)
    page.wait_for_selector("body[data-source=file][data-speaking=true]")
    page.wait_for_selector("body[data-source=none]")
    page.wait_for_selector("body[data-speaking=false]")


def test_a_file_without_sound_is_explained(page, tmp_path):
    path = tmp_path / "empty.wav"
    path.write_bytes(b"RIFF")
    page.set_input_files("#file-input", path)
    page.wait_for_selector("#message:not([hidden])")
    assert "holds no sound" in page.inner_text("#message")
    assert page.is_enabled("#talk")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("NotAllowedError", "refused"),
        ("NotFoundError", "No microphone"),
        ("NotReadableError", "busy"),
    ],
)
def test_a_microphone_that_cannot_be_had_is_explained(page, error, says):
    page.evaluate(REFUSING % error)
    page.click("#talk")
    page.wait_for_selector("#message:not([hidden])")
    assert says in page.inner_text("#message")
    assert page.inner_text("#talk") == "Talk"


def test_sound_can_be_turned_off_and_stays_off(page):
    page.click("#mute")
    page.click("#mute")
    page.click("#talk")
    page.wait_for_selector("body[data-source=microphone]")
    assert page.evaluate("avatar.muted") is True
    assert page.inner_text("#mute") == "Sound off"


def test_a_full_server_is_waited_for(visitor, toy_server):
    inside = [open_page(visitor, toy_server.url) for _ in range(2)]
    outside = visitor.new_page()
    outside.goto(toy_server.url, wait_until="commit")
    outside.wait_for_selector("body[data-connection=waiting]")
    assert "every place is taken" in outside.inner_text("#message")
    assert outside.is_disabled("#talk")
    inside[0].goto("about:blank")
    outside.click("#retry")
    outside.wait_for_selector(LIVE)
    assert outside.is_hidden("#message")


def test_a_server_that_stops_and_comes_back_is_found_again(visitor, toy_folder, toy_pack):
    arguments = ("--model", toy_folder, "--avatar", toy_pack)
    with serving(*arguments) as url:
        page = open_page(visitor, url)
    page.wait_for_selector("body[data-connection=lost]")
    assert "lost" in page.inner_text("#message")
    with serving(*arguments, "--port", url.rpartition(":")[2]):
        page.wait_for_selector(LIVE)


def test_pictures_are_back_five_seconds_after_a_server_was_killed(
    visitor, toy_folder, toy_pack, measured
):
    arguments = ("--model", toy_folder, "--avatar", toy_pack)
    with (
        killable(*arguments) as (process, first),
        serving(*arguments) as second,
        Balancer(first, second) as balancer,
    ):
        page = open_page(visitor, balancer.url)
        page.evaluate(WATCH)
        process.kill()
        process.wait()
        begun = time.monotonic()
        page.wait_for_function("performance.now() - seenAt > 800")
        page.wait_for_function("performance.now() - seenAt < 200")
        back = time.monotonic() - begun
    measured.append(f"pictures {back:.1f} s after a server was killed")
    assert back < 5


def test_a_token_is_asked_for_and_can_come_with_the_address(visitor, toy_folder, toy_pack):
    arguments = ("--model", toy_folder, "--avatar", toy_pack, "--token", "open sesame")
    with serving(*arguments) as url:
        page = visitor.new_page()
        page.goto(url)
        page.fill("#token", "wrong word")
        page.keyboard.press("Enter")
        page.wait_for_selector("#message:not([hidden])")
        page.fill("#token", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector(LIVE)
        page.close()
        open_page(visitor, f"{url}/#token=open%20sesame")


def test_an_ordinary_browser_without_special_permission_connects(playwright, speech, toy_server):
    """Chromium hides its addresses behind mDNS names then, and offers no loopback candidate."""
    ordinary = launch(playwright, speech, without="--allow-loopback-in-peer-connection")
    context = ordinary.new_context()
    open_page(context, toy_server.url)
    leave(context)
    ordinary.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_at_any_width(visitor, toy_server, width):
    page = open_page(visitor, toy_server.url)
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    face = page.locator("#avatar").bounding_box()
    assert face["width"] >= min(width * 0.85, 480)


def typed(page, text):
    page.wait_for_selector("#text:enabled")
    page.fill("#text", text)
    page.press("#text", "Enter")


CAPTIONS = """() => {
  window.captions = [];
  const word = caption.querySelector("mark");
  const note = () => captions.push([caption.textContent, word.textContent]);
  new MutationObserver(note).observe(caption, { childList: true, subtree: true });
}"""


def test_a_typed_text_is_spoken_with_captions(page):
    page.evaluate(CAPTIONS)
    typed(page, "One 😀 two. Three.")
    page.wait_for_selector("body[data-speaking=true]")
    page.wait_for_function("captions.some(([_, word]) => word === 'Three')")
    page.wait_for_selector("#caption", state="hidden")
    shown = page.evaluate("captions")
    for caption in (["One 😀 two.", "One"], ["One 😀 two.", "two"], ["Three.", "Three"]):
        assert caption in shown
    assert page.input_value("#text") == ""
    assert page.evaluate("avatar.muted") is False
    page.wait_for_selector("#say:disabled")


def test_a_text_can_be_stopped(page):
    typed(page, "One, two, three, four. " * 20)
    page.wait_for_selector("#caption:not([hidden])")
    assert page.get_attribute("#say", "aria-label") == "Stop speaking"
    page.press("#text", "Escape")
    page.wait_for_selector("#caption", state="hidden")
    page.wait_for_selector("body[data-speaking=false]")
    typed(page, "Yes.")
    page.wait_for_selector("#caption:not([hidden])")
    page.click("#talk")  # whoever talks interrupts
    page.wait_for_selector("#caption", state="hidden")


def test_another_voice_reads_another_script_and_is_remembered(page):
    typed(page, "مرحبا")
    page.wait_for_selector("#message:not([hidden])")
    assert "which is Arabic" in page.inner_text("#message-text")
    page.select_option("#voice", "ar")
    typed(page, "مرحبا")
    page.wait_for_selector("#caption:not([hidden])")
    assert page.is_hidden("#message")
    page.reload()
    page.wait_for_selector("#text:enabled")
    assert page.input_value("#voice") == "ar"
