"""Sound as the engine hears it: ring buffers, resampling, mel windows and the silence gate."""
