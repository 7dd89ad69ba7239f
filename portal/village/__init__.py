"""The village: embedded bases and 192 tasks of eighteen kinds, for studies of many tasks and few rows."""
