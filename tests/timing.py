"""Limits in time and pictures a second, which depend on what else the machine does.

``LIPSTREAM_MEASURE=1`` (``make measure``) is for a quiet machine and asks for what is promised.
Elsewhere a test asks for so much less that only a fault can miss it.
"""

import os

MEASURE = "LIPSTREAM_MEASURE" in os.environ


def limit(promised: float, otherwise: float) -> float:
    """The limit to judge by: ``promised`` on a quiet machine, ``otherwise`` on any other."""
    return promised if MEASURE else otherwise


LEAST_RATE = limit(24.0, 12.0)
"""Pictures a second of a viewer who is disturbed by something: 25 are made."""
