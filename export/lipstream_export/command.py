"""``lipstream export``: networks into the files that lipstream runs."""
