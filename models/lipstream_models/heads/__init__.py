"""Synthetic talking heads for training: small pictures of random people, tens a second.

``looks`` draws a person at random, ``anatomy`` holds the head that all share, ``paint`` and
``wear`` colour and dress it, ``raster`` draws it and ``stage`` lights and films it. ``motion``
makes heads move and eyes blink, ``performance`` makes lips speak, ``retarget`` learns to take them
from a film of somebody else, ``generate`` writes prepared folders. ``command`` is the command.
"""
