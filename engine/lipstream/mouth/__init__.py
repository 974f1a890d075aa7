"""A mouth drawn by geometry: a picture's own pixels moved, teeth and tongue between the lips."""
