"""How events are read: filtered, ordered, searched, counted, exported."""
