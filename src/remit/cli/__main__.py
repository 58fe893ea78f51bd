"""`python -m remit.cli`: the command line without its installed script."""

from remit.cli import main

main()
