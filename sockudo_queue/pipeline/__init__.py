"""The way of a job: claim, resolve, attempt, settle."""
