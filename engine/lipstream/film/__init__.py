"""Film dubbing: what is said when, whose mouth says it, and how it is put into the pictures.

Here belongs the way of ``render`` from a job to a file (docs/architecture.md). Frames come from the
``live`` pipeline, files are read and written by ``media``: neither knows of films that are dubbed.
"""
