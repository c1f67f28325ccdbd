"""The documentation: what it says is run, validated and compared with the code."""
