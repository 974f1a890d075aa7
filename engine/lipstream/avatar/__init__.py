"""Avatars: packs of a prepared face, making and preparing them, and how a still one lives.

Here belongs what is done once for a face, before any sound: finding it, its file, its idle motion,
and what a model knows of it. What a session shows frame by frame is ``live``'s.
"""
