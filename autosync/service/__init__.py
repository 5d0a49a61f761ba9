"""What starts autosync by itself at login, and shows it in the menu of a desktop."""
