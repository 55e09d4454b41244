"""Training on N ranks: TensorFlow and, in ranks.py alone, Horovod."""
