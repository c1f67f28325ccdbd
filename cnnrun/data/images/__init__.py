"""From image files to uint8 tensors: formats, modes, decoding, framing, caches."""
