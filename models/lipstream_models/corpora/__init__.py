"""Recorded and made sound and films, and the arrays that training and evaluation read.

Here belong fetching, preparing and synthesizing what networks learn from or are measured on. What
is done with it is ``training``'s and ``evaluation``'s; nothing here needs torch.
"""
