"""The networks of the S2Mel stage: tensors in, tensors out; no device choice, no files, no gradient mode."""
