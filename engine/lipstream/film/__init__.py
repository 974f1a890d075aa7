"""Film dubbing: what is said when, whose mouth says it, and how it is put into the pictures."""
