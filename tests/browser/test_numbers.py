"""The live numbers below the page, from statistics of a connection as a browser gives them."""

import pytest

READ = """async (offsets) => {
  const { Numbers } = await import("/numbers.js");
  const numbers = new Numbers();
  const statistics = (offset, second) => {
    const shared = { type: "inbound-rtp", id: "one", timestamp: second * 1000 };
    const seen = offset === null ? undefined : second * 1000;
    const sound = { ...shared, kind: "audio", estimatedPlayoutTimestamp: seen + offset };
    const counts = { framesDecoded: 25 * second, jitterBufferEmittedCount: 25 * second };
    const picture = { ...shared, ...counts, kind: "video", estimatedPlayoutTimestamp: seen };
    return [sound, { ...picture, jitterBufferDelay: second }];
  };
  numbers.read(statistics(null, 0)); // from here on there is a second to tell of
  return offsets.map((offset, second) => numbers.read(statistics(offset, second + 1)).offsetMs);
}"""


@pytest.mark.parametrize(
    ("readings", "shown"),
    [
        ([4, 3, 5, 4], [None, None, 5, 4]),
        ([None, None, 4, 3, 5], [None, None, None, None, 5]),
        ([-270, -295, -131, -54, -14, 18, 49], [None, None, None, None, None, 18, 49]),
        ([-256, 10, 256, 200, 70, 60, 50], [None, None, None, None, None, None, 50]),
        ([4, 3, 5, -256, -250], [None, None, 5, -256, -250]),
        ([-256] * 14, [None] * 11 + [-256] * 3),
    ],
    ids=["in step", "unknown at first", "lined up", "through zero", "later", "never lined up"],
)
def test_the_lip_sync_figure_waits_until_the_browser_has_lined_up(
    visitor, toy_server, readings, shown
):
    page = visitor.new_page()
    page.goto(toy_server.url)
    assert page.evaluate(READ, readings) == shown
