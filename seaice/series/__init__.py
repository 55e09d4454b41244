"""From class maps to what is published: ice concentration and areas by date, tile and region."""
