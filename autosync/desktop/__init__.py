"""The desktop's side of autosync: a process of its own that asks the agent and shows what it hears."""
