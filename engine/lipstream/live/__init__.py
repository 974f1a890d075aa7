"""The live line from sound to frames: pipeline, compositor, sessions, worker and pacer."""
