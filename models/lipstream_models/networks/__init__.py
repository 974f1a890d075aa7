"""Network definitions, in torch. Needed to export and to train, never to run.

Here belong layers with the parameter names of published or own weights, and reading a checkpoint
without pickle. Losses and loops are ``training``'s; writing graphs is ``lipstream_export``'s.
"""
