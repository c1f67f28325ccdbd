"""`python -m cnnrun` is the `cnnrun` command."""

from cnnrun.cli import main

main()
