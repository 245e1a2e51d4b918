"""`python -m ragsaver` is `ragsaver`."""

from ragsaver.cli.main import main

main()
