"""Masks and networks judged: against labels, against other masks, by pixel and by scene."""
