"""One stage of a recipe: what moves, the only loop, the frozen prefix, the stored result."""
