"""What makes H.264 for those who watch: a card's encoder where it works, else the processor's."""

import av
import pytest
from av.error import FFmpegError

from lipstream.media import codecs
from lipstream.media.codecs import LIVE_ENCODERS, NVENC, choose_live_encoder, try_encoder


def test_a_cards_encoder_is_taken_where_it_encodes_a_picture():
    tried = []
    choice = choose_live_encoder("H264", tried.append)
    assert tried == [NVENC]
    assert choice.encoder is NVENC
    assert choice.encoder.on_gpu
    assert "the processor's stands behind it" in choice.reason


def test_where_it_does_not_the_processors_is_taken_and_the_reason_is_one_line():
    def refuse(encoder):
        raise FFmpegError(1, "Operation not permitted", "avcodec_open2")

    choice = choose_live_encoder("H264", refuse)
    assert choice.encoder is LIVE_ENCODERS["H264"]
    assert choice.reason == "NVENC does not start: no NVIDIA driver, or a card without it"


def test_vp8_is_always_the_processors_and_no_card_is_asked():
    choice = choose_live_encoder("VP8", lambda _: pytest.fail("asked"))
    assert choice.encoder is LIVE_ENCODERS["VP8"]
    assert choice.reason == "no card of NVIDIA's encodes VP8"


def test_an_ffmpeg_without_nvenc_is_not_asked_for_it(monkeypatch):
    monkeypatch.setattr(codecs.av, "codecs_available", {"libx264"})
    choice = choose_live_encoder("H264", lambda _: pytest.fail("asked"))
    assert (choice.encoder.name, choice.reason) == (
        "libx264",
        "this FFmpeg was built without NVENC",
    )


def test_this_ffmpeg_has_nvenc_and_trying_what_encodes_here_raises_nothing():
    assert NVENC.name in av.codecs_available
    for encoder in LIVE_ENCODERS.values():
        try_encoder(encoder)


def test_on_this_machine_what_is_chosen_encodes():
    try_encoder(codecs.live_encoder("H264").encoder)
