"""The local web page: a process of its own, and a client of the agent's control socket."""
