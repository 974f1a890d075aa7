"""The sync scorer that comes with the package."""

import pytest

from lipstream_models.evaluation.sync_scorer import EMBEDDED, load_sync_network

pytestmark = pytest.mark.skipif(
    not EMBEDDED.exists(), reason="no sync scorer comes with this package: train one"
)


def test_it_is_small_and_loads():
    assert EMBEDDED.stat().st_size < 3_000_000
    scorer = load_sync_network()
    assert not scorer.training
    assert not any(parameter.requires_grad for parameter in scorer.parameters())


def test_its_card_names_licence_data_and_command():
    card = (EMBEDDED.parent / "CARD.md").read_text("utf-8")
    for word in ("CC BY 4.0", "GRID", "lipstream train sync-scorer", "Limits"):
        assert word in card
