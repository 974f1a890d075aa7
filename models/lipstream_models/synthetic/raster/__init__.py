"""Synthetic talking heads for training: small pictures of random people, tens a second.

``looks`` draws a person at random, ``anatomy`` is the head that all share, ``paint`` and ``wear``
colour and dress it, ``figure`` puts a person together and poses them. ``stage`` lights and draws
(``raster`` has the loops), ``film`` is the camera. ``motion`` makes heads move and eyes blink,
``performance`` makes lips speak, ``retarget`` takes them from a film of somebody else and
``lessons`` teach it how. ``studio`` films people, ``talk`` makes one row, ``generate`` a prepared
folder; ``command`` is the command.
"""
