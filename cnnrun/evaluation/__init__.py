"""Using a trained network: score, predict, probe, attribute, export."""
