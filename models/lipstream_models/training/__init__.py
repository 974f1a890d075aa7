"""From corpora and made-up voices to weights: data, losses, trainers and their commands.

Here belongs what changes weights, each network's losses beside its trainer. Networks themselves are
``networks``', their data ``corpora``'s, and a trained one is judged in ``evaluation``.
"""
