"""The live line from sound to frames: conversation, playout, pipeline, compositor and worker.

Here belongs what happens while somebody speaks, and what ``film`` takes from it frame by frame. No
asyncio and no socket: sending is the server's. Threads are the worker's alone.
"""
