"""How gradients come about: each objective leaves them in `.grad` for the one loop."""
