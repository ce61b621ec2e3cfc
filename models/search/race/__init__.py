"""The race: networks are proposed, then really trained in rungs, for a whole fleet."""
