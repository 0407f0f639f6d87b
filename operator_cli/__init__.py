"""What people do by hand: topics, migrations, reports, deferred calls, dead letters, replays."""
