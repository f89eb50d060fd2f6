"""The table of errors, walked both ways: each reason is reached by a request, and each failure has a reason."""
