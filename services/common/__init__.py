"""What at least three services need. Never imports a service."""

VERSION = "0.1.0"
