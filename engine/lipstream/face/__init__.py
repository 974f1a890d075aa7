"""Faces in pictures: finding them, their landmarks, following them and cutting them out.

Here belongs what tells where a face is and whose, of one picture or from one to the next. Lips are
measured in ``lips`` and moved in ``mouth``; faces of a whole film are ``film``'s.
"""
