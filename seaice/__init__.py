"""Sea ice: scenes labelled by colour, for the same patch sets, training and prediction."""
