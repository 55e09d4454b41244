"""From rows to medians with intervals, ratios, fitted laws and projections: `fit`."""
