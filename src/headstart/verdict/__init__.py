"""Several recipes that share their first stages, compared on the target: the verdict."""
