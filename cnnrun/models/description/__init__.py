"""What a network consists of: shapes, parameters, MACs and receptive fields of its layers."""
