"""From a public config to a request that a pipeline can run."""
