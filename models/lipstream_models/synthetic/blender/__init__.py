"""Synthetic people, rendered by Blender: from numbers to an avatar that breathes and blinks.

``garments`` and ``hair`` dress the head of ``synthetic.body``, where the people are as well;
``person`` puts it together and poses it, ``scene`` renders it; these last two need Blender.
``idle_loop`` turns a plate and a few patches into a seamless loop. ``__main__`` is the command.
Not here: the head itself (``body``), and people described in words (``describe``).
"""
