"""The card of weights."""

import json

import pytest

from lipstream.errors import InputError
from lipstream_models.training.run_command import (
    DataFolder,
    Recipe,
    current_commit,
    describe,
    write_card,
)
from prepared_clips import make_folder

RECIPE = Recipe(
    title="A mouth",
    about="Sound in, mouth out.",
    command="lipstream train sync-scorer --clips s1",
    seed=3,
    commit="abc",
    clips=[DataFolder("s1", 891, 47)],
    licence="CC BY 4.0",
    options={"batch": 32},
)


def evaluation(path, folder, median):
    middle = {"median": median, "lowest": 0.0004, "highest": 40.0}
    found = {"clips_from": folder, "clips": [{}, {}], "summary": {"psnr_db": middle, "odd": middle}}
    path.write_text(json.dumps(found))
    return path


def test_a_card_tells_recipe_data_and_figures(tmp_path):
    first = evaluation(tmp_path / "a.json", "data/s1", 31.26)
    second = evaluation(tmp_path / "b.json", "data/others", 0.812)
    write_card(tmp_path / "CARD.md", RECIPE, [first, second])
    card = (tmp_path / "CARD.md").read_text().splitlines()
    assert card[0] == "# A mouth"
    assert "Seed 3, code of commit `abc`." in card
    assert "| s1 | 891 | 47 |" in card
    assert "| batch | 32 |" in card
    assert "| median (lowest to highest) | s1, 2 clips | others, 2 clips |" in card
    assert "| PSNR of the lower half, dB | 31.3 (0 to 40.0) | 0.81 (0 to 40.0) |" in card
    assert not any("odd" in line or "SSIM" in line for line in card)


def test_a_file_that_is_no_evaluation_is_told(tmp_path):
    wrong = tmp_path / "x.json"
    wrong.write_text("{}")
    with pytest.raises(InputError, match="lipstream evaluate --json"):
        write_card(tmp_path / "CARD.md", RECIPE, [wrong])
    with pytest.raises(InputError, match="cannot be read"):
        write_card(tmp_path / "CARD.md", RECIPE, [tmp_path / "none.json"])


def test_a_folder_is_described_by_its_name_and_counts(tmp_path):
    make_folder(tmp_path / "tiny", clips=3)
    assert describe(tmp_path / "tiny") == DataFolder("tiny", 2, 1)


def test_outside_a_checkout_the_commit_is_unknown(tmp_path):
    assert current_commit(tmp_path) == "unknown"
