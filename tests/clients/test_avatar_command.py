import pytest

from lipstream.cli import main
from lipstream_models.synthetic.describe.vocabulary import word_rows


def complaint(capsys, tmp_path, *words: str) -> str:
    output = tmp_path / "a.avatar"
    assert main(["avatar", "make", "-o", str(output), *words]) == 2
    assert not output.exists()
    return capsys.readouterr().err


def test_the_words_of_a_description_are_listed(capsys):
    assert main(["avatar", "words"]) == 0
    listed = capsys.readouterr().out
    assert "headscarf, head scarf, scarf, hijab" in listed
    assert len(listed.splitlines()) == len(word_rows())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a wooden man", "lipstream: description: I do not know 'wooden'; known: person: woman"),
        ("a bald man with long hair", "'bald' and 'long hair' contradict each other"),
        ("", "0 characters found"),
    ],
)
def test_a_description_that_is_not_understood_is_answered(text, says, capsys, tmp_path):
    assert says in complaint(capsys, tmp_path, "--describe", text)


def test_a_face_or_a_description_is_needed_and_not_both(capsys, tmp_path):
    assert "give a FACE, or --describe" in complaint(capsys, tmp_path)
    assert "give a FACE, or --describe" in complaint(capsys, tmp_path, "a.png", "--describe", "man")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--describe", "man", "--size", "256"], "--size does not go with --describe"),
        (["--describe", "man", "--no-bounce"], "--no-bounce does not go with --describe"),
        (["--describe", "man", "--seed", "-1"], "--seed -1: give 0 or more"),
        (["--describe", "man", "--samples", "0"], "--samples 0: give 1 to 1024"),
        (["a.png", "--seed", "3"], "--seed goes with --describe"),
    ],
)
def test_options_that_do_not_apply_are_named(words, says, capsys, tmp_path):
    assert says in complaint(capsys, tmp_path, *words)
