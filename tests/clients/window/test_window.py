"""The window's loop in virtual time: no screen, no sound card, a clock that moves when told."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.live.inline_worker import InlineWorker, VirtualClock
from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError, MediaError
from lipstream.live.conversation import Conversation, ConversationSettings
from lipstream.media import SoundFile
from lipstream_clients.window import devices
from lipstream_clients.window.devices import FileSource, PygameScreen, SilentSink, open_portaudio
from lipstream_clients.window.playback import LEAD_MS, Playback, PlaybackDevices
from media_files import tone, write_wav

RATE = 16_000


class LateWorker(InlineWorker):
    """Frames come ``late_s`` after they could, when ``deliver`` is called."""

    def __init__(self, model, clock, late_s):
        super().__init__(model, clock)
        self._late_s, self._pending = late_s, []

    def _made(self, on_frame):
        return lambda frame: self._pending.append((self.clock() + self._late_s, on_frame, frame))

    def deliver(self):
        while self._pending and self._pending[0][0] <= self.clock():
            _, on_frame, frame = self._pending.pop(0)
            on_frame(frame)


class Recorder(SilentSink):
    """A screen and a loudspeaker that write down what they get and when."""

    def __init__(self, clock, latency=0.0):
        super().__init__(clock)
        self.clock, self.latency = clock, latency
        self.pictures, self.played, self.titles = [], [], []
        self.asked = set()
        self.stopped_at = None

    def show(self, image):
        self.pictures.append((self.clock(), image))

    def set_title(self, title):
        self.titles.append(title)

    def commands(self):
        asked, self.asked = self.asked, set()
        return asked

    def play(self, pcm):
        self.played.append(pcm)

    def taken(self):
        now = super().taken()
        return now if self.stopped_at is None else min(now, self.stopped_at)

    def sound(self):
        return np.concatenate(self.played)

    def light(self):
        """When each picture was shown, seconds after the begin, and whether the mouth is open."""
        return [(at - 100.0, image.mean()) for at, image in self.pictures]


class Rig:
    def __init__(self, source, toy_model, toy_avatar, *, late_s=0.0, latency=0.0, **settings):
        self.clock = VirtualClock()
        self.source, self.out = source, Recorder(self.clock, latency)
        self.worker = LateWorker(toy_model, self.clock, late_s)
        wanted = ConversationSettings(source.rate, lead_ms=LEAD_MS, **settings)
        self.conversation = Conversation(self.worker, toy_avatar, wanted, clock=self.out.taken)
        devices = PlaybackDevices(source, self.out, self.out)
        self.playback = Playback(devices, self.conversation, sleep=self.sleep)

    def sleep(self, seconds):
        self.clock.now += seconds
        self.worker.deliver()

    def run(self, most_s=10.0):
        """Run to the end, or for so long."""
        end = self.clock.now + most_s
        while self.playback.step() and self.clock.now < end:
            self.sleep(0.005)
        return self.playback.stats()


@pytest.fixture
def spoken():
    return tone(RATE, 2 * RATE + 55)


@pytest.fixture
def source(tmp_path, spoken):
    return FileSource(SoundFile.open(write_wav(tmp_path / "a.wav", spoken, RATE)))


def place_of(said, heard):
    """Return where all of what was said begins in what was heard."""
    first = int(np.flatnonzero(heard)[0]) - int(np.flatnonzero(said)[0])
    assert np.array_equal(heard[first : first + len(said)], said)
    assert not heard[first + len(said) :].any()
    return first


def test_every_sample_is_played_and_every_picture_shown(source, spoken, toy_model, toy_avatar):
    rig = Rig(source, toy_model, toy_avatar)
    stats = rig.run()
    place_of(spoken, rig.out.sound())
    gaps = np.diff([at for at, _ in rig.out.pictures])
    assert gaps.max() <= 0.0451
    assert stats.skipped == 0
    assert stats.shown == len(rig.out.pictures) >= 51


def test_pictures_come_with_the_sound_that_leaves_the_loudspeaker(
    tmp_path, spoken, toy_model, toy_avatar
):
    path, latency_s, opened_s = write_wav(tmp_path / "a.wav", spoken, RATE), (0.0, 0.15), []
    for latency in latency_s:
        source = FileSource(SoundFile.open(path))
        rig = Rig(source, toy_model, toy_avatar, latency=latency)
        rig.run()
        begun_s = place_of(spoken, rig.out.sound()) / RATE
        shown = rig.out.light()
        moving = [at for at, light in shown if light > 1.05 * shown[0][1]]
        opened_s.append((moving[0] - begun_s, moving[-1] - begun_s))
    (opened, closed), late = opened_s
    assert 0.0 < opened < 0.1  # the hum begins softly
    assert 1.7 < closed < 2.05  # and is silent from 1.75 s on
    assert np.subtract(late, (opened, closed)) == pytest.approx([0.15, 0.15], abs=0.0101)


def test_a_delay_that_is_asked_for_is_kept_to(toy_model, toy_avatar):
    microphone = LiveTone()
    rig = Rig(microphone, toy_model, toy_avatar, least_delay_ms=700)
    microphone.clock = rig.clock
    rig.run(3.0)
    first = np.flatnonzero(rig.out.sound())[0] / RATE
    assert first == pytest.approx(0.7 + 1.0, abs=0.06)
    assert int(re.search(r"delay (\d+) ms", rig.out.titles[-1])[1]) >= 700


def test_a_slow_engine_costs_pictures_but_no_sound(source, spoken, toy_model, toy_avatar):
    rig = Rig(source, toy_model, toy_avatar, late_s=0.6)
    stats = rig.run()
    heard = rig.out.sound()
    assert np.array_equal(heard[heard != 0], spoken[spoken != 0])  # its pauses are longer
    assert stats.shown > 0
    assert stats.skipped > 0


def test_a_loudspeaker_that_stops_is_waited_for(source, spoken, toy_model, toy_avatar):
    rig = Rig(source, toy_model, toy_avatar)
    rig.out.stopped_at = 0.5
    rig.run(2.0)
    assert len(rig.out.sound()) / RATE == pytest.approx(0.5 + LEAD_MS / 1000, abs=0.021)
    shown = len(rig.out.pictures)
    rig.run(2.0)
    assert len(rig.out.pictures) == shown


class LiveTone:
    """A microphone that is silent for a second and then hums for ever."""

    rate, ended = RATE, False

    def __init__(self):
        self.clock, self._given, self.stops = VirtualClock(), 0, 0
        self._tone = tone(RATE, 20 * RATE)

    def supply(self, conversation):
        while self._given < (self.clock() - 100.0) * RATE - 320:
            place = self._given - RATE
            block = self._tone[place : place + 320] if place >= 0 else np.zeros(320, np.int16)
            conversation.hear(block)
            self._given += 320

    def stop(self):
        self.stops += 1


def test_a_microphone_is_heard_a_little_after_the_look_ahead(toy_model, toy_avatar):
    microphone = LiveTone()
    rig = Rig(microphone, toy_model, toy_avatar)
    microphone.clock = rig.clock
    rig.run(4.0)
    delay_s = np.flatnonzero(rig.out.sound())[0] / RATE - 1.0
    look_ahead_s = rig.conversation._session.look_ahead_ms / 1000
    assert look_ahead_s < delay_s < look_ahead_s + 0.09
    assert "25.0 fps" in rig.out.titles[-1]


def test_the_user_can_leave(source, toy_model, toy_avatar):
    rig = Rig(source, toy_model, toy_avatar)
    rig.out.asked = {"leave"}
    rig.run()
    assert rig.clock.now == 100.0


def test_an_interruption_silences_a_file_and_the_window_closes(source, toy_model, toy_avatar):
    rig = Rig(source, toy_model, toy_avatar)
    rig.run(1.0)
    rig.out.asked = {"interrupt"}
    before = len(rig.out.sound())
    rig.run()
    assert rig.clock.now < 101.2
    assert np.flatnonzero(rig.out.sound())[-1] <= before + RATE // 100
    assert rig.source.ended


def test_an_interruption_leaves_the_microphone_on(toy_model, toy_avatar):
    microphone = LiveTone()
    rig = Rig(microphone, toy_model, toy_avatar)
    microphone.clock = rig.clock
    rig.run(2.5)
    rig.out.asked = {"interrupt"}
    rig.run(1.0)
    assert microphone.stops == 1
    assert rig.out.sound()[-RATE // 4 :].any()


def test_a_missing_portaudio_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(BackendUnavailable, match=r"lipstream\[mic\]"):
        open_portaudio()


def test_a_missing_pygame_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(BackendUnavailable, match=r"lipstream\[mic\]"):
        PygameScreen(64, 64)


def test_an_unknown_microphone_is_named(monkeypatch):
    pytest.importorskip("pygame", reason="the extra mic is not installed")
    try:
        open_portaudio()
    except BackendUnavailable:
        pytest.skip("PortAudio is not installed")
    with pytest.raises(InputError, match="no microphone 'nothing-like-it' found"):
        devices.choose_device("input", "nothing-like-it")


def test_a_bad_sound_file_is_refused_before_a_window_opens(tmp_path):
    with pytest.raises(MediaError):
        SoundFile.open(tmp_path / "none.wav")


def test_a_window_shows_the_picture_and_reads_the_keys(monkeypatch):
    pygame = pytest.importorskip("pygame", reason="the extra mic is not installed")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:] = (10, 20, 200)
    with PygameScreen(64, 48) as screen:
        screen.show(picture)
        assert pygame.display.get_surface().get_at((5, 5))[:3] == (200, 20, 10)
        assert screen.commands() == set()
        for key in (pygame.K_ESCAPE, pygame.K_SPACE, pygame.K_a):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        assert screen.commands() == {"leave", "interrupt"}


@pytest.fixture
def screen_number():
    """Start a screen that nobody sees and return its DISPLAY."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed (Debian: xvfb)")
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(words, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as opened:
            number = opened.readline().strip()
        yield f":{number}"
        server.terminate()


def test_a_precision_that_the_model_lacks_is_said(tmp_path, toy_folder, toy_pack, capsys):
    source = write_wav(tmp_path / "a.wav", tone(RATE, RATE), RATE)
    words = ["window", "--input", source, "--model", toy_folder, "--avatar", toy_pack, "--no-sound"]
    assert main([*map(str, words), "--precision", "int8"]) == 2
    assert "'toy' has no int8 graph" in capsys.readouterr().err


@pytest.fixture
def null_sound_card(tmp_path):
    """Return the setting that gives PortAudio a sound card that swallows everything."""
    if not Path("/usr/share/alsa/alsa.conf").exists():
        pytest.skip("ALSA is not installed (Debian: libasound2)")
    path = tmp_path / "alsa.conf"
    path.write_text("</usr/share/alsa/alsa.conf>\npcm.!default { type null }\n")
    return {"ALSA_CONFIG_PATH": str(path)}


@pytest.mark.slow
@pytest.mark.parametrize("sound", [["--no-sound"], []], ids=["silent", "sound card"])
def test_the_command_opens_a_real_window_and_ends_with_the_sound(
    tmp_path, toy_folder, toy_pack, screen_number, null_sound_card, sound
):
    pytest.importorskip("pygame", reason="the extra mic is not installed")
    source = write_wav(tmp_path / "a.wav", tone(RATE, RATE), RATE)
    words = ["--input", source, "--model", toy_folder, "--avatar", toy_pack, *sound]
    done = subprocess.run(
        [sys.executable, "-m", "lipstream", "window", *map(str, words)],
        env=os.environ | {"DISPLAY": screen_number} | null_sound_card,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pictures shown" in done.stdout
    assert int(done.stdout.split()[0]) > 0
    assert "without sound" not in done.stderr


LEFT_OPEN = """
import gc, sys
import sounddevice
from lipstream.cli import main
code = main(["window", *sys.argv[1:]])
streams = [one for one in gc.get_objects() if isinstance(one, sounddevice._StreamBase)]
print(code, [type(one).__name__ for one in streams], [one.closed for one in streams])
"""


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["--avatar", "--model"])
def test_a_window_that_cannot_be_opened_lets_the_sound_card_go(
    tmp_path, toy_folder, toy_pack, null_sound_card, missing
):
    pytest.importorskip("sounddevice", reason="the extra mic is not installed")
    given = {"--avatar": toy_pack, "--model": toy_folder} | {missing: tmp_path / "nowhere"}
    words = [str(word) for pair in given.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, *words],
        env=os.environ | null_sound_card,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "2 ['InputStream', 'OutputStream'] [True, True]", done.stderr
