"""The window's loop in virtual time: no screen, no sound card, a clock that moves when told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lipstream import LipSync, Options
from lipstream.cli import main
from lipstream.errors import BackendUnavailable, InputError, MediaError
from lipstream.media import SoundFile
from lipstream_clients.window import devices
from lipstream_clients.window.devices import FileSource, PygameScreen, SilentSink, open_portaudio
from lipstream_clients.window.playback import Playback, PlaybackDevices
from media_files import tone, write_wav

RATE = 16_000


class InlineSession:
    """The engine on the caller's thread; frames come ``late_s`` after they could."""

    def __init__(self, lips, show, clock, late_s=0.0):
        self._lips, self._show, self._clock, self._late = lips, show, clock, late_s
        self._made = []
        self.look_ahead_ms = lips.timing.look_ahead_ms

    def feed(self, pcm):
        self._made += [(self._clock() + self._late, frame) for frame in self._lips.feed(pcm)]
        return True

    def know(self, phones):
        raise AssertionError("a file has no phones")

    def flush(self):
        self._made += [(self._clock() + self._late, frame) for frame in self._lips.flush()]

    def deliver(self):
        while self._made and self._made[0][0] <= self._clock():
            self._show.arrive(self._made.pop(0)[1])


class Recorder:
    """A screen and a loudspeaker that write down what they get and when."""

    def __init__(self, clock):
        self._clock = clock
        self.pictures, self.played, self.titles = [], [], []
        self.leave = False
        self._speaker = SilentSink(RATE)

    def show(self, image):
        self.pictures.append((self._clock(), image))

    def set_title(self, title):
        self.titles.append(title)

    def closed(self):
        return self.leave

    def wanted(self, now):
        return self._speaker.wanted(now)

    def play(self, pcm):
        self.played.append(pcm)
        self._speaker.play(pcm)

    def heard(self, now):
        return self._speaker.heard(now)


class Rig:
    def __init__(self, tmp_path, toy_folder, toy_pack, late_s=0.0):
        self.now = 100.0
        clock = lambda: self.now  # noqa: E731
        self.pcm = tone(RATE, 2 * RATE + 55)
        source = FileSource(SoundFile.open(write_wav(tmp_path / "a.wav", self.pcm, RATE)))
        self.out = Recorder(clock)
        self.show = Playback(PlaybackDevices(source, self.out, self.out), clock=clock)
        self.lips = LipSync.open(Options(toy_folder, toy_pack, RATE))
        self.session = InlineSession(self.lips, self.show, clock, late_s)
        self.pacer = self.show.begin(self.session)

    def run(self, tick_s=0.005, most_s=10.0):
        while self.show.step(self.session, self.pacer) and self.now < 100 + most_s:
            self.now += tick_s
            self.session.deliver()


@pytest.fixture
def rig(tmp_path, toy_folder, toy_pack):
    rig = Rig(tmp_path, toy_folder, toy_pack)
    yield rig
    rig.lips.close()


def test_every_picture_is_shown_and_every_sample_played(rig):
    rig.run()
    assert np.array_equal(np.concatenate(rig.out.played), rig.pcm)
    assert len(rig.out.pictures) == 51
    assert rig.pacer.stats().skipped_pictures == 0


def test_pictures_come_with_their_own_sound(rig):
    rig.run()
    begin = rig.pacer.due(0)
    shown = [at - begin for at, _ in rig.out.pictures]
    assert max(abs(at - k / 25) for k, at in enumerate(shown)) <= 0.0101  # two ticks


def test_the_delay_is_the_look_ahead_and_a_little(rig):
    rig.run()
    delay_s = rig.out.pictures[0][0] - 100
    assert delay_s == pytest.approx((rig.lips.timing.look_ahead_ms + 80) / 1000, abs=0.03)
    assert "fps · delay 252 ms" in rig.out.titles[-1]


def test_a_slow_engine_costs_pictures_but_no_sound(tmp_path, toy_folder, toy_pack):
    rig = Rig(tmp_path, toy_folder, toy_pack, late_s=0.3)
    rig.run()
    rig.lips.close()
    assert np.array_equal(np.concatenate(rig.out.played), rig.pcm)
    assert 0 < len(rig.out.pictures) < 51


def test_sound_that_a_busy_engine_refuses_is_heard_and_pictures_keep_their_place(rig):
    feed, fed = rig.session.feed, []

    def refuse_one_second(pcm):
        fed.append(pcm)
        return False if 25 <= len(fed) < 75 else feed(pcm)

    rig.session.feed = refuse_one_second
    rig.run()
    assert np.array_equal(np.concatenate(rig.out.played), rig.pcm)
    begin = rig.pacer.due(0)
    late = [at - begin for at, _ in rig.out.pictures[13:]]
    assert late[0] == pytest.approx(1.52, abs=0.03)
    assert len(rig.out.pictures) == 26


def test_the_user_can_leave(rig):
    rig.out.leave = True
    rig.run()
    assert rig.now == 100.0


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


def test_a_window_shows_the_picture_and_closes_on_escape(monkeypatch):
    pygame = pytest.importorskip("pygame", reason="the extra mic is not installed")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:] = (10, 20, 200)
    with PygameScreen(64, 48) as screen:
        screen.show(picture)
        assert pygame.display.get_surface().get_at((5, 5))[:3] == (200, 20, 10)
        assert not screen.closed()
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))
        assert screen.closed()


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
