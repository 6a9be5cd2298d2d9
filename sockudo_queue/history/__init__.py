"""The attempt history as pure values: entries, their stored form, search, and the story of one job."""
