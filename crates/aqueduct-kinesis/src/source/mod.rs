// Reading of a stream.
