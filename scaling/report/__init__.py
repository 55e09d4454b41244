"""A study in sentences, tables and curves on one page: `report`."""
