"""Everything that knows aiortc: offers, peers, tracks and when each block leaves.

Here belongs what is said on the wire to one who watches or speaks, and what must be mended of the
libraries below (``guards``). What is shown and who may ask is decided in ``stage`` and ``auth``.
"""
