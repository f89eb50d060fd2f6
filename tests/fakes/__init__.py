"""Stand-ins for unit tests; they speak the real contracts."""
