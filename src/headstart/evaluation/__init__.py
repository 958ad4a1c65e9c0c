"""What a trained model does on rows it has not seen, with intervals."""
