// Administration of a stream.
