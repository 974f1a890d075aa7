"""From the words of a description to a rendered person."""
