"""The arguments that commands share name what there is."""

import pytest

from lipstream.avatar.pack import embedded_avatars
from lipstream.cli import main, one_of
from lipstream.inference.manifest import EMBEDDED, LIVE, embedded_models


@pytest.mark.parametrize(
    ("command", "model"),
    [("serve", LIVE), ("window", LIVE), ("render", EMBEDDED), ("bench", EMBEDDED)],
)
def test_the_help_names_every_embedded_model_and_avatar(command, model, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert one_of(embedded_models()) in told
    assert one_of(embedded_avatars()) in told
    assert f"(default: {model})" in told


def test_names_read_as_a_choice():
    assert one_of(["ada"]) == "ada"
    assert one_of(["ada", "mei"]) == "ada or mei"
    assert one_of(["ada", "mei", "omar"]) == "ada, mei or omar"
