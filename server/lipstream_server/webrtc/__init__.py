"""Everything that knows aiortc: offers, peers, tracks and when each block leaves."""
