"""headstart: transfer learning with Transformers, with a verdict on what it was worth."""
