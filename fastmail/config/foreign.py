FOREIGN: frozenset[str] = frozenset()
