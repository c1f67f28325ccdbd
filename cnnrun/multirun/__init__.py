"""Many runs: the launcher, and the sweeps and studies that stand on it."""
