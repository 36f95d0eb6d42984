"""Pure parts: records, keys, signatures, payloads, lifetimes, entries. No Django, no I/O, no clock."""
