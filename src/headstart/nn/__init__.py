"""The Transformer, and nothing else: tensors in, tensors out, all over `Ragged` batches."""
