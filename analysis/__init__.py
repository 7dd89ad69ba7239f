"""Result tables in; tables, curves and a report out. Imports neither torch nor ray."""
