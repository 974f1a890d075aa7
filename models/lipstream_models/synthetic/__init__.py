"""Synthetic people: one body model, drawn by a rasterizer or rendered by Blender."""
