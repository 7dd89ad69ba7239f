"""The ledger: embedded bases and tasks whose answers are written: facts, lists, records, sums, rewritings."""
