"""Public checkpoints: sizes, assembly and key table of each family, and the way in and out."""
