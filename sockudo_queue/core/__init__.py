"""Values and decisions: no clock, thread, socket or vendor library."""
