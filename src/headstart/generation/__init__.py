"""Words from a model: what was read is kept, what comes next is chosen. Knows tokens only."""
