"""The networks of the GPT stage: tensors in, tensors out."""
