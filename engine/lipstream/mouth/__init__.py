"""A mouth drawn by geometry: a picture's own pixels moved, teeth and tongue between the lips.

Here belongs how lips of any shape are drawn into a picture, and what is learned of the picture for
it. What shape they have, ``lips`` tells; mouths that a network paints are ``live.compositor``'s.
"""
