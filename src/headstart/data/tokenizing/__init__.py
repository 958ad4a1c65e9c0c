"""From the files of a checkpoint to a tokenizer, in every layout that is published."""
