"""One module per kind or group: defaulting, validation, facts, fields and printer cells."""
