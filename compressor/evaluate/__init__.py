"""What a model is worth: accuracy, parity with another, latency."""
