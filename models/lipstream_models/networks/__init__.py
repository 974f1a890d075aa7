"""Network definitions, in torch. Needed to export and to train, never to run."""
