"""From corpora and made-up voices to weights: data, losses, trainers and their commands."""
