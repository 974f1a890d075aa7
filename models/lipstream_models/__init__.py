"""The models that come with lipstream, and how they were made.

``embedded`` holds the files that are read at run time: nothing in it needs torch. ``networks``,
``training``, ``evaluation`` and ``synthetic`` make and judge them; exporting is another package's.
"""
