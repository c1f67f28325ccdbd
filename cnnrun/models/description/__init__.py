"""Description of a network: shapes, parameters, MACs and receptive fields of its layers."""
