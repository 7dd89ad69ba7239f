"""The village: embedded bases and 206 tasks of eighteen kinds, for studies of many tasks and few rows."""
