"""How good streamed speech is beside speech that is rendered whole, by numbers."""
