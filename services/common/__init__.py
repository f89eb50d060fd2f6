"""What at least three services need."""
