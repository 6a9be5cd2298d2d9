"""The driver for Amazon SQS, standard and FIFO queues.

driver ─▶ intake     what was received becomes claims; receiving is the one call
       ─▶ shelf      what is held in memory: received messages and the records in them
       ─▶ pending    ends of claims on their way, until they are done
       ─▶ settling   carries them out, in batches; planning says what each asks for
       ─▶ dead       the dead letters
       ─▶ trouble    what does not work now, and when it may be tried again

answers (what SQS may say), messages (a record as a message and back), planning, shelf and trouble call nothing. queues
finds or makes the two queues. client is boto3 and its errors in our words; nothing else here knows it.
"""
