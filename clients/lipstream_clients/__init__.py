"""What people touch: the web page, the window and the ``render`` and ``avatar`` commands.

Here belong screens, microphones, command lines and the page's files, each thin. What they have done
for them, films and avatars and speech, is the engine's.
"""
