"""Many runs: the launcher, and the sweeps and studies built on it."""
