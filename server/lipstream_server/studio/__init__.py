"""The studio page's server side: media taken in, films made one after the other, kept for a while.

A film is made by a process of its own (``subprocess_worker``), so that neither a strange file nor
the work itself can disturb live sessions; one task (``runner``) owns it. All that must outlive the
server is in one folder (``store``).
"""
