"""Recordings from outside, decoded and judged."""
