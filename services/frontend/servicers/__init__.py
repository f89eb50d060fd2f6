"""The public services: protobuf in, protobuf out."""
