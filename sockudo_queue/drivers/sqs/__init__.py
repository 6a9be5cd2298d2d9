"""The driver for Amazon SQS, standard and FIFO queues.

driver ─▶ shelf      what is held in memory: received messages and the records in them
       ─▶ settling   ends of claims, carried out in batches
       ─▶ queues     the queue and its dead-letter queue: found, or made
       ─▶ messages   a record as a message of SQS and back; pure
       ─▶ trouble    what does not work now, and when it may be tried again
       ─▶ client     boto3, and its errors in our words; nothing else here knows it
"""
