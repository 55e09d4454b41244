"""Networks and losses: TensorFlow, no files, no ranks, no sensor."""
