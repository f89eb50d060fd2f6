"""The processes of Triptych."""
