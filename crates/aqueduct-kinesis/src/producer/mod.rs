// Sending to a stream.
