"""The HTTP shim: it translates routes to what the node does."""
