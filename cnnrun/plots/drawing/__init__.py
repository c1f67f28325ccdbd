"""One `draw_...` function a file: arrays in, a matplotlib Figure out."""
