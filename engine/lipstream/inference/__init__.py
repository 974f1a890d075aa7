"""Models and the runtimes that compute them: manifests, backends and our own kernels.

Here belongs how a graph is opened, checked and run. What goes in is ``audio``'s and ``avatar``'s
affair, what comes out is read by ``lips``; graphs are written by the package ``lipstream_export``.
"""
