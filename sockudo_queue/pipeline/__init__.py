"""How a job is processed: claim, resolve, attempt, settle."""
