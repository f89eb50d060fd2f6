"""The voices that can be spoken with: names, recordings and features."""
