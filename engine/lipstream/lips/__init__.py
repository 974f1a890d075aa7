"""The lips as numbers: what a sound stage hears, and what a renderer draws."""
