"""``lipstream window``: sound devices, a window, and a face that keeps step with both.

Here belong microphones, loudspeakers, the screen and the loop between them. What the face does with
the sound is a conversation of the engine's (``live``); texts are spoken by its ``speech``.
"""
