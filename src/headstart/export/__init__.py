"""The way back: a trained model as Hugging Face, PEFT, sentence-transformers or ONNX has it."""
