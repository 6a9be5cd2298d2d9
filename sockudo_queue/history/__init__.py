"""The attempt history as pure values: entries, how they are stored, how they are searched, and the story of a job."""
