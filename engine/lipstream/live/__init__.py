"""The live line from sound to frames: conversation, playout, pipeline, compositor and worker."""
