"""The driver for Amazon SQS, standard and FIFO queues.

driver ─▶ fetcher             receives messages and turns them into claims
       ─▶ held                the state in memory, under one lock:
          ─▶ buffer              received messages and their records
          ─▶ settlement_queue    settlements that are accepted but not yet carried out
       ─▶ settler             carries them out in batches, as settlement_plan decides
       ─▶ ordering            the differences between standard and FIFO queues
       ─▶ dead_letters        the queue of dead letters
       ─▶ failure_backoff     the current failures, and when each kind of work may be retried

answers (validates responses of SQS), messages (converts records to messages and back), settlement_plan, ordering,
buffer and failure_backoff make no calls. queues finds or creates the two queues. client wraps boto3 and translates its
errors; nothing else uses it.
"""
