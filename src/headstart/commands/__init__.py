"""Commands of the command line, one module each; `headstart.cli` gathers them."""
