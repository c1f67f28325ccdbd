"""A differential fuzzer: random experiments, each trained in all the ways that must agree."""
