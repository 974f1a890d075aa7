"""Measuring lipstream on the machine that it runs on: ``lipstream bench`` and ``doctor``.

Here belongs what times, counts or reports. It may import every other package and none imports it;
figures that a running server tells of itself are the server's.
"""
