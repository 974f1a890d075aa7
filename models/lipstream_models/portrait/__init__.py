"""The embedded synthetic person: from a parametric head to a looping avatar, by our own code.

``source`` reads the head, ``mesh`` refines it, ``skin``, ``mouth``, ``eyes``, ``hair`` and
``clothes`` dress it, ``scene`` lights and renders it (the one module that needs Blender), and
``loop`` turns a still plate and a few patches into a seamless idle loop.
"""
