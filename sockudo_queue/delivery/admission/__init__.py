"""Decides for each attempt whether it may start now, and if not, when to ask again.

Three checks, in this order: the webhook's breaker (`circuit_breaker`), its endpoint (`endpoint`), and the shares of
the threads that endpoints and apps may use (`thread_budget`).

    breaker of a webhook and URL         ten failures in a row, or one 410
                        +--------+ ------------------------------------------> +------+
          +-----------> | closed |                                             | open | <---------+
          |             +--------+           +-----------+ <------------------ +------+           |
          |                                  | half-open |    its period is over                  |
          +--------------------------------- +-----------+ ---------------------------------------+
            answered, and not to be retried    one probe     failed: the next period is twice as long

    endpoint: scheme, host and port
                        answers within `slow`                     usually takes longer than `slow` (***)
      +----------+ ----------------------> +--------+ --------------------> +------+
      | unproven |                         | prompt |                       | slow |
      +----------+ <---------------------- +--------+ <-------------------- +------+
        ^   |       no success for 60 s (*)     |      within `slow` again      |
        |   |                                   |                               |
        |   | overdue (**)                      v overdue                       |
        |   +----------------------------> +---------+          overdue         |
        +--------------------------------- | suspect | <------------------------+
                    a success              +---------+

     (*) If attempts that may hang use three quarters of the spare workers, a success counts for a shorter
         time: attempts linger as soon as the last one is older than the time after which an attempt is overdue.
    (**) An attempt is in flight for more than three times the usual latency (at least `slow`), and no attempt has
         succeeded meanwhile.
   (***) Up to `SHORT` (1 s). An endpoint that usually takes longer is unproven, however often it has answered.

After a success, the usual latency decides which of the other states a suspect enters. An attempt in any state but
prompt *lingers*: it may occupy its thread for a long time. The table shows the threads on which an attempt may start,
for 5 slots and 32 spare workers. An endpoint is *alone* while no prompt endpoint has been in use for a second:

    state      threads that attempts may take                           in flight at the endpoint
    prompt     all                                                      all
    slow       the spare workers; alone, all but two of all threads     its share of these
    unproven   the spare workers, also alone                            its share of these
    suspect    the spare workers, also alone                            2, and 2 of webhooks that get answers

    app                                 may add a lingering attempt
    below its fair share                always: spare workers / (apps with such attempts + 1)
    above                               while a part of the spare workers stays free for the others: a quarter where the
                                        endpoint has attempts in flight already, three sixteenths where it has none,
                                        an eighth where it was prompt or is slow

A webhook with `max_in_flight` also has a plan of start times for the deliveries above its limit (`place_schedule`).

An attempt that may not start gets a *reservation*: a start time of its own in the queue of its breaker, endpoint or
app. It does not count as an attempt and holds no thread. Jobs beyond the longest reservation get no start time; they
ask again, less often each time.
"""
