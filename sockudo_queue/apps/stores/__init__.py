"""Apps in the databases where Sockudo keeps them in production; read only.

    find ─▶ inline apps ─▶ cache ─▶ fresh enough? ─▶ the app
                             ▲            └─▶ look-ups ─▶ refresher ─▶ store ─▶ rows
                             └────────────────────────────────┘

Workers only read the cache. One thread, the refresher, queries the database, with one query for all wanted apps. If
many workers miss the same app, it is queried once, and an outage cannot block another thread.
"""
