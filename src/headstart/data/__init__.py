"""Files and tables in, ragged batches out."""
