"""Keys of devices and of workspaces: what they seal and sign, who has them, and how a workspace gets a new one."""
