"""Models and the runtimes that compute them: manifests, backends and our own kernels."""
