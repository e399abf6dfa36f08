"""The command `minillm`: one file for each subcommand, `main.py` puts them together."""
