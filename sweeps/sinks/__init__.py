"""Who is told of a study while it runs: trackers and people, from one stream of events of its folder."""
