"""``lipstream window``: sound devices, a window, and a face that keeps step with both."""
