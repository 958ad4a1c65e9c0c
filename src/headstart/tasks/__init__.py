"""What is asked of a backbone: head, loss, metrics, decode."""
