"""Train many experiments: a queue of jobs, and workers that run `cnnrun train` for each."""
