"""The commands of people: each module one group, light to import, heavy only when it runs."""
