"""Apps where Sockudo keeps them in production: databases, read and never written.

    find ─▶ inline apps ─▶ cache ─▶ fresh enough? ─▶ the app
                             ▲            └─▶ look-ups ─▶ refresher ─▶ store ─▶ rows
                             └────────────────────────────────┘

Workers only read the cache. One thread, the refresher, talks to the database: it asks for all wanted apps in one query.
However many workers miss the same app, it is asked for once, and an outage can hang no other thread.
"""
