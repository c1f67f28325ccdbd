"""What one does with a trained network: score, predict, probe, attribute, export."""
