"""One command per system: flags to config to agents to a work directory. No algorithm in here."""
