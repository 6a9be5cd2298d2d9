"""Operations on a queue, for commands and for the status page."""
