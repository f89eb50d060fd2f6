"""One utterance from text to packets of sound."""
