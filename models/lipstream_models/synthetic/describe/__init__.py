"""From the words of a description to a rendered person.

Here belong the vocabulary, reading a description, and drawing the numbers of somebody who fits it.
How a person is built and rendered from numbers is ``body``'s and ``blender``'s.
"""
