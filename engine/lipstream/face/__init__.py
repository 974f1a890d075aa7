"""Faces in pictures: finding them, their landmarks, following them and cutting them out."""
