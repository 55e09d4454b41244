"""Other ways to train the same network, one program each; the last word they print is patches/s."""
