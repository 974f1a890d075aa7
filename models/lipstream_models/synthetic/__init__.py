"""Synthetic people: one body model, rendered by Blender, of numbers or of a description.

``body`` is the shared head and who the people are, ``blender`` dresses and renders them,
``describe`` draws one whom words fit. Made-up voices are not here but in ``corpora``.
"""
