"""What only time shows: memory and drift over ten minutes of speech, and text that arrives slowly; `bench.soak`."""
