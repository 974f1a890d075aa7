"""Synthetic people: from a parametric head, or from words, to a looping avatar, by our own code.

``look`` says what a person is made of, ``people`` who they are. ``source`` reads the head, ``mesh``
refines it, ``skin`` and ``relief``, ``props`` (teeth and eyes), ``hair``, ``short_hair``,
``face_hair``, ``clothes``, ``headwear`` and ``eyewear`` dress it, ``person`` puts it together and
poses it, ``materials`` and ``scene`` render it (these three need Blender). ``words`` reads a
description by its ``vocabulary``, ``casting`` finds a look that fits it by the ``palette``, and
``describe`` makes the avatar. ``visemes`` says how mouths speak, ``loop`` turns a plate and a few
patches into a seamless idle loop, ``pack`` makes that an avatar. ``__main__`` is the command.
"""
