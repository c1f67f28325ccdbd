"""cnnrun: an experiment runner for convolutional networks. One YAML file is one experiment."""

__version__ = "0.1.0"
