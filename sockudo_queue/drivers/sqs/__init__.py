"""The driver for Amazon SQS, standard and FIFO queues.

driver ─▶ fetcher             receives messages and turns them into claims
       ─▶ held                what is in memory, under one lock:
          ─▶ buffer              received messages and their records
          ─▶ settlement_queue    settlements that were accepted and are not carried out yet
       ─▶ settler             carries them out in batches; settlement_plan says what each one needs
       ─▶ ordering            what standard and FIFO queues do differently
       ─▶ dead_letters        the queue of dead letters
       ─▶ failure_backoff     which calls fail now, and when they may be tried again

answers (the shapes that SQS may send), messages (a record as a message and back), settlement_plan, ordering, buffer
and failure_backoff make no calls. queues finds or makes the two queues. client is boto3 and its errors in our words;
nothing else uses it.
"""
