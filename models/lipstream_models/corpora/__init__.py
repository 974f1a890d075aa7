"""Recorded and made sound and films, and the arrays that training and evaluation read."""
