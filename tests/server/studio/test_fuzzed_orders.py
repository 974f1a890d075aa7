"""Orders changed at random are taken or refused in one sentence."""

import json
from collections import Counter

import pytest

from fuzzing import COUNT, SEED, mutated_text, mutated_value, seeds
from lipstream.errors import InputError
from lipstream_server.config import StudioLimits
from lipstream_server.studio.errors import NotFound
from lipstream_server.studio.orders import OrderChoices, parse_json, parse_order
from server.studio.test_orders import ADA, ON_FILM, ON_PICTURE, kept

ORDERS = [
    {"face": ON_FILM, "speech": [{"sound": "s", "at": 0.5}, {"sound": "l", "at": 2, "until": 3}]},
    {"face": ON_FILM, "speech": [{"sound": "l", "from": 1.25, "to": 3, "who": {"x": 1, "y": 2}}]},
    {"face": ON_PICTURE, "speech": [{"sound": "l"}], "who": 2, "still": True, "title": "two"},
    {"face": ADA, "speech": [{"sound": "s"}], "length": "speech", "quality": "high"},
    {"face": ON_FILM, "speech": [{"sound": "s"}], "who": {"x": 12.5, "y": 40}, "follow": True},
]


@pytest.mark.slow
def test_fuzzed_orders_are_taken_or_refused():
    outcomes: Counter = Counter()
    choices, limits = OrderChoices(kept, ["ada", "mei"]), StudioLimits(film_seconds=10, pieces=3)
    for chance in seeds(10 * COUNT, SEED):
        value = chance.choice(ORDERS)
        for _ in range(chance.randrange(1, 4)):
            value = mutated_value(value, chance)
        text = json.dumps(value)
        if chance.random() < 0.1:
            text = mutated_text(text, chance)
        try:
            parse_order(parse_json(text.encode("utf-8", "surrogatepass")), choices, limits)
        except (InputError, NotFound):
            outcomes["refused"] += 1
        else:
            outcomes["taken"] += 1
    assert min(outcomes["taken"], outcomes["refused"]) > 0
