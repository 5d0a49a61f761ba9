"""Working copies that are kept by the commands of any version control, as dvcs-autosync kept them."""
