"""Sound as the engine hears it: ring buffers, resampling, mel windows and the silence gate.

Here belongs what is done to a stream of samples by absolute number: pure, in integers, the same
however it is cut into blocks. Sound files are ``media``'s; what lips do in sound is ``lips``'.
"""
