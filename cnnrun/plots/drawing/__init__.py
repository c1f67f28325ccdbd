"""One `draw_...` function per file: arrays in, a matplotlib Figure out."""
