"""The settings the embedded mouth network comes in: how far it hears ahead."""

from lipstream_models.dataset import Window
from lipstream_models.networks.mouth_flow import COLUMNS

SETTINGS = {"quality": Window(COLUMNS, -240), "low-delay": Window(COLUMNS, -340)}
"""``quality`` looks 172.5 ms ahead, as Wav2Lip does; ``low-delay`` 72.5 ms."""
