"""Apps where Sockudo keeps them in production: databases, read and never written.

    find ─▶ inline apps ─▶ cache ─▶ fresh enough? ─▶ the app
                             ▲            └─▶ look-ups ─▶ keeper ─▶ store ─▶ rows
                             └──────────────────────────────┘

Workers only read the cache. One thread, the keeper, talks to the database: it asks for all that is wanted in one query,
so however many workers miss the same app, it is asked for once; and no outage can hang more than that thread.
"""
