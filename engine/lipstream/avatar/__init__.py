"""Avatars: packs of a prepared face, making and preparing them, and how a still one lives."""
