"""The lips as numbers: what a sound stage hears, and what a renderer draws.

Here belong the measures of lips, the classes of phones and the decoder between a network and both:
arithmetic, without a file. Pixels are ``mouth``'s, and phones kept in sound files ``speech``'s.
"""
